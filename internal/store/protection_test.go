package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

const hers account.Phone = "+8613800138000"

func TestAPhoneIsReplacedOnlyWhileItIsTheOneNamed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		if _, err := w.Read(ctx()).Phone(i.Account, i.ID); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("none: %v", err)
		}
		attach := func(i account.Identity, old string, p store.Phone) error {
			return write(w, func(tx *store.Tx) error { return tx.AttachPhone(i.Account, i.ID, old, p, errFirst) })
		}
		want := func(err, due error) {
			t.Helper()
			if !errors.Is(err, due) {
				t.Errorf("got %v, want %v", err, due)
			}
		}
		want(attach(i, "gone", store.Phone{ID: "one", Number: hers}), errFirst)
		want(attach(i, "", store.Phone{ID: "one", Number: hers, BoundFrom: "192.0.2.7"}), nil)
		want(attach(i, "", store.Phone{ID: "two", Number: "+819012345678"}), errFirst)
		want(attach(other, "one", store.Phone{ID: "three", Number: "+819012345678"}), errFirst)
		want(attach(other, "", store.Phone{ID: "three", Number: hers}), nil)
		if n, err := w.Read(ctx()).PhoneIdentities(hers); n != 2 || err != nil {
			t.Errorf("%d identities, %v", n, err)
		}
		bound := w.Clock.Now()
		w.Clock.Advance(time.Hour)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.UsePhone(i.Account, i.ID) })
		p, err := w.Read(ctx()).Phone(i.Account, i.ID)
		if err != nil || p != (store.Phone{ID: "one", Number: hers, BoundAt: bound, BoundFrom: "192.0.2.7", LastUsedAt: w.Clock.Now()}) {
			t.Errorf("%+v, %v", p, err)
		}
		if p, err := w.Read(ctx()).Phone(other.Account, other.ID); err != nil || !p.LastUsedAt.IsZero() {
			t.Errorf("the other's: %+v, %v", p, err)
		}
		want(attach(i, "one", store.Phone{ID: "four", Number: "+819012345678", BoundFrom: "192.0.2.9"}), nil)
		want(attach(i, "one", store.Phone{ID: "five", Number: hers}), errFirst)
		p, err = w.Read(ctx()).Phone(i.Account, i.ID)
		if err != nil || p != (store.Phone{ID: "four", Number: "+819012345678", BoundAt: w.Clock.Now(), BoundFrom: "192.0.2.9"}) {
			t.Errorf("replaced: %+v, %v", p, err)
		}
		remove := func(i account.Identity, id string) error {
			return write(w, func(tx *store.Tx) error { return tx.RemovePhone(i.Account, i.ID, id, errFirst) })
		}
		want(remove(i, "one"), errFirst)
		want(remove(other, "four"), errFirst)
		want(remove(i, "four"), nil)
		want(remove(i, "four"), errFirst)
		if n, err := w.Read(ctx()).PhoneIdentities("+819012345678"); n != 0 || err != nil {
			t.Errorf("%d identities, %v", n, err)
		}
	})
}

func TestOneOfManyAttachesAPhone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		for _, old := range []string{"", "0"} { // attached, then replaced
			done := 0
			for _, err := range storetest.Parallel(12, func(n int) error {
				return write(w, func(tx *store.Tx) error {
					return tx.AttachPhone(i.Account, i.ID, old, store.Phone{ID: fmt.Sprint(len(old)), Number: hers}, errFirst)
				})
			}) {
				if err == nil {
					done++
				} else if !errors.Is(err, errFirst) {
					t.Error(err)
				}
			}
			if done != 1 {
				t.Errorf("%d of twelve, in place of %q", done, old)
			}
		}
	})
}

func TestProtectionIsTheAccountsAndCountsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		facts := func(i account.Identity) policy.Facts {
			t.Helper()
			f, err := w.Read(ctx()).Facts(i, nil)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		if f := facts(i); f.Protection.On() || f.Protection.Scenarios != nil || !f.Protection.Since.IsZero() {
			t.Errorf("before: %+v", f.Protection)
		}
		set := func(m factor.Method, s ...policy.Scenario) {
			t.Helper()
			mustWrite(t, w, func(tx *store.Tx) error {
				return tx.SetProtection(i.Account, policy.Protection{Scenarios: s, Method: m})
			})
		}
		since := w.Clock.Now()
		set(factor.SMS, policy.SignInScenario, policy.ManageMFA)
		w.Clock.Advance(time.Hour)
		set(factor.VirtualMFA, policy.ChangeContact)
		got := fmt.Sprintf("%+v", facts(i).Protection)
		if want := fmt.Sprintf("%+v", policy.Protection{Scenarios: []policy.Scenario{policy.ChangeContact}, Method: factor.VirtualMFA, Since: since, ChangedAt: w.Clock.Now()}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if facts(other).Protection.On() {
			t.Error("it counts for another account")
		}
		user := identity(w, "user@example.com")
		user.Account, user.Role = i.Account, "user"
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddIdentity(user) })
		if facts(user).Protection.On() {
			t.Error("it counts for a user of the account")
		}
		remove := func(a account.ID) error {
			return write(w, func(tx *store.Tx) error { return tx.RemoveProtection(a, errFirst) })
		}
		if err := remove(other.Account); !errors.Is(err, errFirst) {
			t.Errorf("another's: %v", err)
		}
		if err := errors.Join(remove(i.Account)); err != nil || facts(i).Protection.On() {
			t.Errorf("removed: %v", err)
		}
		if err := remove(i.Account); !errors.Is(err, errFirst) {
			t.Errorf("again: %v", err)
		}
	})
}

func TestFactsAreThoseOfTheIdentity(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		proofs := []factor.Proof{{Method: factor.Password, At: w.Clock.Now()}}
		facts := func(i account.Identity) string {
			t.Helper()
			f, err := w.Read(ctx()).Facts(i, proofs)
			if err != nil || len(f.Proofs) != 1 || f.Role != account.Owner {
				t.Fatalf("%+v, %v", f, err)
			}
			return fmt.Sprintf("email %v phone %v device %v codes %d", f.EmailConfirmed, f.Phone, f.VirtualMFA, f.RecoveryCodes)
		}
		const none = "email true phone false device false codes 0"
		if got := facts(i); got != none {
			t.Errorf("nothing bound: %s", got)
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(
				tx.AttachPhone(i.Account, i.ID, "", store.Phone{ID: "p", Number: hers}, errFirst),
				tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: []byte("seed")}, ID: "d"}, errFirst),
				tx.ReplaceRecoveryCodes(i.Account, i.ID, [][]byte{{1}, {2}, {3}}),
				tx.UseRecoveryCode(i.Account, i.ID, []byte{2}, errFirst))
		})
		if got := facts(i); got != "email true phone true device true codes 2" {
			t.Errorf("everything bound: %s", got)
		}
		if got := facts(other); got != none {
			t.Errorf("the other: %s", got)
		}
		i.EmailConfirmedAt = time.Time{}
		if got := facts(i); got != "email false phone true device true codes 2" {
			t.Errorf("an address that is not confirmed: %s", got)
		}
		i.ID = "nobody"
		if _, err := w.Read(ctx()).Facts(i, nil); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("of nobody: %v", err)
		}
	})
}

func TestSentCodesAreKeptByCeremonyAndMethod(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		i := addOwner(t, w, "a@example.com")
		mustWrite(t, w, func(tx *store.Tx) error {
			err := tx.AddSession(session.Session{ID: "s", Account: i.Account, Identity: i.ID, Epoch: 1, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(time.Hour)}, []byte("h"))
			for _, id := range []string{"c", "d"} {
				err = errors.Join(err, tx.AddCeremony(ceremony.Ceremony{ID: id, Kind: ceremony.Protect, Account: i.Account, Identity: i.ID, Epoch: 1, Session: "s", TriesLeft: 5, CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(time.Hour)}))
			}
			return err
		})
		send := func(c string, m factor.Method, id, code string) {
			t.Helper()
			mustWrite(t, w, func(tx *store.Tx) error {
				return tx.AddSentCode(ceremony.Code{ID: id, Ceremony: c, Method: m, Digits: len(code), CreatedAt: tx.Now, ExpiresAt: tx.Now.Add(10 * time.Minute), Message: "m" + id}, code)
			})
			w.Clock.Advance(time.Second)
		}
		send("c", factor.SMS, "1", "111111")
		send("c", factor.SMS, "2", "222222")
		send("c", factor.Email, "3", "333333")
		send("c", factor.SMS, "4", "4444444444")
		send("d", factor.SMS, "5", "555555")
		ids := func(c string, m factor.Method) (s string) {
			t.Helper()
			list, err := w.Read(ctx()).SentCodes(c, m)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range list {
				s += fmt.Sprintf("%s %s %d; ", one.ID, one.Message, one.Digits)
				for code, of := range map[string]string{"111111": "1", "222222": "2", "333333": "3", "4444444444": "4", "555555": "5"} {
					if is, err := w.Read(ctx()).CodeIs(one, code); err != nil || is != (of == one.ID) {
						t.Errorf("%s is %s: %v, %v", code, one.ID, is, err)
					}
					moved := one
					moved.Ceremony = "elsewhere"
					if is, err := w.Read(ctx()).CodeIs(moved, code); err != nil || is {
						t.Errorf("%s is %s of another ceremony: %v, %v", code, one.ID, is, err)
					}
				}
			}
			return s
		}
		for _, c := range []struct {
			ceremony string
			method   factor.Method
			want     string
		}{{"c", factor.SMS, "4 m4 10; 2 m2 6; "}, {"c", factor.Email, "3 m3 6; "}, {"d", factor.SMS, "5 m5 6; "}, {"d", factor.Email, ""}, {"c", factor.VirtualMFA, ""}, {"", factor.SMS, ""}} {
			if got := ids(c.ceremony, c.method); got != c.want {
				t.Errorf("%s of %q: %q, want %q", c.method, c.ceremony, got, c.want)
			}
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			return tx.SavePrivate("d", ceremony.Private{Phone: hers, Country: "CN", Protection: &policy.Protection{Method: factor.SMS}}, errFirst)
		})
		if ids("d", factor.SMS) != "" || ids("c", factor.SMS) == "" {
			t.Error("codes of what a ceremony held before still count, or those of another do not")
		}
		if c, err := w.Read(ctx()).CeremonyOfSession(ceremony.Protect, "d", "s"); err != nil || c.Private.Phone != hers || c.Private.Country != "CN" || c.Private.Protection.Method != factor.SMS {
			t.Errorf("%+v, %v", c.Private, err)
		}
		if err := write(w, func(tx *store.Tx) error { return tx.SavePrivate("gone", ceremony.Private{}, errFirst) }); !errors.Is(err, errFirst) {
			t.Errorf("one that is over: %v", err)
		}
		use := func() error {
			return write(w, func(tx *store.Tx) error { return tx.UseSentCodes("c", errFirst) })
		}
		if err := use(); err != nil || ids("c", factor.SMS)+ids("c", factor.Email) != "" {
			t.Errorf("used up: %v", err)
		}
		if err := use(); !errors.Is(err, errFirst) {
			t.Errorf("again: %v", err)
		}
		raw := w.Raw(t)
		var readable int
		if err := raw.QueryRow("SELECT count(*) FROM ceremony WHERE CAST(private AS TEXT) LIKE '%13800138000%'").Scan(&readable); err == nil && readable != 0 {
			t.Error("a number that is not attached yet is readable in the database")
		}
	})
}

func TestADeadMessageGivesBackWhatItWasCountedFor(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		scopes := []string{"a", "b", "kept"}
		mustWrite(t, w, func(tx *store.Tx) error {
			for range 2 {
				for _, s := range scopes {
					if _, _, err := tx.Count(s, 10, time.Hour); err != nil {
						return err
					}
				}
			}
			for _, id := range []string{"sent", "dead", "failed"} {
				m := message.Message{ID: id, Channel: message.SMS, Kind: "code", To: string(hers), Text: "x", Params: map[string]string{"code": "1"}, Charges: []string{"a", "b"}}
				if err := tx.AddMessage(m); err != nil {
					return err
				}
			}
			return nil
		})
		counted := func() (s string) {
			t.Helper()
			for _, scope := range scopes {
				n, _, err := w.Read(ctx()).Counted(scope, w.Clock.Now())
				if err != nil {
					t.Fatal(err)
				}
				s += fmt.Sprint(n)
			}
			return s
		}
		outcome := func(id, want string) {
			t.Helper()
			state, attempts, reason, err := w.Read(ctx()).Outcome(id)
			if got := fmt.Sprintf("%s %d %q", state, attempts, reason); got != want || err != nil {
				t.Errorf("%s: %s, %v, want %s", id, got, err, want)
			}
		}
		outcome("sent", `queued 0 ""`)
		for range 3 {
			m, found, err := w.ClaimMessage(ctx(), time.Minute, message.SMS)
			if err != nil || !found || m.Params["code"] != "1" || fmt.Sprint(m.Charges) != "[a b]" {
				t.Fatalf("%+v, %v", m, err)
			}
		}
		if err := errors.Join(w.MessageSent(ctx(), "sent"), w.MessageFailed(ctx(), "failed", "busy", w.Clock.Now())); err != nil || counted() != "222" {
			t.Errorf("counted %s, %v", counted(), err)
		}
		outcome("sent", `sent 1 ""`)
		outcome("failed", `queued 1 "busy"`)
		if err := w.MessageDead(ctx(), "dead", "no route"); err != nil || counted() != "112" {
			t.Errorf("counted %s, %v", counted(), err)
		}
		outcome("dead", `dead 1 "no route"`)
		for _, id := range []string{"dead", "sent", "none"} {
			if err := w.MessageDead(ctx(), id, "again"); !errors.Is(err, store.ErrNoRow) || counted() != "112" {
				t.Errorf("%s dies again: %v, counted %s", id, err, counted())
			}
		}
		if _, _, _, err := w.Read(ctx()).Outcome("none"); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("of none: %v", err)
		}
	})
}
