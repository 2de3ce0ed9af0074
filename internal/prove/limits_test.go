package prove_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestANumberGetsFiveCodesAnHourAndTenADay(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		send := func(n int) error {
			p := w.Password(testkit.From(n), alice)
			return w.SignIn.Send(ctx(), testkit.From(n), p.Token, factor.SMS)
		}
		for hour := range 2 {
			for n := range throttle.DestinationPerHour {
				testkit.Want(t, fmt.Sprintf("number %d of hour %d", n, hour), send(n), nil)
			}
			err := send(9)
			testkit.Want(t, "the sixth of the hour", err, ceremony.ErrSendTooMany)
			if f := fault.From(err); f.Wait != time.Hour {
				t.Errorf("wait %s", f.Wait)
			}
			w.Clock.Advance(time.Hour)
		}
		testkit.Want(t, "the eleventh of the day", send(1), ceremony.ErrSendTooMany)
		if n := len(w.Inbox(hers)); n != throttle.TextPerNumberDay {
			t.Errorf("%d messages", n)
		}
		w.Clock.Advance(22 * time.Hour)
		testkit.Want(t, "the next day", send(1), nil)
	})
}

func TestWhoeverHasCodesSentToANewNumberDoesNotUseUpItsOwners(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		mallory := fraud(t, w)
		for n := range throttle.DestinationPerHour {
			testkit.Want(t, "a code to alice's phone", mallory(testkit.From(n), hers), nil)
		}
		testkit.Want(t, "the sixth", mallory(testkit.From(8), hers), ceremony.ErrSendTooMany)
		p := w.Password(testkit.From(9), alice)
		testkit.Want(t, "alice's own", w.SignIn.Send(ctx(), testkit.From(9), p.Token, factor.SMS), nil)
	})
}

// fraud is somebody with an account who has codes sent to numbers of their
// choice, from networks of their choice.
func fraud(t *testing.T, w *testkit.World) func(v prove.Visitor, number string) error {
	t.Helper()
	i := w.Owner("mallory@example.com")
	var s prove.Signed
	var verified time.Time
	return func(v prove.Visitor, number string) error {
		t.Helper()
		if now := w.Clock.Now(); now.Sub(verified) >= policy.Freshness {
			s, _ = w.Signed(w.Visitor, i.Email, nil)
			s, verified = w.Verified(s, selfservice.AttachPhone, factor.Email), now
		}
		_, err := w.Self.ChangePhone(ctx(), v, s, "", number)
		return err
	}
}

// alarms are what the operator was told.
func alarms(w *testkit.World) (list []string) {
	w.T.Helper()
	events, err := w.Read(ctx()).History(audit.Operator, "", 0, 100, audit.SendAlarm)
	if err != nil {
		w.T.Fatal(err)
	}
	for _, e := range events {
		list = append(list, e.Details["limit"]+" "+e.Target+" "+e.Details["count"])
	}
	slices.Reverse(list)
	return list
}

// told has the operator's own alarm noted.
func told(w *testkit.World) *[]string {
	var list []string
	w.Prover.Sending.Alarm = func(what, scope string) { list = append(list, what+" "+scope) }
	return &list
}

func TestNewNumbersAreBoundedByNetworkAndByPrefix(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		heard, send := told(w), fraud(t, w)
		one := testkit.Visitor("198.51.100.1")
		for n := range throttle.TextNewPerNetwork {
			testkit.Want(t, "a prefix each", send(testkit.Visitor(fmt.Sprintf("198.51.100.%d", n)), fmt.Sprintf("+8613810%02d8000", n)), nil)
		}
		if len(*heard) != 0 {
			t.Errorf("heard %v", *heard)
		}
		for range 3 {
			testkit.Want(t, "the eleventh of the network", send(one, "+8613810998000"), ceremony.ErrSendTooMany)
		}
		if want := "[network texts:new:198.51.100.0/24]"; fmt.Sprint(*heard) != want || fmt.Sprint(alarms(w)) != "[network texts:new:198.51.100.0/24 10]" {
			t.Errorf("heard %v, recorded %v", *heard, alarms(w))
		}
		if in := w.Inbox("+8613810998000"); len(in) != 0 {
			t.Error("sent all the same")
		}
		w.Clock.Advance(time.Hour)
		testkit.Want(t, "an hour later", send(one, "+8613810998000"), nil)

		*heard = nil
		for n := range throttle.TextNewPerPrefix {
			testkit.Want(t, "one prefix", send(testkit.From(n), fmt.Sprintf("+8613820008%03d", n)), nil)
		}
		testkit.Want(t, "the 21st of the prefix", send(testkit.From(99), "+8613820008999"), ceremony.ErrSendTooMany)
		testkit.Want(t, "its neighbour", send(testkit.From(99), "+8613820018999"), nil)
		w.Clock.Advance(2 * time.Hour)
		testkit.Want(t, "later that day", send(testkit.From(98), "+8613820008998"), ceremony.ErrSendTooMany)
		if fmt.Sprint(*heard) != "[prefix texts:new:+861382000]" || len(alarms(w)) != 2 {
			t.Errorf("heard %v, recorded %v", *heard, alarms(w))
		}
		w.Clock.Advance(24 * time.Hour)
		testkit.Want(t, "the next day", send(testkit.From(99), "+8613820008999"), nil)
		checkChains(t, w)
	})
}

func checkChains(t *testing.T, w *testkit.World) {
	t.Helper()
	if err := w.Read(ctx()).VerifyChains(func(_ store.Head, err error) error { return err }); err != nil {
		t.Error(err)
	}
}

func TestCeilingsOfCountryTotalAndAllEndItForEverybody(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		protected(w)
		heard, send := told(w), fraud(t, w)
		own := func(n int) error {
			return w.SignIn.Send(ctx(), testkit.From(n), w.Password(testkit.From(n), alice).Token, factor.SMS)
		}
		w.Prover.Sending.Ceiling = throttle.Ceiling{All: 1000, Text: 1000, Country: 2}
		testkit.Want(t, "of the country", send(testkit.From(1), "+8613811118000"), nil)
		testkit.Want(t, "her own of the country", own(1), nil)
		for range 2 {
			testkit.Want(t, "a third of the country", own(2), ceremony.ErrSendTooMany)
		}
		testkit.Want(t, "another country", send(testkit.From(1), "+819012345678"), nil)
		w.Prover.Sending.Ceiling = throttle.Ceiling{All: 1000, Text: 3, Country: 1000}
		testkit.Want(t, "a fourth text message", own(2), ceremony.ErrSendTooMany)
		all := 0
		if n, _, err := w.Read(ctx()).Counted(throttle.SendScope, w.Clock.Now()); err != nil || n != 4 {
			t.Errorf("%d codes in all, %v", n, err) // three text messages and mallory's mail
		} else {
			all = n
		}
		w.Prover.Sending.Ceiling = throttle.Ceiling{All: all, Text: 1000, Country: 1000}
		testkit.Want(t, "one code more than all", own(2), ceremony.ErrSendTooMany)
		if want := "[country texts:country:CN total texts:all all sends:all]"; fmt.Sprint(*heard) != want || fmt.Sprint(alarms(w)) != "[country texts:country:CN 2 total texts:all 3 all sends:all 4]" {
			t.Errorf("heard %v, recorded %v", *heard, alarms(w))
		}
		w.Clock.Advance(24 * time.Hour)
		testkit.Want(t, "the next day", own(3), nil)
		if n := len(w.Inbox(hers)); n != 2 {
			t.Errorf("%d messages", n)
		}
	})
}

func TestARefusedSendingIsCountedNowhere(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		w.Prover.Sending.Ceiling.Text = 1
		_, _ = sent(t, w, testkit.From(1))
		p := w.Password(testkit.From(2), alice)
		for range 20 {
			testkit.Want(t, "refused", w.SignIn.Send(ctx(), testkit.From(2), p.Token, factor.SMS), ceremony.ErrSendTooMany)
		}
		for _, scope := range []string{"sends:" + string(i.Account), throttle.CountryScope("CN"), throttle.TextScope, throttle.SendScope} {
			if n, _, err := w.Read(ctx()).Counted(scope, w.Clock.Now()); n != 1 || err != nil {
				t.Errorf("%s: %d, %v", scope, n, err)
			}
		}
		w.Prover.Sending.Ceiling.Text = 10
		testkit.Want(t, "at once when it is raised", w.SignIn.Send(ctx(), testkit.From(2), p.Token, factor.SMS), nil)
	})
}

func TestAMessageThatDiesIsNotChargedToItsOwnerButToTheService(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := protected(w)
		v := testkit.Visitor("198.51.100.1")
		p := w.Password(v, alice)
		const died = throttle.TextPerNumberDay + 2
		for n := range died {
			if n == throttle.SendsPerCeremony {
				testkit.Want(t, "one more in a sign-in that had ten die", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), ceremony.ErrSendTooMany)
				p = w.Password(v, alice)
			}
			testkit.Want(t, fmt.Sprintf("number %d", n), w.SignIn.Send(ctx(), v, p.Token, factor.SMS), nil)
			m, found, err := w.ClaimMessage(ctx(), time.Minute, message.SMS)
			if err != nil || !found {
				t.Fatalf("claim: %v, %v", found, err)
			}
			testkit.Want(t, "die", w.MessageDead(ctx(), m.ID, "no route"), nil)
			state, err := w.SignIn.State(ctx(), v, p.Token)
			if err != nil || !state.Offers[0].Failed || state.Resend != 0 {
				t.Errorf("%+v, %v", state, err)
			}
		}
		for scope, want := range map[string]int{"sends:" + string(i.Account): 0, "texts:bound:198.51.100.0/24": died, "texts:bound:+861380013": died,
			throttle.CountryScope("CN"): died, throttle.TextScope: died, throttle.SendScope: died} {
			if n, _, err := w.Read(ctx()).Counted(scope, w.Clock.Now()); n != want || err != nil {
				t.Errorf("%s: %d, want %d, %v", scope, n, want, err)
			}
		}
		testkit.Want(t, "one that arrives", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), nil)
		testkit.Want(t, "and another", w.SignIn.Send(ctx(), v, p.Token, factor.SMS), ceremony.ErrSendSoon)
	})
}

func TestASendWaitsForItsFate(t *testing.T) {
	t.Parallel()
	w := testkit.New(t, storetest.SQLite)
	protected(w)
	w.Prover.Sending.Patience = time.Minute
	p := w.Password(w.Visitor, alice)
	done := make(chan error, 1)
	go func() { done <- w.SignIn.Send(ctx(), w.Visitor, p.Token, factor.SMS) }()
	<-w.Woken()
	m, found, err := w.ClaimMessage(ctx(), time.Minute, message.SMS)
	if err != nil || !found {
		t.Fatalf("claim: %v, %v", found, err)
	}
	select {
	case err := <-done:
		t.Fatalf("returned before anything was known: %v", err)
	default:
	}
	testkit.Want(t, "fail for now", w.MessageFailed(ctx(), m.ID, "busy", w.Clock.Now().Add(time.Minute)), nil)
	testkit.Want(t, "send", <-done, nil)
	state, err := w.SignIn.State(ctx(), w.Visitor, p.Token)
	if err != nil || !state.Offers[0].Delayed || state.Offers[0].Failed {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestWhereNothingCanBeSentNothingIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change            func(s *prove.Sending)
		text, mail, fresh error
		textDown          bool
	}{
		"no gateway":             {func(s *prove.Sending) { s.NoTexts = true }, prove.ErrNoTexts, nil, prove.ErrNoTexts, true},
		"no mail":                {func(s *prove.Sending) { s.NoMail = true }, nil, prove.ErrNoMail, nil, false},
		"another country":        {func(s *prove.Sending) { s.Countries = map[string]bool{"JP": true} }, prove.ErrPhoneCountry, nil, account.ErrPhoneCountry, true},
		"no country":             {func(s *prove.Sending) { s.Countries = map[string]bool{} }, prove.ErrPhoneCountry, nil, account.ErrPhoneCountry, true},
		"neither gateway nor it": {func(s *prove.Sending) { s.NoTexts, s.NoMail = true, true }, prove.ErrNoTexts, prove.ErrNoMail, prove.ErrNoTexts, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := testkit.New(t, storetest.SQLite)
			i := w.Owner(alice)
			w.Attach(i, hers)
			w.Owner("bob@example.com") // has no phone
			s, _ := w.Signed(w.Visitor, alice, nil)
			his, _ := w.Signed(w.Visitor, "bob@example.com", nil)
			begin := func(s prove.Signed) string {
				id, err := w.Verify.Begin(ctx(), w.Visitor, s, selfservice.ChangePassword, "/")
				testkit.Want(t, "begin", err, nil)
				return id
			}
			id, mail := begin(s), begin(his)
			c.change(&w.Prover.Sending)
			for _, one := range []struct {
				s    prove.Signed
				id   string
				m    factor.Method
				down bool
			}{{s, id, factor.SMS, c.textDown}, {his, mail, factor.Email, c.mail != nil}} {
				q, err := w.Verify.State(ctx(), w.Visitor, one.s, one.id)
				if err != nil || len(q.Offers) != 1 || q.Offers[0].Method != one.m || q.Offers[0].Down != one.down {
					t.Errorf("offers %+v, %v", q.Offers, err)
				}
			}
			testkit.Want(t, "by text message", w.Verify.Send(ctx(), w.Visitor, s, id, factor.SMS), c.text)
			testkit.Want(t, "by mail", w.Verify.Send(ctx(), w.Visitor, his, mail, factor.Email), c.mail)
			sent := len(w.Inbox(hers)) + len(w.Inbox("bob@example.com"))
			want := 0
			for _, err := range []error{c.text, c.mail} {
				if err == nil {
					want++
				}
			}
			if n, _, err := w.Read(ctx()).Counted(throttle.SendScope, w.Clock.Now()); sent != want || n != want || err != nil {
				t.Errorf("%d sent, %d counted, want %d", sent, n, want)
			}
			_, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "CN", "13900139000")
			if c.fresh == nil {
				c.fresh = prove.ErrVerifyFirst
			}
			testkit.Want(t, "a new phone", err, c.fresh)
			if len(w.Inbox("+8613900139000")) != 0 {
				t.Error("a code was sent to it")
			}
			w.Protect(i, factor.SMS, policy.SignInScenario)
			p := w.Password(testkit.From(4), alice)
			if p.Session != nil || p.Offers[0].Down != c.textDown {
				t.Errorf("a sign-in: %+v", p)
			}
			if err := w.SignIn.Send(ctx(), testkit.From(4), p.Token, factor.SMS); !errors.Is(err, c.text) {
				t.Errorf("a sign-in: %v", err)
			}
		})
	}
}
