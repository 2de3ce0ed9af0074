package selfservice_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/recovery"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/testkit"
)

// A loss is bob, a user of alice's account, who loses his devices.
type loss struct {
	*testkit.World
	t     *testing.T
	owner account.Identity
	bob   account.Identity
	admin *admin.Flow
}

func onLoss(t *testing.T, f func(t *testing.T, l *loss)) {
	t.Helper()
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		l := &loss{World: w, t: t, owner: w.Owner(alice)}
		l.bob = w.User(l.owner, "bob", account.User)
		l.admin, _ = w.Admin()
		f(t, l)
	})
}

const (
	hisPhone = "+8613800138000"
	reason   = "came to the desk with his badge"
)

// unbound has alice take a device off somebody; the ticket is empty where
// there is none.
func (l *loss) unbound(i account.Identity, m factor.Method, device string) string {
	l.t.Helper()
	s, _ := l.Session(l.Visitor, l.owner)
	d, err := l.admin.User(ctx(), s, i.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Given(s, admin.UnbindUser(d, device))
	shown, err := l.admin.Unbind(ctx(), l.Visitor, s, i.ID, admin.Unbinding{Method: m, Device: device, Check: "in_person", Reason: reason})
	if err != nil {
		l.t.Fatalf("unbind: %v", err)
	}
	return l.ticketOf(s, shown)
}

func (l *loss) ticketOf(s prove.Signed, shown string) string {
	l.t.Helper()
	if shown == "" {
		return ""
	}
	what, err := l.admin.Shown(ctx(), s, shown)
	if err != nil || len(what.Lines) != 1 {
		l.t.Fatalf("shown %+v, %v", what, err)
	}
	return what.Lines[0].Ticket
}

// another has alice make another ticket.
func (l *loss) another(i account.Identity) string {
	l.t.Helper()
	s, _ := l.Session(l.Visitor, l.owner)
	d, err := l.admin.User(ctx(), s, i.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Given(s, admin.IssueTicket(d))
	shown, err := l.admin.NewTicket(ctx(), l.Visitor, s, i.ID, "known_phone", reason)
	if err != nil {
		l.t.Fatalf("another ticket: %v", err)
	}
	return l.ticketOf(s, shown)
}

func deviceOf(i account.Identity) string { return "device-" + string(i.ID) }

// at gives the right password.
func (l *loss) at(i account.Identity) signin.Progress {
	l.t.Helper()
	p, err := l.SignIn.Begin(ctx(), l.Visitor, prove.Door{RAM: true}, i.Name(), testkit.Password, "")
	if err != nil {
		l.t.Fatalf("%s gives the password: %v", i.Name(), err)
	}
	return p
}

func (l *loss) answer(p signin.Progress, m factor.Method, code string) (signin.Progress, error) {
	return l.SignIn.Answer(ctx(), l.Visitor, p.Token, prove.Answer{Method: m, Codes: []string{code}})
}

// bound binds an app in the wizard.
func (l *loss) bound(p signin.Progress) *testkit.App {
	l.t.Helper()
	if err := l.SignIn.Choose(ctx(), l.Visitor, p.Token, factor.VirtualMFA); err != nil {
		l.t.Fatalf("choose: %v", err)
	}
	state, err := l.SignIn.State(ctx(), l.Visitor, p.Token)
	if err != nil {
		l.t.Fatal(err)
	}
	app := appOf(l.t, l.World, state.Setup.Key)
	done, err := l.SignIn.BindDevice(ctx(), l.Visitor, p.Token, "", app.Code(0), "")
	if err != nil || done.Session == nil {
		l.t.Fatalf("bind: %s, %v", done.Step, err)
	}
	return app
}

// closed checks that nothing can be bound in the sign-in.
func (l *loss) closed(what string, p signin.Progress) {
	l.t.Helper()
	testkit.Want(l.t, what+": choose", l.SignIn.Choose(ctx(), l.Visitor, p.Token, factor.VirtualMFA), signin.ErrNotChosen)
	_, err := l.SignIn.BindDevice(ctx(), l.Visitor, p.Token, "", "123456", "")
	testkit.Want(l.t, what+": bind", err, signin.ErrNotChosen)
	testkit.Want(l.t, what+": name a phone", l.SignIn.BindNumber(ctx(), l.Visitor, p.Token, "", "+8613900139000"), signin.ErrNotChosen)
	_, err = l.SignIn.BindCode(ctx(), l.Visitor, p.Token, "123456")
	testkit.Want(l.t, what+": its code", err, signin.ErrNotChosen)
}

func TestAfterAnUnbindThePasswordAloneBindsNothing(t *testing.T) {
	onLoss(t, func(t *testing.T, l *loss) {
		app := l.Bind(l.bob)
		before := l.at(l.bob)
		old, _ := l.Session(l.Visitor, l.bob, factor.Password, factor.VirtualMFA)
		ticket := l.unbound(l.bob, factor.VirtualMFA, deviceOf(l.bob))
		if ticket == "" {
			t.Fatal("nothing is left, and there is no ticket")
		}
		_, err := l.answer(before, factor.VirtualMFA, app.Code(0))
		testkit.Want(t, "a sign-in from before", err, ceremony.ErrGone)
		if list, err := l.Read(ctx()).Sessions(old.Session.Account, l.bob.ID); err != nil || len(list) != 0 {
			t.Errorf("%d sessions live on, %v", len(list), err)
		}
		p := l.at(l.bob)
		if p.Step != policy.Verify || p.Session != nil || len(p.Offers) != 1 || p.Offers[0].Method != factor.Ticket {
			t.Fatalf("after the password: %s, %+v", p.Step, p.Offers)
		}
		l.closed("the password alone", p)
		for _, m := range []factor.Method{factor.Password, factor.Email, factor.SMS, factor.VirtualMFA, factor.RecoveryCode} {
			_, err := l.answer(p, m, testkit.Password)
			testkit.Want(t, "by "+string(m), err, policy.ErrMethod)
		}
		for wrong, want := range map[string]error{"2222222-2222222": prove.ErrTicketWrong, "x": prove.ErrTicketWrong, "": factor.ErrCodeMissing} {
			_, err = l.answer(p, factor.Ticket, wrong)
			testkit.Want(t, "the ticket "+wrong, err, want)
		}
		l.closed("a wrong ticket", p)
		next, err := l.answer(p, factor.Ticket, " "+strings.ToLower(strings.ReplaceAll(ticket, "-", " ")))
		if err != nil || next.Step != policy.Bind || next.Session != nil || !next.Setup.Lost {
			t.Fatalf("the ticket: %s, %v", next.Step, err)
		}
		l.bound(p)
		if b := l.Budget(l.bob); b.Fails != 0 {
			t.Errorf("the budget paid for tickets: %+v", b)
		}
		// The next loss takes a ticket of its own.
		device, err := l.Read(ctx()).VirtualMFA(l.bob.Account, l.bob.ID)
		testkit.Want(t, "the device", err, nil)
		second := l.unbound(l.bob, factor.VirtualMFA, device.ID)
		p = l.at(l.bob)
		_, err = l.answer(p, factor.Ticket, ticket)
		testkit.Want(t, "the one that was used", err, prove.ErrTicketWrong)
		_, err = l.answer(p, factor.Ticket, second)
		testkit.Want(t, "the new one", err, nil)
		l.bound(p)
		if f := l.Facts(l.bob); f.Reenrol || !f.VirtualMFA {
			t.Errorf("re-enrolment is still pending: %+v", f)
		}
	})
}

func TestATicketIsGoodForADayAndForOneUser(t *testing.T) {
	onLoss(t, func(t *testing.T, l *loss) {
		eve := l.User(l.owner, "eve", account.User)
		l.Bind(l.bob)
		l.Bind(eve)
		his := l.unbound(l.bob, factor.VirtualMFA, deviceOf(l.bob))
		hers := l.unbound(eve, factor.VirtualMFA, deviceOf(eve))
		p := l.at(l.bob)
		_, err := l.answer(p, factor.Ticket, hers)
		testkit.Want(t, "another user's", err, prove.ErrTicketWrong)

		l.Clock.Advance(admin.TicketLifetime - time.Microsecond)
		p, late := l.at(l.bob), l.at(l.bob)
		next, err := l.answer(p, factor.Ticket, his)
		if err != nil || next.Step != policy.Bind {
			t.Fatalf("just before its end: %s, %v", next.Step, err)
		}
		l.Clock.Advance(time.Microsecond)
		_, err = l.answer(late, factor.Ticket, his)
		testkit.Want(t, "after a day", err, prove.ErrTicketWrong)
		l.closed("after a day", late)
		l.Clock.Advance(30 * 24 * time.Hour)
		late = l.at(l.bob)
		if late.Step != policy.Verify || late.Session != nil {
			t.Errorf("a month later: %s", late.Step)
		}
		l.closed("a month later", late)

		first := l.another(l.bob)
		p = l.at(l.bob)
		_, err = l.answer(p, factor.Ticket, first)
		testkit.Want(t, "another ticket", err, nil)
		second := l.another(l.bob)
		_, err = l.SignIn.State(ctx(), l.Visitor, p.Token)
		testkit.Want(t, "the sign-in that showed the one replaced", err, ceremony.ErrGone)
		p = l.at(l.bob)
		_, err = l.answer(p, factor.Ticket, first)
		testkit.Want(t, "the one replaced", err, prove.ErrTicketWrong)
		other := l.at(l.bob)
		for _, one := range []signin.Progress{p, other} {
			_, err = l.answer(one, factor.Ticket, second)
			testkit.Want(t, "the newest, in two tabs", err, nil)
		}
		l.bound(other)
		testkit.Want(t, "the other tab", l.SignIn.Choose(ctx(), l.Visitor, p.Token, factor.VirtualMFA), ceremony.ErrGone)
	})
}

func TestTicketsAreTriedFiveTimesInASignIn(t *testing.T) {
	onLoss(t, func(t *testing.T, l *loss) {
		l.Bind(l.bob)
		ticket := l.unbound(l.bob, factor.VirtualMFA, deviceOf(l.bob))
		p := l.at(l.bob)
		for range 5 {
			_, err := l.answer(p, factor.Ticket, "2222222-2222222")
			testkit.Want(t, "a wrong one", err, prove.ErrTicketWrong)
		}
		_, err := l.answer(p, factor.Ticket, ticket)
		testkit.Want(t, "the right one, too late", err, ceremony.ErrNoTries)
		_, err = l.answer(l.at(l.bob), factor.Ticket, ticket)
		testkit.Want(t, "in another sign-in", err, nil)
	})
}

func TestThePhoneThatStaysVerifiesInsteadOfATicket(t *testing.T) {
	onLoss(t, func(t *testing.T, l *loss) {
		l.Bind(l.bob)
		l.Attach(l.bob, hisPhone)
		if ticket := l.unbound(l.bob, factor.VirtualMFA, deviceOf(l.bob)); ticket != "" {
			t.Fatal("there is a ticket although the phone stays")
		}
		bySMS := func() (signin.Progress, signin.Progress, error) {
			p := l.at(l.bob)
			_, err := l.answer(p, factor.Ticket, "2222222-2222222")
			testkit.Want(t, "a ticket", err, policy.ErrMethod)
			l.closed("before the code", p)
			testkit.Want(t, "send", l.SignIn.Send(ctx(), l.Visitor, p.Token, factor.SMS), nil)
			next, err := l.answer(p, factor.SMS, l.MailedCode(hisPhone))
			return p, next, err
		}
		if _, done, err := bySMS(); err != nil || done.Session == nil {
			t.Fatalf("by text message: %s, %v", done.Step, err)
		}
		l.Settle(l.owner.Account, func(s *account.Settings) { s.AllowSMS = false })
		p, next, err := bySMS()
		if err != nil || next.Session != nil || next.Step != policy.Bind || fmt.Sprint(next.Setup.Kinds) != "[passkey virtual_mfa]" {
			t.Fatalf("text messages are off: %s, %v", next.Step, err)
		}
		l.bound(p)
		l.Settle(l.owner.Account, func(s *account.Settings) { s.AllowSMS = true })
		eve := l.User(l.owner, "eve", account.User)
		phone := l.Attach(eve, "+8613900139000")
		if ticket := l.unbound(eve, factor.SMS, phone.ID); ticket == "" {
			t.Error("the phone was all there was, and there is no ticket")
		}
		l.closed("nothing is left", l.at(eve))
	})
}

func TestBindingInASessionTakesTheTicketToo(t *testing.T) {
	onLoss(t, func(t *testing.T, l *loss) {
		l.Settle(l.owner.Account, func(s *account.Settings) { s.MFAOperation = account.Independent })
		l.Bind(l.bob)
		ticket := l.unbound(l.bob, factor.VirtualMFA, deviceOf(l.bob))
		p := l.at(l.bob)
		if p.Session == nil {
			t.Fatalf("nothing is required: %s", p.Step)
		}
		s := who(t, l.World, p.Session.Token)
		stands := func(what string) {
			t.Helper()
			_, err := l.Self.BeginBind(ctx(), l.Visitor, s, "")
			testkit.Want(t, what+": bind an app", err, prove.ErrVerifyFirst)
			_, err = l.Self.ChangePhone(ctx(), l.Visitor, s, "", hisPhone)
			testkit.Want(t, what+": attach a phone", err, prove.ErrVerifyFirst)
			testkit.Want(t, what+": recovery codes", l.Self.MakeRecoveryCodes(ctx(), l.Visitor, s), selfservice.ErrNoDevice)
			if len(l.Inbox(hisPhone)) != 0 {
				t.Errorf("%s: a code was sent", what)
			}
		}
		verify := func(a policy.Action, m factor.Method, code string) error {
			t.Helper()
			id, err := l.Verify.Begin(ctx(), l.Visitor, s, a, "/")
			if err != nil {
				t.Fatal(err)
			}
			_, token, err := l.Verify.Answer(ctx(), l.Visitor, s, id, prove.Answer{Method: m, Codes: []string{code}})
			if err == nil {
				s = who(t, l.World, token)
			}
			return err
		}
		stands("fresh from the password")
		testkit.Want(t, "the password once more", verify(selfservice.BindVirtualMFA, factor.Password, testkit.Password), policy.ErrMethod)
		testkit.Want(t, "a wrong ticket", verify(selfservice.BindVirtualMFA, factor.Ticket, "2222222-2222222"), prove.ErrTicketWrong)
		stands("after a wrong ticket")
		l.Clock.Advance(admin.TicketLifetime)
		p = l.at(l.bob)
		s = who(t, l.World, p.Session.Token)
		testkit.Want(t, "a ticket of yesterday", verify(selfservice.BindVirtualMFA, factor.Ticket, ticket), prove.ErrTicketWrong)
		ticket = l.another(l.bob)
		s = who(t, l.World, l.at(l.bob).Session.Token)
		testkit.Want(t, "the ticket", verify(selfservice.BindVirtualMFA, factor.Ticket, ticket), nil)
		key, err := l.Self.BeginBind(ctx(), l.Visitor, s, "")
		testkit.Want(t, "bind", err, nil)
		app := appOf(t, l.World, key)
		l.Clock.Advance(policy.Freshness + time.Microsecond - 10*time.Second)
		token, err := l.Self.ConfirmBind(ctx(), l.Visitor, s, key.ID, "", app.Code(-1), app.Code(0))
		testkit.Want(t, "the codes", err, nil)
		s = who(t, l.World, token)
		if f := l.Facts(l.bob); f.Reenrol || !f.VirtualMFA {
			t.Errorf("facts %+v", f)
		}
		testkit.Want(t, "the ticket once more", verify(selfservice.Unbind("x"), factor.Ticket, ticket), policy.ErrMethod)

		// Where nothing was taken off, the password verifies.
		eve := l.User(l.owner, "eve", account.User)
		s = who(t, l.World, l.at(eve).Session.Token)
		_, err = l.Self.BeginBind(ctx(), l.Visitor, s, "")
		testkit.Want(t, "fresh from the password", err, nil)
		l.Clock.Advance(policy.Freshness + time.Second)
		_, err = l.Self.BeginBind(ctx(), l.Visitor, s, "")
		testkit.Want(t, "later", err, prove.ErrVerifyFirst)
		testkit.Want(t, "the password", verify(selfservice.BindVirtualMFA, factor.Password, testkit.Password), nil)
		_, err = l.Self.BeginBind(ctx(), l.Visitor, s, "")
		testkit.Want(t, "verified", err, nil)
	})
}

func TestTheLastDeviceIsExchangedNotDropped(t *testing.T) {
	onLoss(t, func(t *testing.T, l *loss) {
		old := l.Bind(l.bob)
		p, err := l.answer(l.at(l.bob), factor.VirtualMFA, old.Code(0))
		if err != nil || p.Session == nil {
			t.Fatal(err)
		}
		s := who(t, l.World, p.Session.Token)
		_, err = l.Self.Unbind(ctx(), l.Visitor, s, deviceOf(l.bob))
		testkit.Want(t, "drop it", err, selfservice.ErrNeeded)
		_, err = l.Self.BeginBind(ctx(), l.Visitor, s, "")
		testkit.Want(t, "a second one", err, selfservice.ErrBound)
		_, err = l.Self.BeginBind(ctx(), l.Visitor, s, deviceOf(l.bob))
		testkit.Want(t, "exchange it, by the sign-in alone", err, prove.ErrVerifyFirst)
		l.Clock.Advance(30 * time.Second)
		s = l.Verified(s, selfservice.BindAction(deviceOf(l.bob)), factor.VirtualMFA, old.Code(0))
		key, err := l.Self.BeginBind(ctx(), l.Visitor, s, deviceOf(l.bob))
		testkit.Want(t, "verified", err, nil)
		_, other := l.Session(testkit.From(3), l.bob, factor.Password, factor.VirtualMFA)
		app := appOf(t, l.World, key)
		_, err = l.Self.ConfirmBind(ctx(), l.Visitor, s, key.ID, "", app.WrongCode(), app.Code(0))
		if err == nil || !l.Facts(l.bob).VirtualMFA {
			t.Errorf("wrong codes: %v", err)
		}
		if d, err := l.Read(ctx()).VirtualMFA(l.bob.Account, l.bob.ID); err != nil || d.ID != deviceOf(l.bob) {
			t.Errorf("the old one is gone before the new one stands: %v", err)
		}
		token, err := l.Self.ConfirmBind(ctx(), l.Visitor, s, key.ID, "New", app.Code(-1), app.Code(0))
		testkit.Want(t, "the new one", err, nil)
		s = who(t, l.World, token)
		if !l.Ended(t, other) {
			t.Error("another session lives on")
		}
		d, err := l.Read(ctx()).VirtualMFA(l.bob.Account, l.bob.ID)
		if err != nil || d.Name != "New" || len(l.Events(l.bob, audit.UserMFAUnbind)) != 1 || len(l.Events(l.bob, audit.UserMFABind)) != 2 {
			t.Errorf("bound: %+v, %v", d, err)
		}
		_, err = l.Self.BeginBind(ctx(), l.Visitor, s, deviceOf(l.bob))
		if err == nil {
			t.Error("the proof serves once more")
		}
		l.Clock.Advance(time.Minute)
		_, err = l.answer(l.at(l.bob), factor.VirtualMFA, old.Code(0))
		testkit.Want(t, "the old app", err, factor.ErrCodeWrong)
		l.Settle(l.owner.Account, func(s *account.Settings) { s.ManageMFA = false })
		s = who(t, l.World, token)
		_, err = l.Self.BeginBind(ctx(), l.Visitor, s, d.ID)
		testkit.Want(t, "administrators alone", err, policy.ErrMFAManaged)
	})
}

func TestTheOperatorsRecoveryLeadsPastAPendingReenrolment(t *testing.T) {
	onLoss(t, func(t *testing.T, l *loss) {
		f := &recovery.Flow{Prover: l.Prover}
		l.Bind(l.bob)
		l.unbound(l.bob, factor.VirtualMFA, deviceOf(l.bob))
		started, err := f.Start(ctx(), audit.OperatorActor("account recover"), l.bob, time.Hour)
		testkit.Want(t, "start", err, nil)
		p := l.at(l.bob)
		_, err = l.answer(p, factor.Ticket, started.Ticket)
		testkit.Want(t, "before the wait is over", err, prove.ErrTicketWrong)
		l.closed("before the wait is over", p)
		l.Clock.Advance(time.Hour)
		p = l.at(l.bob)
		next, err := l.answer(p, factor.Ticket, started.Ticket)
		if err != nil || next.Step != policy.Bind || next.Session != nil {
			t.Fatalf("the ticket: %s, %v", next.Step, err)
		}
		app := l.bound(p)
		if list, err := l.Read(ctx()).Enrolments(l.bob.Account, l.bob.ID); err != nil || len(list) != 0 {
			t.Errorf("still pending: %+v, %v", list, err)
		}
		l.Clock.Advance(time.Minute)
		if _, err := l.answer(l.at(l.bob), factor.Ticket, started.Ticket); err == nil {
			t.Error("the ticket works again")
		}
		if done, err := l.answer(l.at(l.bob), factor.VirtualMFA, app.Code(0)); err != nil || done.Session == nil {
			t.Errorf("the new app: %v", err)
		}
	})
}
