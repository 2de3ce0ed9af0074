package admin_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/posture"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/store"
)

func (c *scene) overview(i account.Identity) admin.Overview {
	c.t.Helper()
	o, err := c.f.Overview(c.ctx(), prove.Signed{Identity: i})
	if err != nil {
		c.t.Fatalf("overview of %s: %v", i.Name(), err)
	}
	return o
}

// key binds a passkey straight in the store.
func (c *scene) key(i account.Identity, copied bool) {
	c.t.Helper()
	p := store.Passkey{Account: i.Account, Identity: i.ID, ID: "key of " + string(i.ID), Name: "key", CreatedAt: c.Clock.Now()}
	p.Credential.ID, p.PublicKey, p.Format = []byte("key of "+i.ID), []byte("k"), "none"
	if copied {
		p.CopiedAt = c.Clock.Now()
	}
	c.Put(func(tx *store.Tx) error { return tx.AddPasskey(p) })
}

func TestTheOverviewNamesWhomItCounts(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.key(c.boss, false)
		c.key(c.look, true)
		c.Put(func(tx *store.Tx) error { return tx.SignedIn(c.boss.ID) })
		c.Put(func(tx *store.Tx) error { return tx.SignedIn(c.bob.ID) })
		for n := range 4 {
			c.User(c.owner, fmt.Sprintf("new%d", n), account.User)
		}
		c.UserAs(c.owner, account.Identity{UserName: "paper", Role: account.User}, account.Profile{})
		stranger := c.Owner("stranger@example.com")
		c.User(stranger, "theirs", account.User)

		o := c.overview(c.look)
		var got []string
		for _, r := range o.Risks {
			var names []string
			for _, u := range r.First {
				names = append(names, u.UserName)
			}
			got = append(got, fmt.Sprintf("%s:%d %s", r.Risk, r.Count, strings.Join(names, ",")))
		}
		if want := "counter_back:1 look; no_mfa:5 bob,new0,new1; no_codes:2 boss,look; never_used:5 look,new0,new1"; strings.Join(got, "; ") != want {
			t.Errorf("at risk: %s\nwant %s", strings.Join(got, "; "), want)
		}
		if o.Census.Users != 7 || o.Census.Protected != 2 || o.Census.Resistant != 2 || o.Census.Administrators != 1 {
			t.Errorf("counted %+v", o.Census)
		}
		want := []admin.Kind{{Method: factor.Passkey, Users: 2}, {Method: factor.U2F}, {Method: factor.VirtualMFA}, {Method: factor.SMS}, {Users: 5}}
		if !slices.Equal(o.Kinds, want) {
			t.Errorf("kinds %v", o.Kinds)
		}
		today := o.Days[len(o.Days)-1]
		if len(o.Days) != admin.OverviewDays || !today.Known || today.Users != 7 || today.Protected != 2 || today.Number != posture.DayOf(c.Clock.Now()) || o.Days[0].Known {
			t.Errorf("%d days, today %+v, the first %+v", len(o.Days), today, o.Days[0])
		}
		if o.Score <= 0 || o.Score >= 100 || len(o.Missing) == 0 {
			t.Errorf("score %d, %v", o.Score, o.Missing)
		}
		// The same for whoever sees the console; nobody else sees it.
		if a, b := c.overview(c.owner), c.overview(c.boss); fmt.Sprint(a) != fmt.Sprint(o) || fmt.Sprint(b) != fmt.Sprint(o) {
			t.Error("others see something else")
		}
		for _, i := range []account.Identity{c.bob} {
			_, err := c.f.Overview(c.ctx(), prove.Signed{Identity: i})
			c.want("overview of a user", err, admin.ErrForbidden)
			_, _, err = c.f.Report(c.ctx(), prove.Signed{Identity: i})
			c.want("report of a user", err, admin.ErrForbidden)
		}
		if their := c.overview(stranger); their.Census.Users != 1 || their.Score == o.Score {
			t.Errorf("of another account: %+v", their.Census)
		}
	})
}

// Whose first password ran out, or whose password says nothing any more, is not
// one who can sign in.
func TestWhoCannotSignInIsNotCountedAmongThoseWhoCan(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		before := c.overview(c.owner).Census
		late := c.user("late", account.Profile{State: account.ProfileActive, InitialUntil: c.Clock.Now()})
		c.user("in-time", account.Profile{State: account.ProfileActive, InitialUntil: c.Clock.Now().Add(time.Second)})
		robbed, held := c.User(c.owner, "robbed", account.User), c.User(c.owner, "held", account.User)
		c.key(held, false)
		for _, i := range []account.Identity{robbed, held} { // held proves more than a password
			c.Put(func(tx *store.Tx) error { return tx.Distrust(i.ID) })
		}
		o := c.overview(c.owner)
		if got := o.Census.Users - before.Users; got != 2 {
			t.Errorf("%d more can sign in, want in-time and held", got)
		}
		names := map[posture.Risk]string{}
		for _, r := range o.Risks {
			for _, u := range r.First {
				names[r.Risk] += u.UserName + " "
			}
		}
		if names[posture.LockedOut] != "late robbed " || names[posture.Distrusted] != "held robbed " || strings.Contains(names[posture.NoMFA], "late") {
			t.Errorf("at risk: %v", names)
		}
		c.Put(func(tx *store.Tx) error {
			return tx.SetProfile(late.Account, late.ID, account.Profile{State: account.ProfileActive})
		})
		if got := c.overview(c.owner).Census.Users - before.Users; got != 3 {
			t.Errorf("with a password that does not run out: %d", got)
		}
	})
}

// What the daily job keeps is what the days show afterwards, of each account.
func TestDaysAreKept(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		stranger := c.Owner("stranger@example.com")
		count := func() {
			t.Helper()
			if err := c.f.CountDays(c.ctx()); err != nil {
				t.Fatal(err)
			}
		}
		signIn := func(i account.Identity, refused string) {
			t.Helper()
			err := c.Write(c.ctx(), c.Visitor.As(i), func(tx *store.Tx) error {
				return tx.Record(audit.Event{Account: i.Account, Name: audit.ConsoleSignin, Identity: i.ID, Refused: refused, Details: map[string]string{"acr": "phr"}})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		signIn(c.bob, "")
		signIn(stranger, "")
		count()
		c.Clock.Advance(24 * time.Hour)
		c.key(c.bob, false)
		signIn(c.bob, "")
		signIn(c.bob, "signin.wrong")
		count()
		count()
		c.Clock.Advance(48 * time.Hour)
		c.key(c.boss, false)
		signIn(c.bob, "signin.disabled")
		o := c.overview(c.owner)
		var got []string
		for _, d := range o.Days[admin.OverviewDays-5:] {
			got = append(got, fmt.Sprintf("%v %d/%d %d %d %d", d.Known, d.Resistant, d.Users, d.SignIns[posture.ByFactor], d.SignIns[posture.WrongPassword], d.SignIns[posture.Stopped]))
		}
		if want := "false 0/0 0 0 0; true 0/3 1 0 0; true 1/3 1 1 0; true 1/3 0 0 0; true 2/3 0 0 1"; strings.Join(got, "; ") != want {
			t.Errorf("days %s\nwant %s", strings.Join(got, "; "), want)
		}
		if d := c.overview(stranger).Days[admin.OverviewDays-4]; !d.Known || d.Users != 0 || d.SignIns[posture.ByFactor] != 1 {
			t.Errorf("of another account: %+v", d)
		}
		c.Clock.Advance(500 * 24 * time.Hour)
		count()
		if days, err := c.Read(c.ctx()).Days(c.owner.Account, 0); err != nil || len(days) != 1 {
			t.Errorf("more than a year later %d days are kept: %v", len(days), err)
		}
	})
}

func TestTheCredentialReport(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		c.key(c.bob, false)
		c.UserAs(c.owner, account.Identity{UserName: "-paper", Role: account.User}, account.Profile{})
		c.Settle(c.owner.Account, func(s *account.Settings) { s.Password.MaxAge = 10 })
		stranger := c.Owner("stranger@example.com")
		c.User(stranger, "theirs", account.User)
		signedOnce := c.as(c.owner)
		c.want("without a verification", second(c.f.TakeReport(c.ctx(), c.Visitor, c.as(c.bob))), admin.ErrForbidden)
		c.Clock.Advance(20 * time.Minute)
		_, err := c.f.TakeReport(c.ctx(), c.Visitor, signedOnce)
		c.want("long after the sign-in", err, prove.ErrVerifyFirst)
		if r, next, err := c.f.Report(c.ctx(), signedOnce); err != nil || !r.MadeAt.IsZero() || !next.Equal(c.Clock.Now()) {
			t.Errorf("before the first: %+v, %s, %v", r, next, err)
		}

		take := func(who account.Identity) store.CredentialReport {
			t.Helper()
			r, err := c.f.TakeReport(c.ctx(), c.Visitor, c.verified(who, admin.GetReport))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		first := take(c.owner)
		lines, err := csv.NewReader(strings.NewReader(string(first.Content))).ReadAll()
		if err != nil || len(lines) != 6 || first.Rows != 5 || !slices.Equal(lines[0], posture.ReportColumns) {
			t.Fatalf("%d rows, %v\n%s", first.Rows, err, first.Content)
		}
		domain := "@" + string(c.owner.Account) + ".ram.localhost"
		var users []string
		for _, l := range lines[1:] {
			users = append(users, strings.TrimSuffix(l[0], domain)+"="+l[7])
		}
		if got, want := strings.Join(users, " "), "<root>=FALSE '-paper=N/A bob=TRUE boss=FALSE look=FALSE"; got != want {
			t.Errorf("users %s, want %s", got, want)
		}
		changed := c.bob.PasswordChangedAt
		if bob := lines[3]; bob[5] != changed.Format(time.RFC3339) || bob[6] != changed.Add(240*time.Hour).Format(time.RFC3339) {
			t.Errorf("bob: %q", bob)
		}
		if strings.Contains(string(first.Content), "theirs") {
			t.Error("it tells of another account")
		}

		// Within four hours everybody gets the same one, whoever has come since.
		c.User(c.owner, "late", account.User)
		c.Clock.Advance(posture.ReportEvery - time.Minute)
		if again := take(c.look); string(again.Content) != string(first.Content) || again.MadeBy != account.MaskEmail(c.owner.Email) {
			t.Errorf("after nearly four hours: made by %s", again.MadeBy)
		}
		if r, next, err := c.f.Report(c.ctx(), prove.Signed{Identity: c.look}); err != nil || r.Content != nil || !next.Equal(first.MadeAt.Add(posture.ReportEvery)) {
			t.Errorf("the page: %+v, %s, %v", r, next, err)
		}
		c.Clock.Advance(time.Minute)
		if fresh := take(c.look); !strings.Contains(string(fresh.Content), "late@") || fresh.MadeBy != c.look.Name() {
			t.Errorf("after four hours: %s", fresh.Content)
		}
		var names []string
		events, err := c.Read(c.ctx()).History(c.owner.Account, "", 0, 20, audit.ReportGenerate, audit.ReportGet)
		for _, e := range slices.Backward(events) {
			names = append(names, string(e.Name)+" by "+e.Actor.Name)
		}
		owner, look := account.MaskEmail(c.owner.Email), c.look.Name()
		want := []string{"GenerateCredentialReport by " + owner, "GetCredentialReport by " + owner, "GetCredentialReport by " + look, "GenerateCredentialReport by " + look, "GetCredentialReport by " + look}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("events %q, %v", names, err)
		}
	})
}

func second(_ store.CredentialReport, err error) error { return err }

func TestReportsAskedForAtOnceAreOne(t *testing.T) {
	on(t, func(t *testing.T, c *scene) {
		sessions := make([]prove.Signed, 6)
		for n := range sessions {
			sessions[n] = c.verified(c.owner, admin.GetReport)
		}
		var mu sync.Mutex
		var running sync.WaitGroup
		contents := map[string]bool{}
		for _, s := range sessions {
			running.Go(func() {
				r, err := c.f.TakeReport(c.ctx(), c.Visitor, s)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(errors.Join(errors.New("at once"), err))
				}
				contents[r.MadeAt.String()+string(r.Content)] = true
			})
		}
		running.Wait()
		events, err := c.Read(c.ctx()).History(c.owner.Account, "", 0, 20, audit.ReportGenerate)
		if len(contents) != 1 || len(events) != 1 || err != nil {
			t.Errorf("%d different reports, %d made: %v", len(contents), len(events), err)
		}
	})
}
