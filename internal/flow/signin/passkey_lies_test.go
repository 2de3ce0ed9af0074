package signin_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store/engine"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

const bob = "bob@example.com"

// A row is a line of a table, by columns.
type row map[string]string

func (r row) without(columns ...string) string {
	var b strings.Builder
	names := []string{}
	for name := range r {
		if !slices.Contains(columns, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s=%s ", name, r[name])
	}
	return b.String()
}

// everything is what the database holds.
func everything(t *testing.T, w *testkit.World) map[string][]row {
	t.Helper()
	db := w.Raw(t)
	query := "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
	if !engine.IsPostgres(w.Config.URL) {
		query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	}
	tables := map[string][]row{}
	list, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	for list.Next() {
		var name string
		if err := list.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables[name] = nil
	}
	if err := errors.Join(list.Err(), list.Close()); err != nil {
		t.Fatal(err)
	}
	for name := range tables {
		rows, err := db.Query("SELECT * FROM " + name)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		for rows.Next() && err == nil {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for n := range values {
				into[n] = &values[n]
			}
			err = rows.Scan(into...)
			r := row{}
			for n, column := range columns {
				r[column] = fmt.Sprintf("%x", values[n])
			}
			tables[name] = append(tables[name], r)
		}
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return tables
}

// lines are the rows of a table in an order, without what may change.
func lines(rows []row, columns ...string) []string {
	list := make([]string, 0, len(rows))
	for _, r := range rows {
		list = append(list, r.without(columns...))
	}
	slices.Sort(list)
	return list
}

// refusedAlone compares the database before and after a refusal: there is one
// event more, one try and one challenge fewer, and what else is named.
func refusedAlone(t *testing.T, before, after map[string][]row, besides map[string][]string) {
	t.Helper()
	if len(before) < 20 || len(before["audit_event"]) == 0 {
		t.Fatalf("that is not the database: %d tables", len(before))
	}
	for table := range after {
		may, changes := besides[table]
		was, is := lines(before[table], may...), lines(after[table], may...)
		switch {
		case changes && len(may) == 0: // anything
		case table == "audit_head":
		case table == "audit_event":
			for _, event := range was {
				if !slices.Contains(is, event) {
					t.Error("an event is gone")
				}
			}
			if !changes && len(is) != len(was)+1 {
				t.Errorf("%d events more", len(is)-len(was))
			}
		case table == "ceremony":
			if was, is = lines(before[table], "tries_left"), lines(after[table], "tries_left"); !slices.Equal(was, is) {
				t.Errorf("ceremonies\n%v\n%v", was, is)
			}
		case table == "passkey_challenge":
			for _, challenge := range is {
				if !slices.Contains(was, challenge) {
					t.Errorf("a challenge more: %s", challenge)
				}
			}
			if len(is) < len(was)-1 {
				t.Errorf("%d challenges gone", len(was)-len(is))
			}
		case !slices.Equal(was, is):
			t.Errorf("%s changed\n%v\n%v", table, was, is)
		}
	}
}

// added is the newest event that was not there before.
func added(t *testing.T, before, after map[string][]row) (e audit.Event) {
	t.Helper()
	was := lines(before["audit_event"])
	for _, r := range after["audit_event"] {
		content, err := hex.DecodeString(r["content"])
		if err != nil {
			t.Fatal(err)
		}
		one, err := audit.ParseContent(content)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(was, r.without()) && one.Seq > e.Seq {
			e = one
		}
	}
	return e
}

// A lie, and what is made of it.
type lie struct {
	name  string
	lies  []testkit.Lie
	fault error
	why   string
}

func one(l ...testkit.Lie) []testkit.Lie { return l }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// told are lies that no key may tell, alone or after a password.
func told() []lie {
	return []lie{
		{"origin without TLS", one(softkey.Origin("http://id.example.com")), passkey.ErrRefused, "origin"},
		{"another port", one(softkey.Origin("https://id.example.com:444")), passkey.ErrRefused, "origin"},
		{"a subdomain", one(softkey.Origin("https://a.id.example.com")), passkey.ErrRefused, "origin"},
		{"in a foreign frame", one(softkey.CrossOrigin()), passkey.ErrRefused, "cross_origin"},
		{"under a foreign page", one(softkey.TopOrigin("https://evil.net")), passkey.ErrRefused, "cross_origin"},
		{"the type of the other ceremony", one(softkey.Type("webauthn.create")), passkey.ErrRefused, "type"},
		{"another RP ID", one(softkey.RPID("evil.net")), passkey.ErrRefused, "rp_id"},
		{"a challenge of its own", one(softkey.Challenge(random(32))), passkey.ErrExpired, "challenge"},
		{"nobody there", one(softkey.Clear(softkey.UP)), passkey.ErrRefused, "presence"},
		{"backed up, not eligible", one(softkey.Set(softkey.BS)), passkey.ErrRefused, "backup"},
		{"suddenly synced", one(softkey.Set(softkey.BE)), passkey.ErrRefused, "backup"},
		{"a bit of the signature", one(softkey.WrongSignature()), passkey.ErrUnknown, "signature"},
		{"a foreign key", one(softkey.Forged()), passkey.ErrUnknown, "signature"},
		{"an id that nobody has", one(softkey.ID(random(32))), passkey.ErrUnknown, "unknown"},
		{"a foreign handle", one(softkey.Handle(random(32))), passkey.ErrUnknown, "user_handle"},
		{"no type of credential", one(softkey.Changed(func(c, _ map[string]any) { delete(c, "type") })), passkey.ErrMalformed, "malformed"},
		{"data that end early", one(softkey.Changed(func(_, r map[string]any) { r["authenticatorData"] = "AAAA" })), passkey.ErrMalformed, "malformed"},
		{"the count of before", one(softkey.Count(4)), passkey.ErrRefused, "counter"},
	}
}

// besides is what a lie may change.
func (l lie) besides() map[string][]string {
	if l.why == "counter" {
		return map[string][]string{"audit_event": {}, "passkey": {"copied_at"}, "outbox": {}, "mail_link": {}, "throttle_window": {}}
	}
	return nil
}

// check looks at what a lie led to.
func (l lie) check(t *testing.T, w *testkit.World, i account.Identity, err error, before map[string][]row, name audit.Name, m factor.Method) {
	t.Helper()
	if !errors.Is(err, l.fault) || passkey.Why(err) != l.why {
		t.Errorf("got %v (%q), want %v (%q)", err, passkey.Why(err), l.fault, l.why)
	}
	after := everything(t, w)
	refusedAlone(t, before, after, l.besides())
	e := added(t, before, after)
	if e.Name != name || e.Refused != fault.From(err).Code || e.Details["why"] != l.why || e.Details["method"] != string(m) {
		t.Errorf("the event is %+v", e)
	}
	// Whoever signs in by a passkey alone is nobody until it is found.
	nobody := e.Account == audit.Operator && e.Identity == "" && slices.Contains([]string{"challenge", "malformed", "unknown", "type", "origin", "cross_origin", "rp_id", "presence", "backup", "verification"}, l.why)
	if (e.Account != i.Account || e.Identity != i.ID) && !nobody {
		t.Errorf("the event is about %q of %q", e.Identity, e.Account)
	}
}

func TestLiesOfAPasskeyAlone(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i, other := w.Owner(alice), w.Owner(bob)
		key, theirs := testkit.NewSoftDevice(), testkit.NewSoftDevice()
		key.Counter = 5
		w.BindPasskey(i, key)
		w.BindPasskey(other, theirs)
		handle := theirs.Credential().User
		for _, l := range append(told(),
			lie{"not verified", one(softkey.Clear(softkey.UV)), passkey.ErrRefused, "verification"},
			lie{"no handle", one(softkey.Handle(nil)), passkey.ErrUnknown, "user_handle"},
			lie{"another's handle", one(softkey.Handle(handle)), passkey.ErrUnknown, "user_handle"},
			lie{"another's credential for this handle", one(softkey.With(theirs.Credential()), softkey.Handle(key.Credential().User)), passkey.ErrUnknown, "user_handle"},
		) {
			t.Run(l.name, func(t *testing.T) {
				d, err := w.SignIn.Discover(ctx(), w.Visitor)
				if err != nil {
					t.Fatal(err)
				}
				before := everything(t, w)
				who := i
				if strings.HasPrefix(l.name, "another's credential") {
					who = other
				}
				p, err := w.SignIn.Discovered(ctx(), w.Visitor, d.Token, key.Get(d.Options, l.lies...), "")
				if p.Session != nil || p.Ceremony != "" {
					t.Errorf("it leads on: %+v", p)
				}
				l.check(t, w, who, err, before, audit.ConsoleSignin, factor.Passkey)
			})
		}
		key.Credential().Count = 5
		if _, err := w.Discovers(key); err != nil {
			t.Errorf("the truth, after all lies: %v", err)
		}
	})
}

// offered are the options that a sign-in offers for the method.
func offered(t *testing.T, p signin.Progress, m factor.Method) json.RawMessage {
	t.Helper()
	for _, o := range p.Offers {
		if o.Method == m {
			return o.Options
		}
	}
	t.Fatalf("%s is not offered: %s %+v", m, p.Step, p.Offers)
	return nil
}

func answered(w *testkit.World, p signin.Progress, m factor.Method, said []byte) (signin.Progress, error) {
	return w.SignIn.Answer(ctx(), w.Visitor, p.Token, prove.Answer{Method: m, Credential: said})
}

func TestLiesOfAPasskeyAfterThePassword(t *testing.T) {
	t.Parallel()
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i, other := w.Owner(alice), w.Owner(bob)
		key, theirs, old := testkit.NewSoftDevice(), testkit.NewSoftDevice(), testkit.NewSoftDevice()
		key.Counter = 5
		w.BindPasskey(i, key)
		w.BindPasskey(other, theirs)
		w.BindU2F(i, old, "https://id.example.com")
		for _, l := range append(told(),
			lie{"another's credential", one(softkey.With(theirs.Credential())), passkey.ErrUnknown, "unknown"},
			lie{"another's credential, with this handle", one(softkey.With(theirs.Credential()), softkey.Handle(key.Credential().User)), passkey.ErrUnknown, "unknown"},
			lie{"the own key of U2F", one(softkey.With(old.Credential())), passkey.ErrUnknown, "unknown"},
		) {
			t.Run(l.name, func(t *testing.T) {
				p := w.Password(w.Visitor, alice)
				options := offered(t, p, factor.Passkey)
				before := everything(t, w)
				_, err := answered(w, p, factor.Passkey, key.Get(options, l.lies...))
				l.check(t, w, i, err, before, audit.ConsoleSignin, factor.Passkey)
			})
		}
		// After the password, a key need not verify and need not name its user.
		for _, truth := range []struct {
			lies     []testkit.Lie
			verified bool
		}{{nil, true}, {one(softkey.Clear(softkey.UV)), false}, {one(softkey.Handle(nil)), true}} {
			p := w.Password(w.Visitor, alice)
			p, err := answered(w, p, factor.Passkey, key.Get(offered(t, p, factor.Passkey), truth.lies...))
			if err != nil || p.Step != policy.Complete || p.Session == nil {
				t.Fatalf("%v, %v", p.Step, err)
			}
			if proof := p.Session.Session.Proofs[1]; proof.Method != factor.Passkey || proof.Verified != truth.verified || proof.Synced {
				t.Errorf("%+v", proof)
			}
		}
	})
}

func TestLiesOfU2F(t *testing.T) {
	t.Parallel()
	const appID = "https://id.example.com/u2f.json"
	testkit.On(t, func(t *testing.T, w *testkit.World) {
		i := w.Owner(alice)
		key, phone := testkit.NewSoftDevice(), testkit.NewSoftKey()
		key.Counter = 5
		w.BindU2F(i, key, appID)
		for _, l := range append(slices.DeleteFunc(told(), func(l lie) bool { return strings.Contains(l.name, "handle") }),
			lie{"that the AppID was not used", one(softkey.AppID(false)), passkey.ErrRefused, "appid"},
			lie{"nothing about the AppID", one(softkey.AppID(nil)), passkey.ErrRefused, "appid"},
			lie{"the RP ID", one(softkey.RPID("id.example.com")), passkey.ErrRefused, "rp_id"},
		) {
			t.Run(l.name, func(t *testing.T) {
				p := w.Password(w.Visitor, alice)
				options := offered(t, p, factor.U2F)
				before := everything(t, w)
				_, err := answered(w, p, factor.U2F, key.Get(options, l.lies...))
				l.check(t, w, i, err, before, audit.ConsoleSignin, factor.U2F)
			})
		}
		t.Run("alone", func(t *testing.T) {
			key.Credential().Count = 9
			w.BindPasskey(i, phone)
			d, err := w.SignIn.Discover(ctx(), w.Visitor)
			if err != nil {
				t.Fatal(err)
			}
			said := key.Get(d.Options, softkey.With(key.Credential()), softkey.Handle(phone.Credential().User), softkey.Set(softkey.UV), softkey.AppID(true))
			before := everything(t, w)
			_, err = w.SignIn.Discovered(ctx(), w.Visitor, d.Token, said, "")
			lie{"alone", nil, passkey.ErrRefused, "rp_id"}.check(t, w, i, err, before, audit.ConsoleSignin, factor.Passkey)
		})
		p := w.Password(w.Visitor, alice)
		key.Credential().Count = 50
		p, err := answered(w, p, factor.U2F, key.Get(offered(t, p, factor.U2F)))
		if err != nil || p.Session == nil || p.Session.Session.Proofs[1].Method != factor.U2F || p.Session.Session.Proofs[1].Verified {
			t.Errorf("the truth: %+v, %v", p, err)
		}
	})
}
