package passkey_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"countersign/internal/domain/passkey"
	"countersign/internal/testkit/softkey"
)

const origin = "https://id.example.com"

func party() *passkey.RelyingParty {
	return &passkey.RelyingParty{ID: "example.com", Name: "Countersign", Origins: []string{origin}}
}

func at(k *softkey.Key) *softkey.Key {
	k.Origin = origin
	return k
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// create lets the key answer options of the party.
func create(t testing.TB, rp *passkey.RelyingParty, k *softkey.Key, lies ...softkey.Lie) []byte {
	t.Helper()
	challenge := random(passkey.ChallengeBytes)
	options, err := rp.Creation(challenge, passkey.User{Handle: random(passkey.HandleBytes), Name: "alice@example.com", DisplayName: "Alice"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	response := k.Create(options, lies...)
	if response == nil {
		t.Fatalf("the key declines %s", options)
	}
	return response
}

// bound is a passkey of the key.
func bound(t testing.TB, rp *passkey.RelyingParty, k *softkey.Key, lies ...softkey.Lie) passkey.Credential {
	t.Helper()
	c, err := rp.Register(create(t, rp, k, lies...), passkey.Lists{})
	if err != nil {
		t.Fatalf("register: %v", err)
	}
	return c
}

// u2f is a key bound under U2F, as it is imported.
func u2f(k *softkey.Key, appID string) passkey.Credential {
	c := k.BindU2F(appID)
	return passkey.Credential{ID: c.ID, PublicKey: c.Public, AppID: appID, SignCount: c.Count}
}

// answer lets the key prove possession of c.
func answer(t testing.TB, rp *passkey.RelyingParty, k *softkey.Key, c passkey.Credential, alone bool, lies ...softkey.Lie) *passkey.Answer {
	t.Helper()
	challenge := random(passkey.ChallengeBytes)
	options, err := rp.Request(challenge, []passkey.Credential{c}, alone)
	if err != nil {
		t.Fatal(err)
	}
	response := k.Get(options, lies...)
	if response == nil {
		t.Fatalf("the key declines %s", options)
	}
	a, err := passkey.ParseAnswer(response)
	if err != nil {
		t.Fatalf("%v\n%s", err, response)
	}
	return a
}

// refused checks the fault of a refusal, and its word.
func refused(t *testing.T, err, fault error, why string) {
	t.Helper()
	if !errors.Is(err, fault) || passkey.Why(err) != why {
		t.Errorf("got %v (%q), want %v (%q)", err, passkey.Why(err), fault, why)
	}
}

// A lie is one that is told in both ceremonies, with what is made of it.
type lie struct {
	name  string
	lies  []softkey.Lie
	fault error
	why   string
}

func one(l ...softkey.Lie) []softkey.Lie { return l }

// everywhere are refused in both ceremonies.
var everywhere = []lie{
	{"origin without TLS", one(softkey.Origin("http://id.example.com")), passkey.ErrRefused, "origin"},
	{"another port", one(softkey.Origin(origin + ":8443")), passkey.ErrRefused, "origin"},
	{"the port of TLS spelt out", one(softkey.Origin(origin + ":443")), passkey.ErrRefused, "origin"},
	{"a subdomain", one(softkey.Origin("https://evil.id.example.com")), passkey.ErrRefused, "origin"},
	{"the RP ID itself", one(softkey.Origin("https://example.com")), passkey.ErrRefused, "origin"},
	{"a longer name", one(softkey.Origin(origin + ".evil.net")), passkey.ErrRefused, "origin"},
	{"a user in front", one(softkey.Origin("https://id.example.com@evil.net")), passkey.ErrRefused, "origin"},
	{"a path behind", one(softkey.Origin(origin + "/")), passkey.ErrRefused, "origin"},
	{"large letters", one(softkey.Origin("HTTPS://ID.example.com")), passkey.ErrRefused, "origin"},
	{"no origin", one(softkey.Origin("")), passkey.ErrRefused, "origin"},
	{"an opaque origin", one(softkey.Origin("null")), passkey.ErrRefused, "origin"},
	{"an app of Android", one(softkey.Origin("android:apk-key-hash:" + strings.Repeat("A", 43))), passkey.ErrRefused, "origin"},
	{"in a foreign frame", one(softkey.CrossOrigin()), passkey.ErrRefused, "cross_origin"},
	{"under a foreign page", one(softkey.CrossOrigin(), softkey.TopOrigin("https://evil.net")), passkey.ErrRefused, "cross_origin"},
	{"under a page, and not in a frame", one(softkey.TopOrigin("https://evil.net")), passkey.ErrRefused, "cross_origin"},
	{"under its own page", one(softkey.TopOrigin(origin)), passkey.ErrRefused, "cross_origin"},
	{"no type", one(softkey.Type("")), passkey.ErrRefused, "type"},
	{"the type of payments", one(softkey.Type("payment.get")), passkey.ErrRefused, "type"},
	{"another RP ID", one(softkey.RPID("evil.net")), passkey.ErrRefused, "rp_id"},
	{"the host as RP ID", one(softkey.RPID("id.example.com")), passkey.ErrRefused, "rp_id"},
	{"the origin as RP ID", one(softkey.RPID(origin)), passkey.ErrRefused, "rp_id"},
	{"nobody there", one(softkey.Clear(softkey.UP)), passkey.ErrRefused, "presence"},
	{"backed up, not eligible", one(softkey.Clear(softkey.BE), softkey.Set(softkey.BS)), passkey.ErrRefused, "backup"},
}

func TestLiesAtRegistration(t *testing.T) {
	model := func(b byte) (a passkey.AAGUID) { a[15] = b; return a }
	allow := func(l ...passkey.AAGUID) passkey.Lists { return passkey.Lists{Allow: l} }
	said := softkey.Model(model(7))
	for _, l := range append(slices.Clone(everywhere), []lie{
		{"the type of the other ceremony", one(softkey.Type("webauthn.get")), passkey.ErrRefused, "type"},
		{"not verified", one(softkey.Clear(softkey.UV)), passkey.ErrRefused, "verification"},
		{"no credential", one(softkey.Clear(softkey.AT)), passkey.ErrMalformed, "malformed"},
		{"extensions that are not there", one(softkey.Set(softkey.ED)), passkey.ErrMalformed, "malformed"},
		{"RSA with SHA-1", one(softkey.Algorithm(softkey.RS1)), passkey.ErrRefused, "algorithm"},
		{"ES384, which was not offered", one(softkey.Algorithm(-35)), passkey.ErrRefused, "algorithm"},
		{"PS256, which was not offered", one(softkey.Algorithm(-37)), passkey.ErrRefused, "algorithm"},
		{"an algorithm that wraps to one offered", one(softkey.Public(ec(1<<32 - 7))), passkey.ErrRefused, "algorithm"},
		{"an id of 1,024 bytes", one(softkey.LongID(1024)), passkey.ErrMalformed, "malformed"},
		{"an id of none", one(softkey.ID(nil)), passkey.ErrMalformed, "malformed"},
		{"another id outside", one(changed(func(c, _ map[string]any) { c["id"], c["rawId"] = "AAAA", "AAAA" })), passkey.ErrRefused, "id"},
		{"two ids outside", one(changed(func(c, _ map[string]any) { c["rawId"] = "AAAA" })), passkey.ErrMalformed, "malformed"},
		{"another type of credential", one(changed(func(c, _ map[string]any) { c["type"] = "password" })), passkey.ErrMalformed, "malformed"},
		{"a broken statement", one(softkey.Attest(softkey.Broken)), passkey.ErrRefused, "attestation"},
		{"none, with a statement", one(softkey.Stated("none", map[string]any{"alg": -7})), passkey.ErrRefused, "attestation"},
		{"a statement of no known form", one(softkey.Stated("unheard-of", map[string]any{})), passkey.ErrRefused, "attestation"},
		{"an empty statement", one(softkey.Stated("packed", map[string]any{})), passkey.ErrRefused, "attestation"},
		{"a statement of another algorithm", one(softkey.Stated("packed", map[string]any{"alg": -8, "sig": random(64)})), passkey.ErrRefused, "attestation"},
		{"a chain of no certificate", one(softkey.Stated("packed", map[string]any{"alg": -7, "sig": random(64), "x5c": []any{}})), passkey.ErrRefused, "attestation"},
		{"a chain of rubbish", one(softkey.Stated("packed", map[string]any{"alg": -7, "sig": random(64), "x5c": []any{random(99)}})), passkey.ErrRefused, "attestation"},
	}...) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			rp := party()
			c, err := rp.Register(create(t, rp, at(softkey.New()), l.lies...), passkey.Lists{})
			refused(t, err, l.fault, l.why)
			if c.ID != nil || c.PublicKey != nil {
				t.Errorf("a refusal comes with a credential: %+v", c)
			}
		})
	}
	for name, l := range map[string]struct {
		operator, own passkey.Lists
		direct        bool
		fault         error
		why           string
	}{
		"not on the operator's list": {operator: allow(model(1)), fault: passkey.ErrNotAllowed, why: "aaguid"},
		"not on the account's list":  {own: allow(model(1)), fault: passkey.ErrNotAllowed, why: "aaguid"},
		"on one list of the two":     {operator: allow(model(7)), own: allow(model(1)), fault: passkey.ErrNotAllowed, why: "aaguid"},
		"denied":                     {operator: passkey.Lists{Deny: []passkey.AAGUID{model(1), model(7)}}, fault: passkey.ErrNotAllowed, why: "aaguid"},
		"synced, for the operator":   {operator: passkey.Lists{NoSynced: true}, fault: passkey.ErrSynced, why: "synced"},
		"synced, for the account":    {own: passkey.Lists{NoSynced: true}, fault: passkey.ErrSynced, why: "synced"},
		"on the list by word alone":  {operator: allow(model(7)), direct: true, fault: passkey.ErrNotAllowed, why: "attestation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rp := party()
			rp.Lists, rp.Direct = l.operator, l.direct
			_, err := rp.Register(create(t, rp, at(softkey.New()), said), l.own)
			refused(t, err, l.fault, l.why)
		})
	}
}

func changed(f func(c, r map[string]any)) softkey.Lie { return softkey.Changed(f) }

// ec is a key of ES256 with another algorithm.
func ec(alg int) map[int]any {
	return map[int]any{1: 2, 3: alg, -1: 1, -2: random(32), -3: random(32)}
}

// A key that can verify nothing would be a passkey that never works, and one
// that takes seconds to verify with would stop the server.
func TestKeysThatAreNone(t *testing.T) {
	for name, key := range map[string]map[int]any{
		"a point off the curve":     ec(-7),
		"no point":                  {1: 2, 3: -7, -1: 1},
		"half a point":              {1: 2, 3: -7, -1: 1, -2: random(32)},
		"another curve":             {1: 2, 3: -7, -1: 2, -2: random(48), -3: random(48)},
		"another type of key":       {1: 3, 3: -7, -1: random(256), -2: []byte{1, 0, 1}},
		"no type of key":            {3: -7, -1: 1, -2: random(32), -3: random(32)},
		"Ed25519 of 31 bytes":       {1: 1, 3: -8, -1: 6, -2: random(31)},
		"X25519":                    {1: 1, 3: -8, -1: 4, -2: random(32)},
		"RSA of 512 bits":           {1: 3, 3: -257, -1: odd(64), -2: []byte{1, 0, 1}},
		"RSA of 128,000 bits":       {1: 3, 3: -257, -1: odd(16_000), -2: []byte{1, 0, 1}},
		"RSA of an even modulus":    {1: 3, 3: -257, -1: append(odd(255), 2), -2: []byte{1, 0, 1}},
		"RSA of the exponent 1":     {1: 3, 3: -257, -1: odd(256), -2: []byte{1}},
		"RSA of a long exponent":    {1: 3, 3: -257, -1: odd(256), -2: odd(7)},
		"RSA of no exponent at all": {1: 3, 3: -257, -1: odd(256)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rp := party()
			c, err := rp.Register(create(t, rp, at(softkey.New()), softkey.Public(key)), passkey.Lists{})
			if err == nil || passkey.Why(err) == "" {
				t.Errorf("accepted with a key of %d bytes (%v)", len(c.PublicKey), err)
			}
		})
	}
}

func odd(n int) []byte {
	b := random(n)
	b[0] |= 0x80
	b[n-1] |= 1
	return b
}

func TestLiesAtAssertion(t *testing.T) {
	lies := append(slices.Clone(everywhere), []lie{
		{"the type of the other ceremony", one(softkey.Type("webauthn.create")), passkey.ErrRefused, "type"},
		{"suddenly synced", one(softkey.Flip(softkey.BE)), passkey.ErrRefused, "backup"},
		{"suddenly synced and backed up", one(softkey.Set(softkey.BE | softkey.BS)), passkey.ErrRefused, "backup"},
		{"a bit of the signature", one(softkey.WrongSignature()), passkey.ErrUnknown, "signature"},
		{"a foreign key", one(softkey.Forged()), passkey.ErrUnknown, "signature"},
		{"another's credential", nil, passkey.ErrUnknown, "unknown"}, // set below
		{"another's key under this id", nil, passkey.ErrUnknown, "signature"},
		{"the count of before", one(softkey.Count(41)), passkey.ErrRefused, "counter"},
		{"the same count", one(softkey.Count(42)), passkey.ErrRefused, "counter"},
		{"no count any more", one(softkey.Count(0)), passkey.ErrRefused, "counter"},
		{"a count that was not signed", one(changed(func(_, r map[string]any) { rewrite(r, "authenticatorData", 36) })), passkey.ErrUnknown, "signature"},
		{"a page that was not signed", one(changed(func(_, r map[string]any) { respell(r) })), passkey.ErrUnknown, "signature"},
		{"no signature", one(changed(func(_, r map[string]any) { r["signature"] = "" })), passkey.ErrUnknown, "signature"},
		{"that the AppID was used", one(softkey.RPID(origin), softkey.AppID(true)), passkey.ErrRefused, "rp_id"},
	}...)
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			rp, key := party(), at(softkey.NewDevice())
			key.Counter = 42
			c := bound(t, rp, key)
			if l.lies == nil {
				mallory := at(softkey.NewDevice())
				bound(t, rp, mallory)
				l.lies = one(softkey.With(mallory.Credential()))
				if l.why == "signature" {
					l.lies = append(l.lies, softkey.ID(c.ID), softkey.Count(43))
				}
			}
			for _, alone := range []bool{false, true} {
				_, err := rp.Check(answer(t, rp, key, c, alone, l.lies...), c, alone)
				refused(t, err, l.fault, l.why)
			}
			key.Credential().Count = 42
			if _, err := rp.Check(answer(t, rp, key, c, true), c, true); err != nil {
				t.Errorf("the truth, after the lie: %v", err)
			}
		})
	}
	t.Run("no longer synced", func(t *testing.T) {
		rp, key := party(), at(softkey.New())
		c := bound(t, rp, key)
		_, err := rp.Check(answer(t, rp, key, c, true, softkey.Clear(softkey.BE|softkey.BS)), c, true)
		refused(t, err, passkey.ErrRefused, "backup")
	})
	t.Run("not verified", func(t *testing.T) {
		rp, key := party(), at(softkey.New())
		c := bound(t, rp, key)
		_, err := rp.Check(answer(t, rp, key, c, true, softkey.Clear(softkey.UV)), c, true)
		refused(t, err, passkey.ErrRefused, "verification")
		r, err := rp.Check(answer(t, rp, key, c, false, softkey.Clear(softkey.UV)), c, false)
		if err != nil || r.Verified {
			t.Errorf("after a password: %+v, %v", r, err)
		}
	})
}

// rewrite flips a bit of a member.
func rewrite(r map[string]any, member string, at int) {
	b, _ := base64.RawURLEncoding.DecodeString(r[member].(string))
	b[at] ^= 4
	r[member] = base64.RawURLEncoding.EncodeToString(b)
}

// respell writes what the browser said in other bytes of the same meaning.
func respell(r map[string]any) {
	b, _ := base64.RawURLEncoding.DecodeString(r["clientDataJSON"].(string))
	r["clientDataJSON"] = base64.RawURLEncoding.EncodeToString(append(b, ' '))
}

// What the caller decides on is what the key said.
func TestWhatAnAnswerNames(t *testing.T) {
	rp, key := party(), at(softkey.New())
	c := bound(t, rp, key)
	foreign, challenge := random(32), random(32)
	a := answer(t, rp, key, c, true, softkey.Handle(foreign), softkey.Challenge(challenge))
	if !bytes.Equal(a.UserHandle, foreign) || !bytes.Equal(a.Challenge, challenge) || !bytes.Equal(a.ID, c.ID) {
		t.Errorf("%+v", a)
	}
	if a = answer(t, rp, key, c, true, softkey.Handle(nil)); len(a.UserHandle) != 0 {
		t.Errorf("a handle out of nowhere: %x", a.UserHandle)
	}
	got, err := passkey.ChallengeOf(create(t, rp, key, softkey.Challenge(challenge)))
	if err != nil || !bytes.Equal(got, challenge) {
		t.Errorf("the challenge of a registration: %x, %v", got, err)
	}
	for _, n := range []int{0, 65, 4000} {
		_, err := passkey.ChallengeOf(create(t, rp, key, softkey.Challenge(random(n))))
		refused(t, err, passkey.ErrMalformed, "malformed")
	}
}

// U2F keys answer under their AppID, and nothing else does (U2F-01, U2F-03).
func TestLiesOfU2F(t *testing.T) {
	const appID = "https://id.example.com/app-id.json"
	rp, key := party(), at(softkey.NewDevice())
	c := u2f(key, appID)
	r, err := rp.Check(answer(t, rp, key, c, false), c, false)
	if err != nil || r.Verified || r.BackedUp || r.SignCount != 2 {
		t.Fatalf("an honest key: %+v, %v", r, err)
	}
	for _, l := range []lie{
		{"the RP ID", one(softkey.RPID("example.com")), passkey.ErrRefused, "rp_id"},
		{"another AppID", one(softkey.RPID("https://evil.net")), passkey.ErrRefused, "rp_id"},
		{"that the AppID was not used", one(softkey.AppID(false)), passkey.ErrRefused, "appid"},
		{"nothing about the AppID", one(softkey.AppID(nil)), passkey.ErrRefused, "appid"},
		{"that the RP ID was used, truly", one(softkey.AppID(false), softkey.RPID("example.com")), passkey.ErrRefused, "appid"},
		{"another origin", one(softkey.Origin("https://evil.net")), passkey.ErrRefused, "origin"},
		{"nobody there", one(softkey.Clear(softkey.UP)), passkey.ErrRefused, "presence"},
		{"suddenly synced", one(softkey.Set(softkey.BE)), passkey.ErrRefused, "backup"},
		{"a bit of the signature", one(softkey.WrongSignature()), passkey.ErrUnknown, "signature"},
		{"a foreign key", one(softkey.Forged()), passkey.ErrUnknown, "signature"},
		{"the count of before", one(softkey.Count(1)), passkey.ErrRefused, "counter"},
	} {
		t.Run(l.name, func(t *testing.T) {
			_, err := rp.Check(answer(t, rp, key, c, false, l.lies...), c, false)
			refused(t, err, l.fault, l.why)
		})
	}
	t.Run("alone", func(t *testing.T) {
		_, err := rp.Check(answer(t, rp, key, c, true, softkey.With(key.Credential()), softkey.Set(softkey.UV)), c, true)
		refused(t, err, passkey.ErrRefused, "rp_id") // and with the RP ID its signature is none
	})
	t.Run("a passkey under an AppID", func(t *testing.T) {
		phone := at(softkey.New())
		p := bound(t, rp, phone)
		_, err := rp.Check(answer(t, rp, phone, p, false, softkey.RPID(appID), softkey.AppID(true)), p, false)
		refused(t, err, passkey.ErrRefused, "rp_id")
	})
	t.Run("a statement that is not a bool", func(t *testing.T) {
		options, err := rp.Request(random(32), []passkey.Credential{c}, false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = passkey.ParseAnswer(key.Get(options, softkey.AppID("yes")))
		refused(t, err, passkey.ErrMalformed, "malformed")
	})
}
