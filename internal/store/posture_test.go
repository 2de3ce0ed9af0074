package store_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/posture"
	"countersign/internal/domain/throttle"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

// Whatever users have: the overview counts the very users whom the list then
// shows, and nobody of another account.
func TestTheCensusCountsWhomTheListsShow(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		random := rand.New(rand.NewPCG(9, 9)) //nolint:gosec // the same crowd every time
		now := w.Clock.Now()
		sometimes := func() bool { return random.IntN(3) == 0 }
		var accounts []account.ID
		for a := range 2 {
			owner := addOwner(t, w, fmt.Sprintf("owner%d@example.com", a))
			accounts = append(accounts, owner.Account)
			for n := range 80 {
				u := user(w, owner, fmt.Sprintf("user%02d", n))
				if sometimes() {
					u.Role = account.Administrator
				}
				if u.LastSignInAt = now.Add(-time.Duration(random.IntN(200)) * day); sometimes() {
					u.LastSignInAt = time.Time{}
				}
				mustWrite(t, w, func(tx *store.Tx) error {
					if err := tx.AddUser(u); err != nil {
						return err
					}
					if !sometimes() {
						state := account.ProfileActive
						if sometimes() {
							state = account.ProfileInactive
						}
						profile := account.Profile{State: state}
						if sometimes() { // used in time, or not
							profile.InitialUntil = now.Add(time.Duration(random.IntN(5)-2) * day)
						}
						if err := tx.SetProfile(u.Account, u.ID, profile); err != nil {
							return err
						}
					}
					if sometimes() {
						if err := tx.AttachPhone(u.Account, u.ID, "", store.Phone{ID: "p" + string(u.ID), Number: "+8613800138000"}, errFirst); err != nil {
							return err
						}
					}
					for _, p := range []store.Passkey{aPasskey(u, "k"+string(u.ID)), aU2F(u, "u"+string(u.ID))} {
						if p.CopiedAt = now; !sometimes() {
							p.CopiedAt = time.Time{}
						}
						if sometimes() {
							if err := tx.AddPasskey(p); err != nil {
								return err
							}
						}
					}
					if !sometimes() {
						if err := tx.ReplaceRecoveryCodes(u.Account, u.ID, [][]byte{[]byte("code of " + u.ID)}); err != nil {
							return err
						}
						if !sometimes() {
							if err := tx.RecoveryCodesSaved(u.Account, u.ID); err != nil {
								return err
							}
						}
						if sometimes() {
							if err := tx.UseRecoveryCode(u.Account, u.ID, []byte("code of "+u.ID), errFirst); err != nil {
								return err
							}
						}
					}
					if sometimes() {
						if err := tx.BindSecurityEmail(u.Account, u.ID, "", store.SecurityEmail{ID: "m" + string(u.ID), Address: "m@example.org"}, errFirst); err != nil {
							return err
						}
					}
					if sometimes() {
						return tx.SaveBudget(u.Account, u.ID, throttle.Budget{Left: random.IntN(2), RefilledAt: now.Add(-time.Duration(random.IntN(60)) * day)}, 0)
					}
					return nil
				})
				if sometimes() {
					bind(t, w, u)
				}
				if sometimes() {
					if _, err := w.Raw(t).Exec("UPDATE identity SET distrusted_at = 1 WHERE id = $1", u.ID); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		queries := map[posture.Risk]store.UserQuery{
			posture.Distrusted: {Activity: "distrusted"}, posture.CounterBack: {Activity: "counter_back"}, posture.Guessed: {Activity: "guessed"}, posture.LockedOut: {Activity: "locked_out"},
			posture.NoMFA: {Activity: "can_sign_in", MFA: "none"}, posture.OnlySMS: {Activity: "can_sign_in", MFA: "sms"}, posture.NoCodes: {Activity: "no_codes"}, posture.UnsavedCodes: {Activity: "unsaved_codes"}, posture.NeverUsed: {Activity: "never_used"}, posture.Idle: {Activity: "stale"},
		}
		r := w.Read(ctx())
		for _, a := range accounts {
			for _, sms := range []bool{true, false} {
				c, err := r.Census(a, sms)
				if err != nil {
					t.Fatal(err)
				}
				for _, risk := range posture.Risks {
					q := queries[risk]
					q.Now = now
					n, err := r.CountUsers(a, q)
					list, err2 := r.Users(a, q)
					if err != nil || err2 != nil || n != c.AtRisk[risk] || len(list) != n || n == 0 {
						t.Errorf("%s: %d counted, %d and %d listed (%v, %v)", risk, c.AtRisk[risk], n, len(list), err, err2)
					}
					for _, u := range list {
						if !u.Profile.Enabled() || u.Account != a {
							t.Errorf("%s: %s of %s with profile %q", risk, u.UserName, u.Account, u.Profile.State)
						}
					}
				}
				want := posture.Census{AtRisk: c.AtRisk}
				err = r.EachUserFacts(a, now, func(u store.User, f policy.Facts) error {
					f.Proofs = []factor.Proof{{Method: factor.Password, At: now}}
					d := policy.SignIn(f) // which says who has a way in
					if !u.Profile.Enabled() || d.Reason == policy.ErrDistrusted || d.Reason == policy.ErrInitialExpired && u.Passkeys == 0 {
						return nil
					}
					add := func(n *int, when bool) {
						if when {
							*n++
						}
					}
					unsaved, err := r.AnyUnsavedCode(a, u.ID)
					protected, key, chief := u.VirtualMFA || u.Passkeys+u.U2F > 0 || u.Phone && sms, u.Passkeys+u.U2F > 0, u.Role == account.Administrator
					add(&want.Users, true)
					add(&want.Protected, protected)
					add(&want.Resistant, key)
					add(&want.Passkey, u.Passkeys > 0)
					add(&want.U2F, u.U2F > 0)
					add(&want.VirtualMFA, u.VirtualMFA)
					add(&want.SMS, u.Phone)
					add(&want.Coded, protected && u.RecoveryCodes > 0 && !unsaved)
					add(&want.Administrators, chief)
					add(&want.AdministratorsResistant, chief && key)
					return err
				})
				if fmt.Sprint(want) != fmt.Sprint(c) || err != nil {
					t.Errorf("with text messages %v: counted %+v, want %+v; %v", sms, c, want, err)
				}
				n, err := r.CountUsers(a, store.UserQuery{Activity: "can_sign_in", MFA: "no_key", Now: now})
				if err != nil || n != c.Users-c.Resistant {
					t.Errorf("%d without a key, %d of %d with one: %v", n, c.Resistant, c.Users, err)
				}
			}
		}
	})
}

// signedIn records the end of a sign-in.
func signedIn(t *testing.T, w *storetest.World, a account.ID, acr, refused string) {
	t.Helper()
	err := w.Write(ctx(), audit.OperatorActor("test"), func(tx *store.Tx) error {
		return tx.Record(audit.Event{Account: a, Name: audit.ConsoleSignin, Identity: "i", Refused: refused, Details: map[string]string{"acr": acr}})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whenever the job runs, and however much it counts at a time: each sign-in is
// told once, of its day.
func TestEverySignInIsCountedOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, other := addOwner(t, w, "a@example.com").Account, addOwner(t, w, "b@example.com").Account
		first := posture.DayOf(w.Clock.Now())
		want := map[int64]map[posture.Outcome]int{}
		check := func(when string) {
			t.Helper()
			days, err := w.Read(ctx()).Days(a, first)
			if err != nil {
				t.Fatal(err)
			}
			got := map[int64]map[posture.Outcome]int{}
			for _, d := range days {
				if len(d.SignIns) > 0 {
					got[d.Number] = d.SignIns
				}
			}
			if !maps.EqualFunc(got, want, maps.Equal[map[posture.Outcome]int]) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		outcomes := []struct {
			acr, refused string
			posture.Outcome
		}{{"phr", "", posture.ByFactor}, {"urn:mfa:1", "", posture.ByPassword}, {"", "signin.wrong", posture.WrongPassword}, {"", "code.wrong", posture.Stopped}, {"urn:mfa:2", "", posture.ByFactor}}
		for n := range 23 {
			o := outcomes[n%len(outcomes)]
			signedIn(t, w, a, o.acr, o.refused)
			signedIn(t, w, other, o.acr, o.refused)
			record(t, w, a, audit.PasswordModify)
			today := posture.DayOf(w.Clock.Now())
			if want[today] == nil {
				want[today] = map[posture.Outcome]int{}
			}
			want[today][o.Outcome]++
			if n%4 == 1 {
				var more bool
				mustWrite(t, w, func(tx *store.Tx) (err error) { more, err = tx.CountSignIns(a, 3); return err })
				if more != (n == 5 || n == 9 || n == 13 || n == 17 || n == 21) {
					t.Errorf("after %d: more %v", n, more)
				}
			}
			check(fmt.Sprintf("after %d", n))
			if days, err := w.Read(ctx()).Days(a, today); err != nil || len(days) != 1 || days[0].Number != today || !maps.Equal(days[0].SignIns, want[today]) {
				t.Errorf("of today alone, after %d: %+v, %v", n, days, err)
			}
			w.Clock.Advance(5 * time.Hour)
		}
		var running sync.WaitGroup
		for range 6 {
			running.Go(func() {
				for range 4 {
					if err := write(w, func(tx *store.Tx) error { _, err := tx.CountSignIns(a, 2); return err }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		check("counted by six at once")
		mustWrite(t, w, func(tx *store.Tx) error { return tx.DropDays(first + 2) })
		delete(want, first)
		delete(want, first+1)
		check("after the first days were dropped")
	})
}

func TestTheLastCensusOfADayStays(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, other := addOwner(t, w, "a@example.com").Account, addOwner(t, w, "b@example.com").Account
		first := posture.DayOf(w.Clock.Now())
		for n, c := range []posture.Census{{Users: 3, Protected: 1}, {Users: 4, Protected: 2, Resistant: 1}, {Users: 5, Protected: 5, Resistant: 5}} {
			mustWrite(t, w, func(tx *store.Tx) error { return tx.KeepCensus(a, c) })
			mustWrite(t, w, func(tx *store.Tx) error { return tx.KeepCensus(other, posture.Census{Users: 99}) })
			if n == 1 {
				w.Clock.Advance(day)
			}
		}
		days, err := w.Read(ctx()).Days(a, first)
		slices.SortFunc(days, func(a, b posture.Day) int { return int(a.Number - b.Number) })
		want := fmt.Sprint([]posture.Day{{Number: first, Known: true, Users: 4, Protected: 2, Resistant: 1, SignIns: map[posture.Outcome]int{}}, {Number: first + 1, Known: true, Users: 5, Protected: 5, Resistant: 5, SignIns: map[posture.Outcome]int{}}})
		if fmt.Sprint(days) != want || err != nil {
			t.Errorf("%+v, %v; want %s", days, err, want)
		}
		if days, err := w.Read(ctx()).Days(a, first+1); len(days) != 1 || err != nil {
			t.Errorf("from the second on: %+v, %v", days, err)
		}
	})
}

func TestOneCredentialReportInFourHours(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, other := addOwner(t, w, "a@example.com").Account, addOwner(t, w, "b@example.com").Account
		keep := func(a account.ID, by string) error {
			return write(w, func(tx *store.Tx) error {
				return tx.KeepCredentialReport(a, store.CredentialReport{MadeAt: tx.Now, MadeBy: by, Rows: 2, Content: []byte("of " + by)}, tx.Now.Add(-posture.ReportEvery), errFirst)
			})
		}
		if c, err := w.Read(ctx()).CredentialReport(a); err != nil || !c.MadeAt.IsZero() {
			t.Errorf("before the first: %+v, %v", c, err)
		}
		errs := make([]error, 8)
		var running sync.WaitGroup
		for n := range errs {
			running.Go(func() { errs[n] = keep(a, fmt.Sprintf("number %d", n)) })
		}
		running.Wait()
		if n := wins(t, errs, errFirst); n != 1 {
			t.Errorf("%d were made at once", n)
		}
		if err := keep(other, "other"); err != nil {
			t.Errorf("of another account: %v", err)
		}
		w.Clock.Advance(posture.ReportEvery - time.Microsecond)
		if err := keep(a, "early"); err == nil {
			t.Error("one was made too early")
		}
		w.Clock.Advance(time.Microsecond)
		if err := keep(a, "due"); err != nil {
			t.Errorf("after four hours: %v", err)
		}
		if c, err := w.Read(ctx()).CredentialReport(a); err != nil || c.MadeBy != "due" || string(c.Content) != "of due" || c.Rows != 2 || !c.MadeAt.Equal(w.Clock.Now().Truncate(time.Microsecond)) {
			t.Errorf("got %+v, %v", c, err)
		}
	})
}
