package selfservice_test

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
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const (
	hers  = "+8613800138000"
	other = "+8613900139000"
	bob   = "bob@example.com"
)

// elsewhere signs alice in in another browser.
func elsewhere(w *testkit.World) secret.Token {
	w.T.Helper()
	_, token := w.Signed(testkit.From(200), alice, nil)
	return token
}

func ended(t *testing.T, w *testkit.World, token secret.Token) {
	t.Helper()
	if _, err := w.SignIn.Signed(ctx(), token); !errors.Is(err, session.ErrSignedOut) {
		t.Errorf("another session lives on: %v", err)
	}
}

// wantTold compares the notices to an address or number, newest first.
func wantTold(t *testing.T, w *testkit.World, to, want string) {
	t.Helper()
	if got := fmt.Sprint(w.Told(to)); got != want {
		t.Errorf("%s was told %s, want %s", to, got, want)
	}
}

// wantEvent compares the only event of a name.
func wantEvent(t *testing.T, w *testkit.World, name audit.Name, want string) {
	t.Helper()
	var done []audit.Event
	for _, e := range w.Events(w.Identity(aliceNow(w)), name) {
		if e.Refused == "" {
			done = append(done, e)
		}
	}
	if len(done) != 1 || fmt.Sprint(done[0].Details) != want || done[0].Actor.Kind != "owner" {
		t.Errorf("%s: %+v, want one with %s", name, done, want)
	}
}

// aliceNow is the address that alice signs in with.
func aliceNow(w *testkit.World) string {
	for _, email := range []string{alice, "new@example.com"} {
		if _, err := w.Read(ctx()).IdentityByEmail(email); err == nil {
			return email
		}
	}
	return alice
}

func confirm(w *testkit.World, s prove.Signed, id, code string) (secret.Token, error) {
	_, token, err := w.Self.ConfirmContact(ctx(), w.Visitor, s, id, code)
	return token, err
}

func TestAPhoneIsAttachedWhenItsCodeComesBack(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		away := elsewhere(w)
		id, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "CN", "138 0013 8000")
		testkit.Want(t, "without a verification", err, prove.ErrVerifyFirst)
		testkit.Want(t, "a code without a verification", w.Self.SendContact(ctx(), w.Visitor, s, id), prove.ErrVerifyFirst)
		_, err = confirm(w, s, id, "123456")
		testkit.Want(t, "confirm without a verification", err, prove.ErrVerifyFirst)
		if len(w.Inbox(hers)) != 0 {
			t.Fatal("a code was sent before the verification")
		}
		a, err := w.Self.ContactAction(ctx(), s, id)
		if err != nil || a != selfservice.AttachPhone {
			t.Fatalf("action %+v, %v", a, err)
		}
		s = w.Verified(s, a, factor.Email)
		k, err := w.Self.Contact(ctx(), w.Visitor, s, id)
		if err != nil || k.Method != factor.SMS || k.Phone != hers || k.Country != "CN" || k.Sent || k.Digits != 6 {
			t.Errorf("what was typed is lost: %+v, %v", k, err)
		}
		testkit.Want(t, "send", w.Self.SendContact(ctx(), w.Visitor, s, id), nil)
		testkit.Want(t, "send again", w.Self.SendContact(ctx(), w.Visitor, s, id), ceremony.ErrSendSoon)
		code := w.MailedCode(hers)
		if in := w.Inbox(hers); in[0].Text != code+" is your Countersign code to attach a phone. Do not share it.\n\n@id.example.com #"+code {
			t.Errorf("sent %q", in[0].Text)
		}
		_, err = confirm(w, s, id, wrongly(code))
		testkit.Want(t, "another code", err, ceremony.ErrSentWrong)
		_, err = confirm(w, s, id, "")
		testkit.Want(t, "no code", err, factor.ErrCodeMissing)
		if w.Facts(i).Phone {
			t.Error("attached before its code came back")
		}
		wantTold(t, w, hers, "[]")
		token, err := confirm(w, s, id, code)
		testkit.Want(t, "its code", err, nil)
		mine := who(t, w, token)
		if acr := policy.ClaimsOf(mine.Session.Proofs).ACR; acr != policy.LevelRestricted {
			t.Errorf("the session is of level %s", acr)
		}
		if o, err := w.Self.Overview(ctx(), mine); err != nil || o.Phone.Number != hers || o.Phone.BoundFrom != "192.0.2.7" || !o.Phone.BoundAt.Equal(w.Clock.Now()) {
			t.Errorf("overview %+v, %v", o.Phone, err)
		}
		ended(t, w, away)
		wantTold(t, w, alice, "[phone_attached]")
		wantTold(t, w, hers, "[phone_attached]")
		wantEvent(t, w, audit.MobileBind, "map[to:138****00]")
		_, err = confirm(w, mine, id, code)
		testkit.Want(t, "once more", err, selfservice.ErrContactGone)
	})
}

// wrongly is a code as long as the one given, and another.
func wrongly(code string) string {
	return code[:len(code)-1] + fmt.Sprint((code[len(code)-1]-'0'+1)%10)
}

func TestAnOldPhoneStaysInForceUntilTheNewOneHasAnswered(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.ChangeEmail, factor.Email) // the scenario of the phone, by mail
		present := w.Attach(i, hers)
		away := elsewhere(w)
		a := selfservice.PhoneAction(present)
		if a.Object != "138****00" || a.Target != present.ID {
			t.Errorf("action %+v", a)
		}
		_, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "CN", "+86 138-0013-8000")
		testkit.Want(t, "the same number", err, selfservice.ErrSamePhone)
		id, err := w.Verify.Begin(ctx(), w.Visitor, s, a, "/")
		testkit.Want(t, "begin", err, nil)
		testkit.Want(t, "verify by mail", w.Verify.Send(ctx(), w.Visitor, s, id, factor.Email), policy.ErrMethod)
		_, err = w.Self.ChangePhone(ctx(), w.Visitor, s, "", other)
		testkit.Want(t, "after a mailed code", err, prove.ErrVerifyFirst)
		s = w.Verified(s, a, factor.SMS)
		if in := w.Inbox(hers)[0].Text; !slices.Contains([]string{in}, w.MailedCode(hers)+" is your Countersign code to change your phone \"138****00\". Do not share it.\n\n@id.example.com #"+w.MailedCode(hers)) {
			t.Errorf("sent %q", in)
		}
		change, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "", other)
		testkit.Want(t, "after a text message", err, nil)
		if w.Sends(i, factor.SMS) != hers {
			t.Error("the new number counts before it has answered")
		}
		_, err = confirm(w, s, change, w.MailedCode(hers))
		testkit.Want(t, "a code of the old number", err, ceremony.ErrSentWrong)
		token, err := confirm(w, s, change, w.MailedCode(other))
		testkit.Want(t, "the new one's", err, nil)
		who(t, w, token)
		if w.Sends(i, factor.SMS) != other {
			t.Error("the old number is still in force")
		}
		ended(t, w, away)
		wantTold(t, w, alice, "[phone_changed]")
		wantTold(t, w, hers, "[phone_changed]")
		wantTold(t, w, other, "[phone_changed]")
		wantEvent(t, w, audit.MobileModify, "map[from:138****00 to:139****00]")
	})
}

func TestATextMessageChangesNothingBesideADevice(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		present, app := w.Attach(i, hers), w.Bind(i)
		s, _ := w.Signed(w.Visitor, alice, app)
		device := "device-" + string(i.ID)
		for _, a := range []policy.Action{selfservice.Unbind(device), selfservice.Resynchronise, selfservice.PhoneAction(present), selfservice.RemovePhoneAction(present), selfservice.EmailAction(i), selfservice.ChangePassword, selfservice.TurnOff, selfservice.MakeCodes} {
			w.Clock.Advance(policy.Freshness + time.Second)
			id, err := w.Verify.Begin(ctx(), w.Visitor, s, a, "/")
			testkit.Want(t, "begin", err, nil)
			for _, m := range []factor.Method{factor.SMS, factor.Email} {
				testkit.Want(t, a.Name+" by "+string(m), w.Verify.Send(ctx(), w.Visitor, s, id, m), policy.ErrMethod)
				_, _, err = w.Verify.Answer(ctx(), w.Visitor, s, id, prove.Answer{Method: m, Codes: []string{"123456"}})
				testkit.Want(t, a.Name+" by "+string(m), err, policy.ErrMethod)
			}
		}
		if len(w.Inbox(hers)) != 0 {
			t.Error("a code was sent")
		}
	})
}

func TestAnOldEmailStaysInForceUntilTheNewOneHasAnswered(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Attach(w.Owner(alice), hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		away := elsewhere(w)
		for _, typed := range []string{alice, " ALICE@example.com "} {
			_, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, typed)
			testkit.Want(t, "the same address", err, selfservice.ErrSameEmail)
		}
		_, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, "no address")
		testkit.Want(t, "no address", err, account.ErrEmailForm)
		id, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, "new@example.com")
		testkit.Want(t, "without a verification", err, prove.ErrVerifyFirst)
		if len(w.Inbox("new@example.com")) != 0 {
			t.Fatal("a code was sent before the verification")
		}
		a, err := w.Self.ContactAction(ctx(), s, id)
		if err != nil || a.Name != "change_email" || a.Object != "a***@e***.com" {
			t.Fatalf("action %+v, %v", a, err)
		}
		s = w.Verified(s, a, factor.SMS)
		testkit.Want(t, "send", w.Self.SendContact(ctx(), w.Visitor, s, id), nil)
		if p := w.Password(testkit.From(3), alice); p.Session == nil {
			t.Error("the old address is not in force")
		}
		for _, m := range w.Inbox(alice) {
			if m.Kind == "code" {
				t.Error("a code went to the old address")
			}
		}
		_, err = confirm(w, s, id, w.MailedCode(hers))
		testkit.Want(t, "the code of the verification", err, ceremony.ErrSentWrong)
		m, token, err := w.Self.ConfirmContact(ctx(), w.Visitor, s, id, w.MailedCode("new@example.com"))
		if err != nil || m != factor.Email || who(t, w, token).Identity.Email != "new@example.com" {
			t.Fatalf("%s, %v", m, err)
		}
		ended(t, w, away)
		if p := w.Password(testkit.From(3), "new@example.com"); p.Session == nil {
			t.Error("the new address is not in force, or not confirmed")
		}
		_, err = w.SignIn.Begin(ctx(), testkit.From(3), prove.Door{}, alice, testkit.Password, "")
		testkit.Want(t, "sign in with the old one", err, prove.ErrCredentials)
		for _, to := range []string{alice, "new@example.com", hers} {
			wantTold(t, w, to, "[email_changed]")
		}
		wantEvent(t, w, audit.EmailModify, "map[from:a***@e***.com to:n***@e***.com]")
	})
}

func TestAnAddressThatIsTakenLooksLikeAnyOther(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		w.Owner(bob)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.ChangeEmail, factor.Email)
		seen := map[string]string{}
		for _, email := range []string{"free@example.com", bob, bob} {
			id, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, email)
			k, err2 := w.Self.Contact(ctx(), w.Visitor, s, id)
			soon := w.Self.SendContact(ctx(), w.Visitor, s, id)
			_, wrong := confirm(w, s, id, "123456")
			seen[email] = fmt.Sprint(err, err2, k.Method, k.Sent, k.Failed, k.Delayed, k.Digits, k.Resend, soon, wrong)
		}
		if seen["free@example.com"] != seen[bob] {
			t.Errorf("free: %s\ntaken: %s", seen["free@example.com"], seen[bob])
		}
		in := w.Inbox(bob)
		if len(in) != 1 || in[0].Kind != "email_known" {
			t.Errorf("bob got %+v", in)
		}
		w.Clock.Advance(25 * time.Hour)
		s, _ = w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.ChangeEmail, factor.Email)
		_, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, bob)
		testkit.Want(t, "the next day", err, nil)
		wantTold(t, w, bob, "[email_known email_known]")
	})
}

func TestAnAddressTakenMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.ChangeEmail, factor.Email)
		id, err := w.Self.ChangeEmail(ctx(), w.Visitor, s, bob)
		testkit.Want(t, "change", err, nil)
		code := w.MailedCode(bob)
		w.Owner(bob)
		_, err = confirm(w, s, id, code)
		testkit.Want(t, "confirm", err, account.ErrEmailTaken)
		if w.Identity(alice).Email != alice {
			t.Error("changed")
		}
	})
}

func TestAChangeOfContactEndsWithItsTimeItsTriesAndItsSession(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		w.Owner(bob)
		s, _ := w.Signed(w.Visitor, alice, nil)
		begin := func() (id, code string) {
			t.Helper()
			s = w.Verified(s, selfservice.AttachPhone, factor.Email)
			id, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "CN", "13800138000")
			testkit.Want(t, "change", err, nil)
			return id, w.MailedCode(hers)
		}
		id, code := begin()
		mate, _ := w.Signed(testkit.From(2), alice, nil)
		stranger, _ := w.Signed(testkit.From(3), bob, nil)
		for name, one := range map[string]prove.Signed{"another session of hers": mate, "another's session": stranger} {
			_, err := confirm(w, one, id, code)
			testkit.Want(t, name, err, selfservice.ErrContactGone)
			testkit.Want(t, name, w.Self.SendContact(ctx(), w.Visitor, one, id), selfservice.ErrContactGone)
			_, err = w.Self.Contact(ctx(), w.Visitor, one, id)
			testkit.Want(t, name, err, selfservice.ErrContactGone)
			_, err = w.Self.ContactAction(ctx(), one, id)
			testkit.Want(t, name, err, selfservice.ErrContactGone)
		}
		newer, newest := begin()
		_, err := confirm(w, s, id, code)
		testkit.Want(t, "the one begun before", err, selfservice.ErrContactGone)
		for range 5 {
			_, err = confirm(w, s, newer, wrongly(newest))
			testkit.Want(t, "wrong", err, ceremony.ErrSentWrong)
		}
		_, err = confirm(w, s, newer, newest)
		testkit.Want(t, "the sixth try", err, selfservice.ErrContactTries)
		w.Clock.Advance(time.Minute)
		testkit.Want(t, "a code when there are no tries", w.Self.SendContact(ctx(), w.Visitor, s, newer), selfservice.ErrContactTries)
		id, code = begin()
		w.Clock.Advance(ceremony.CodeLifetime)
		_, err = confirm(w, s, id, code)
		testkit.Want(t, "a code of ten minutes ago", err, ceremony.ErrCodeExpired)
		w.Clock.Advance(ceremony.SessionLifetime - ceremony.CodeLifetime)
		_, err = confirm(w, s, id, code)
		testkit.Want(t, "after half an hour", err, selfservice.ErrContactGone)
		s = w.Verified(s, selfservice.AttachPhone, factor.Email)
		id, code = begin()
		w.Clock.Advance(ceremony.CodeLifetime - time.Second)
		_, err = confirm(w, s, id, code)
		testkit.Want(t, "at 9:59", err, nil)
	})
}

func TestANumberServesSixIdentities(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		for n := range 5 {
			w.Attach(w.Owner(fmt.Sprintf("%d@example.com", n)), hers)
		}
		attach := func(email string) error {
			w.Owner(email)
			s, _ := w.Signed(w.Visitor, email, nil)
			s = w.Verified(s, selfservice.AttachPhone, factor.Email)
			id, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "", hers)
			testkit.Want(t, "change", err, nil)
			_, err = confirm(w, s, id, w.MailedCode(hers))
			return err
		}
		testkit.Want(t, "the sixth", attach(alice), nil)
		testkit.Want(t, "the seventh", attach(bob), account.ErrPhoneTaken)
		if w.Facts(w.Identity(bob)).Phone {
			t.Error("attached all the same")
		}
	})
}

func TestAPhoneIsRemovedWithAProofOfItsOwn(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		present := w.Attach(i, hers)
		s, _ := w.Signed(w.Visitor, alice, nil)
		away := elsewhere(w)
		remove := func(id string) (secret.Token, error) { return w.Self.RemovePhone(ctx(), w.Visitor, s, id) }
		_, err := remove("another")
		testkit.Want(t, "another id", err, selfservice.ErrNoPhone)
		s = w.Verified(s, selfservice.ChangeEmail, factor.SMS)
		s = w.Verified(s, selfservice.PhoneAction(present), factor.SMS)
		a := selfservice.RemovePhoneAction(present)
		a.Target = "another"
		s = w.Verified(s, a, factor.SMS)
		_, err = remove(present.ID)
		testkit.Want(t, "verified for something else", err, prove.ErrVerifyFirst)
		s = w.Verified(s, selfservice.RemovePhoneAction(present), factor.SMS)
		w.Protect(i, factor.SMS, policy.ChangePassword)
		_, err = remove(present.ID)
		testkit.Want(t, "while it protects", err, selfservice.ErrProtects)
		w.Protect(i, factor.VirtualMFA, policy.ChangePassword) // it is not the phone's any more
		_, err = remove(present.ID)
		testkit.Want(t, "too weak for what protects", err, prove.ErrVerifyFirst)
		unprotect(t, w, i)
		token, err := remove(present.ID)
		testkit.Want(t, "with its own", err, nil)
		s = who(t, w, token)
		_, err = remove(present.ID)
		testkit.Want(t, "again", err, selfservice.ErrNoPhone)
		ended(t, w, away)
		wantTold(t, w, alice, "[phone_removed]")
		wantTold(t, w, hers, "[phone_removed]")
		wantEvent(t, w, audit.MobileUnbind, "map[from:138****00]")
		if f := w.Facts(i); f.Phone || f.RecoveryCodes != 0 {
			t.Errorf("left: %+v", f)
		}
	})
}

func TestOneOfTwentyConfirmsAChange(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		w.Owner(alice)
		s, _ := w.Signed(w.Visitor, alice, nil)
		s = w.Verified(s, selfservice.AttachPhone, factor.Email)
		id, err := w.Self.ChangePhone(ctx(), w.Visitor, s, "", hers)
		testkit.Want(t, "change", err, nil)
		code := w.MailedCode(hers)
		one(t, w, func(int) error { _, err := confirm(w, s, id, code); return err })
		wantTold(t, w, hers, "[phone_attached]")
	})
}

// one runs f twenty times at once: one may succeed, the others are refused.
func one(t *testing.T, w *testkit.World, f func(n int) error) {
	t.Helper()
	done := 0
	late := []error{ceremony.ErrNotSent, ceremony.ErrGone, selfservice.ErrContactGone, selfservice.ErrContactTries, selfservice.ErrProtectionGone, selfservice.ErrProtectionTries, session.ErrSignedOut, prove.ErrVerifyFirst, prove.ErrTooManyCodes}
	for _, err := range storetest.Parallel(20, f) {
		switch {
		case err == nil:
			done++
		case slices.ContainsFunc(late, func(e error) bool { return errors.Is(err, e) }):
		default:
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d of twenty", done)
	}
}
