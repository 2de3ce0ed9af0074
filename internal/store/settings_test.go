package store_test

import (
	"errors"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
)

func TestSettingsComeBackAsTheyWereKept(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		a, b := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		want := account.DefaultSettings()
		want.MFAOperation, want.AllowSMS, want.SessionHours, want.TwoKinds, want.GraceUntil = account.Adaptive, false, 24, true, w.Clock.Now().Add(day)
		want.Masks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
		want.Password.MaxAge = 90
		if got, err := w.Read(ctx()).Settings(a.Account); err != nil || !reflect.DeepEqual(got, account.DefaultSettings()) {
			t.Errorf("before: %+v, %v", got, err)
		}
		for _, s := range []account.Settings{want, account.DefaultSettings(), want} {
			mustWrite(t, w, func(tx *store.Tx) error { return tx.SetSettings(a.Account, s) })
			if got, err := w.Read(ctx()).Settings(a.Account); err != nil || !reflect.DeepEqual(got, s) {
				t.Errorf("got %+v, %v; want %+v", got, err, s)
			}
		}
		if got, err := w.Read(ctx()).Settings(b.Account); err != nil || !reflect.DeepEqual(got, account.DefaultSettings()) {
			t.Errorf("another account's: %+v, %v", got, err)
		}
		// Of another version: what it did not know has its default, what it alone knew is passed over.
		if _, err := w.Raw(t).Exec(`UPDATE account_settings SET content = '{"LoginSessionDuration":12,"PasswordPolicy":{"MaxPasswordAge":7},"Tomorrow":{"x":1}}'`); err != nil {
			t.Fatal(err)
		}
		want = account.DefaultSettings()
		want.SessionHours, want.Password.MaxAge = 12, 7
		if got, err := w.Read(ctx()).Settings(a.Account); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("of another version: %+v, %v", got, err)
		}
		if f, err := w.Read(ctx()).Facts(a, nil); err != nil || !reflect.DeepEqual(f.Settings, want) {
			t.Errorf("among the facts: %+v, %v", f.Settings, err)
		}
	})
}

func TestFactsAboutAUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u, plain := addUser(t, w, owner, "ada"), addUser(t, w, owner, "bob")
		now := w.Clock.Now()
		settings := account.DefaultSettings()
		settings.SessionHours = 3
		profile := account.Profile{State: account.ProfileActive, MFARequired: true, PasswordReset: true, InitialUntil: now.Add(day), UpdatedAt: now}
		mustWrite(t, w, func(tx *store.Tx) error {
			return errors.Join(tx.SetSettings(u.Account, settings), tx.SetProfile(u.Account, u.ID, profile), tx.SetUserPassword(u, "$1$", true, 0),
				tx.SetProtection(owner.Account, policy.Protection{Scenarios: []policy.Scenario{policy.SignInScenario}, Method: factor.VirtualMFA}),
				tx.AttachPhone(u.Account, u.ID, "", store.Phone{ID: "p", Number: "+8613800138000"}, errFirst), tx.ReplaceRecoveryCodes(u.Account, u.ID, [][]byte{[]byte("1")}),
				tx.AddPasskey(aPasskey(u, "p1")), tx.AddPasskey(aPasskey(u, "p2")), tx.AddPasskey(aU2F(u, "k")),
				tx.BindSecurityEmail(u.Account, u.ID, "", store.SecurityEmail{ID: "m", Address: "ada@example.net"}, errFirst),
				tx.SetEnrolment(u.Account, u.ID, store.Enrolment{Kind: store.Reenrol, TicketHash: []byte("t"), ExpiresAt: now}),
				tx.SetEnrolment(plain.Account, plain.ID, store.Enrolment{Kind: store.Recover, TicketHash: []byte("o"), ExpiresAt: now}),
				tx.SetEnrolment(u.Account, u.ID, store.Enrolment{Kind: store.Recover, TicketHash: []byte("r"), OpensAt: now.Add(time.Hour), ExpiresAt: now.Add(2 * time.Hour)}))
		})
		bind(t, w, u)
		proofs := []factor.Proof{{Method: factor.Password, At: now}}
		want := policy.Facts{Role: account.User, Phone: true, VirtualMFA: true, SecurityEmail: true, Passkeys: 2, U2F: 1, RecoveryCodes: 1, Proofs: proofs, Settings: settings, Profile: profile, PasswordChangedAt: now, Reenrol: true,
			Circumstances: policy.Circumstances{Now: now}}
		if got, err := w.Read(ctx()).Facts(u, proofs); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		mustWrite(t, w, func(tx *store.Tx) error {
			w.Clock.Advance(time.Second) // the time of a write stands still
			got, err := tx.Facts(u, proofs)
			if got.Now != now {
				t.Errorf("within a write: at %s", got.Now)
			}
			return err
		})
		for _, c := range []struct {
			after time.Duration
			open  bool
		}{{time.Hour - time.Microsecond, false}, {time.Hour, true}, {2*time.Hour - time.Microsecond, true}, {2 * time.Hour, false}} {
			w.Clock.Advance(now.Add(c.after).Sub(w.Clock.Now()))
			got, err := w.Read(ctx()).Facts(u, nil)
			if err != nil || got.Recovering != c.open || !got.Reenrol {
				t.Errorf("after %s: recovering %v, re-enrolling %v, %v", c.after, got.Recovering, got.Reenrol, err)
			}
			err = w.Read(ctx()).EachUserFacts(u.Account, w.Clock.Now(), func(each store.User, all policy.Facts) error {
				i := u
				if each.ID == plain.ID {
					i = plain
				}
				one, err := w.Read(ctx()).Facts(i, nil)
				if full, _ := w.Read(ctx()).User(i.Account, i.ID); !reflect.DeepEqual(all, one) || each != full {
					t.Errorf("of all %+v\nof one %+v", all, one)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
		if f, err := w.Read(ctx()).Facts(plain, nil); err != nil || !reflect.DeepEqual(f, policy.Facts{Role: account.User, Settings: settings, Circumstances: policy.Circumstances{Now: w.Clock.Now()}}) {
			t.Errorf("of a new user: %+v, %v", f, err)
		}
		called := 0
		_ = w.Read(ctx()).EachUserFacts(u.Account, now, func(store.User, policy.Facts) error { called++; return errFirst })
		if called != 1 {
			t.Errorf("called %d times after a refusal", called)
		}
		other := u
		other.Account = addOwner(t, w, "b@example.com").Account
		if f, err := w.Read(ctx()).Facts(other, nil); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("in another account: %+v, %v", f, err)
		}
	})
}

func stale(t *testing.T, r *store.Reader, id string) bool {
	t.Helper()
	s, err := r.Session([]byte("hash of " + id))
	if err != nil {
		t.Fatal(err)
	}
	return s.Stale
}

func TestSavedSettingsAreFeltBySessionsAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner, other := addOwner(t, w, "a@example.com"), addOwner(t, w, "b@example.com")
		u, v, foreign := addUser(t, w, owner, "ada"), addUser(t, w, owner, "bob"), addUser(t, w, other, "ada")
		elsewhere := storetest.Open(t, w.Config)
		here, there := w.Read(ctx()), elsewhere.Read(ctx())
		want := map[string]bool{}
		for id, i := range map[string]account.Identity{"ada": u, "bob": v, "foreign": foreign} {
			addSession(t, w, i, id)
			want[id] = false
		}
		check := func(when string) {
			t.Helper()
			for id, s := range want {
				for range 2 { // from the database and from the cache
					if got := stale(t, here, id); got != s {
						t.Errorf("%s: %s stale %v here", when, id, got)
					}
				}
			}
			w.Clock.Advance(time.Second + time.Microsecond)
			for id, s := range want {
				if got := stale(t, there, id); got != s {
					t.Errorf("%s: %s stale %v elsewhere after a second", when, id, got)
				}
				stale(t, here, id) // is in the cache at the next change
			}
		}
		check("at first")
		mustWrite(t, w, func(tx *store.Tx) error { return tx.SetSettings(owner.Account, account.DefaultSettings()) })
		want["ada"], want["bob"] = true, true
		check("after settings were saved")
		expires := w.Clock.Now().Add(42 * time.Minute)
		mustWrite(t, w, func(tx *store.Tx) error { return tx.HoldSession("ada", expires) })
		want["ada"] = false
		check("after one was held")
		if s, err := here.Session([]byte("hash of ada")); err != nil || !s.ExpiresAt.Equal(expires) {
			t.Errorf("held until %s, %v", s.ExpiresAt, err)
		}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.RecheckSessions(u.ID) })
		mustWrite(t, w, func(tx *store.Tx) error { return tx.RecheckSessions(foreign.ID) })
		want["ada"], want["foreign"] = true, true
		check("after some are to be checked anew")
		list, err := here.Sessions(u.Account, u.ID)
		if err != nil || len(list) != 1 || !list[0].Stale {
			t.Errorf("listed %+v, %v", list, err)
		}
		now := w.Clock.Now()
		made := session.Session{ID: "new", Account: u.Account, Identity: u.ID, Epoch: 1, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour), Unusual: "network"}
		mustWrite(t, w, func(tx *store.Tx) error { return tx.AddSession(made, []byte("hash of new")) })
		if got, err := here.Session([]byte("hash of new")); err != nil || !reflect.DeepEqual(got, made) {
			t.Errorf("made since: %+v, %v", got, err)
		}
		if err := write(w, func(tx *store.Tx) error { return tx.HoldSession("nobody's", expires) }); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("no session held: %v", err)
		}
		n := int64(0)
		mustWrite(t, w, func(tx *store.Tx) (err error) { n, err = tx.EndSessions(u.ID); return err })
		if n != 2 || live(here, "ada") || live(here, "new") || !live(here, "bob") {
			t.Errorf("%d ended; ada %v, bob %v", n, live(here, "ada"), live(here, "bob"))
		}
	})
}

func TestASessionIsNotHeldBySettingsSavedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, e := range []storetest.Engine{storetest.Postgres, storetest.Serializable} { // SQLite has one write at a time
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			w := storetest.New(t, e)
			owner := addOwner(t, w, "a@example.com")
			u := addUser(t, w, owner, "ada")
			addSession(t, w, u, "held")
			now := w.Clock.Now()
			made := session.Session{ID: "made", Account: u.Account, Identity: u.ID, Epoch: 1, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour)}
			var once sync.Once
			mustWrite(t, w, func(tx *store.Tx) error {
				if _, err := tx.Facts(u, nil); err != nil { // decides by these settings
					return err
				}
				once.Do(func() {
					mustWrite(t, w, func(tx *store.Tx) error { return tx.SetSettings(u.Account, account.DefaultSettings()) })
				})
				if _, err := tx.Peek().Facts(u, nil); err != nil {
					return err
				}
				return errors.Join(tx.HoldSession("held", now.Add(time.Hour)), tx.AddSession(made, []byte("hash of made")))
			})
			for _, id := range []string{"held", "made"} {
				if !stale(t, w.Read(ctx()), id) {
					t.Errorf("%s: counts as checked against what was saved meanwhile", id)
				}
			}
		})
	}
}

func TestASessionIsNotHeldBesideARecheck(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, w *storetest.World) {
		owner := addOwner(t, w, "a@example.com")
		u := addUser(t, w, owner, "ada")
		for n := range 5 {
			id := string(rune('a' + n))
			addSession(t, w, u, id)
			required := n%2 == 0
			errs := storetest.Parallel(2, func(k int) error {
				return write(w, func(tx *store.Tx) error {
					if k == 0 {
						return errors.Join(tx.SetProfile(u.Account, u.ID, account.Profile{State: account.ProfileActive, MFARequired: required}), tx.RecheckSessions(u.ID))
					}
					i, err := tx.Identity(u.ID)
					if err != nil {
						return err
					}
					f, err := tx.Facts(i, nil)
					if err != nil || f.Profile.MFARequired == required { // it was second, and does not let the session be
						return err
					}
					time.Sleep(10 * time.Millisecond)
					return tx.HoldSession(id, tx.Now.Add(time.Hour))
				})
			})
			if err := errors.Join(errs...); err != nil || !stale(t, w.Read(ctx()), id) {
				t.Errorf("%s: held by the profile of before, %v", id, err)
			}
		}
		if err := write(w, func(tx *store.Tx) error { return tx.RecheckSessions("nobody") }); !errors.Is(err, store.ErrNoRow) {
			t.Errorf("nobody's: %v", err)
		}
	})
}
