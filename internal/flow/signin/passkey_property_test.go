package signin_test

import (
	"encoding/json"
	"slices"
	"time"

	"pgregory.net/rapid"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

// A possession is a key of the model: a passkey, or one bound under U2F.
type possession struct {
	*testkit.SoftKey
	id   string // in the store
	c    *softkey.Credential
	u2f  bool
	gone bool // removed
}

func (k *possession) method() factor.Method {
	if k.u2f {
		return factor.U2F
	}
	return factor.Passkey
}

// withKeys gives a person a passkey of either kind and a U2F key.
func withKeys(w *testkit.World, p *person) *person {
	for _, k := range []*testkit.SoftKey{testkit.NewSoftKey(), testkit.NewSoftDevice()} {
		p.keys = append(p.keys, &possession{SoftKey: k, id: w.BindPasskey(p.Identity, k).ID, c: k.Credential()})
	}
	k := testkit.NewSoftDevice()
	p.keys = append(p.keys, &possession{SoftKey: k, id: w.BindU2F(p.Identity, k, "https://id.example.com/u2f.json").ID, c: k.Credential(), u2f: true})
	return p
}

// bound reports whether a device is bound.
func (p *person) bound() bool {
	return p.app != nil || slices.ContainsFunc(p.keys, func(k *possession) bool { return !k.gone })
}

// A falsehood is what a key may say, and whether that is right alone and after
// the password.
type falsehood struct {
	name          string
	lie           testkit.Lie
	alone, second bool
}

var falsehoods = []falsehood{
	{"not verified", softkey.Clear(softkey.UV), false, true},
	{"nobody there", softkey.Clear(softkey.UP), false, false},
	{"no handle", softkey.Handle(nil), false, true},
	{"a foreign handle", softkey.Handle(random(32)), false, false},
	{"a wrong signature", softkey.WrongSignature(), false, false},
	{"another's signature", softkey.Forged(), false, false},
	{"another challenge", softkey.Challenge(random(32)), false, false},
	{"another site", softkey.Origin("https://id.example.net"), false, false},
	{"another RP ID", softkey.RPID("example.net"), false, false},
	{"to make a key", softkey.Type("webauthn.create"), false, false},
	{"a key that nobody has", softkey.ID(random(32)), false, false},
}

var truth = falsehood{"the truth", func(*softkey.Said) {}, true, true}

// saying draws the truth half of the time.
func saying(r *rapid.T) falsehood {
	if rapid.Bool().Draw(r, "truth") {
		return truth
	}
	return rapid.SampledFrom(falsehoods).Draw(r, "lie")
}

// says is what the key says to the options, whether they ask for it or not.
func (k *possession) says(options json.RawMessage, f falsehood) []byte {
	lies := []testkit.Lie{softkey.With(k.c)}
	if k.u2f {
		lies = append(lies, softkey.AppID(true))
	}
	return k.Get(options, append(lies, f.lie)...)
}

// An alone is a question to any passkey.
type alone struct {
	signin.Discovery
	begun time.Time
	used  bool // its challenge was answered
	tries int
}

// A keyed takes the steps of the property that keys take.
type keyed struct {
	*testkit.World
	all      []*person
	browsers []prove.Visitor
	tries    *[]*try
	open     *[]*alone
	finish   func(one *try, progress signin.Progress, err error, valid bool, what string)
}

func (s *keyed) browser(r *rapid.T) prove.Visitor {
	return rapid.SampledFrom(s.browsers).Draw(r, "browser")
}

// key draws one of somebody's.
func (s *keyed) key(r *rapid.T, p *person) (*person, *possession) {
	if rapid.IntRange(0, 4).Draw(r, "another's") == 0 || len(p.keys) == 0 {
		p = rapid.SampledFrom(s.all).Draw(r, "whose")
	}
	if len(p.keys) == 0 {
		r.Skip("no key")
	}
	return p, rapid.SampledFrom(p.keys).Draw(r, "key")
}

func (s *keyed) alone(r *rapid.T) {
	v := s.browser(r)
	if len(*s.open) == 0 || rapid.Bool().Draw(r, "anew") {
		d, err := s.SignIn.Discover(ctx(), v)
		if err != nil {
			r.Fatal(err)
		}
		*s.open = append(*s.open, &alone{Discovery: d, begun: s.Clock.Now()})
	}
	d := (*s.open)[len(*s.open)-1-rapid.IntRange(0, min(2, len(*s.open)-1)).Draw(r, "question")]
	p, k := s.key(r, s.all[0])
	f := saying(r)
	valid := !d.used && d.tries < throttle.CeremonyTries && s.Clock.Now().Before(d.begun.Add(10*time.Minute)) && !k.gone && !k.u2f && f.alone
	said := k.says(d.Options, f)
	progress, err := s.SignIn.Discovered(ctx(), v, d.Token, said, "")
	d.tries++
	d.used = d.used || f.name != "another challenge"
	one := &try{p: p, progress: progress, begun: s.Clock.Now(), mfa: true, by: "a passkey alone", answers: [][]byte{said}}
	s.finish(one, progress, err, valid, "a passkey alone, "+f.name)
	if err == nil && progress.Session == nil {
		*s.tries = append(*s.tries, one)
	}
}

func (s *keyed) try(r *rapid.T) *try {
	if len(*s.tries) == 0 {
		r.Skip("none")
	}
	return rapid.SampledFrom(*s.tries).Draw(r, "sign-in")
}

func (s *keyed) second(r *rapid.T) {
	one, v := s.try(r), s.browser(r)
	whose, k := s.key(r, one.p)
	state, err := s.SignIn.State(ctx(), v, one.progress.Token)
	if err != nil {
		return
	}
	var options json.RawMessage
	for _, o := range state.Offers {
		if o.Options != nil && (options == nil || o.Method == k.method()) {
			options = o.Options
		}
	}
	asked := options != nil
	if !asked { // it is not asked for: another question will do
		d, err := s.SignIn.Discover(ctx(), v)
		if err != nil {
			r.Fatal(err)
		}
		options = d.Options
	}
	f := saying(r)
	m := k.method()
	if rapid.IntRange(0, 9).Draw(r, "as another method") == 0 {
		m = rapid.SampledFrom([]factor.Method{factor.Passkey, factor.U2F, factor.VirtualMFA, factor.RecoveryCode, factor.Email, ""}).Draw(r, "method")
	}
	valid := asked && whose == one.p && m == k.method() && !k.gone && f.second && one.step() == "device" && !one.over && one.open(s.Clock.Now())
	said := k.says(options, f)
	if m == k.method() { // else nobody looks at it, and it can still be given once
		one.answers = append(one.answers, said)
	}
	progress, err := s.SignIn.Answer(ctx(), v, one.progress.Token, prove.Answer{Method: m, Credential: said})
	if err == nil && valid {
		one.mfa, one.by = true, map[bool]string{true: "a U2F key", false: "a passkey"}[k.u2f]
	}
	s.finish(one, progress, err, valid, "a key, "+f.name)
}

// replay gives an answer again: to the same question, or to another.
func (s *keyed) replay(r *rapid.T) {
	from, one := s.try(r), s.try(r)
	if len(from.answers) == 0 {
		r.Skip("none")
	}
	said := rapid.SampledFrom(from.answers).Draw(r, "answer")
	m := rapid.SampledFrom([]factor.Method{factor.Passkey, factor.U2F}).Draw(r, "method")
	progress, err := s.SignIn.Answer(ctx(), s.browser(r), one.progress.Token, prove.Answer{Method: m, Credential: said})
	s.finish(one, progress, err, false, "an answer again")
	d, err := s.SignIn.Discover(ctx(), s.browser(r))
	if err != nil {
		r.Fatal(err)
	}
	progress, err = s.SignIn.Discovered(ctx(), s.browser(r), d.Token, said, "")
	s.finish(one, progress, err, false, "an answer again, alone")
}

// remove takes a key off, which voids what is under way.
func (s *keyed) remove(r *rapid.T) {
	if rapid.IntRange(0, 3).Draw(r, "rarely") > 0 {
		return
	}
	p, k := s.key(r, s.all[0])
	if k.gone {
		return
	}
	k.gone = true
	s.Put(func(tx *store.Tx) error {
		if err := tx.RemovePasskey(p.Account, p.ID, k.id, store.ErrNoRow); err != nil {
			return err
		}
		_, err := tx.RaiseEpoch(p.ID, "")
		return err
	})
	for _, one := range *s.tries {
		one.over = one.over || one.p == p
	}
}
