package selfservice_test

import (
	"encoding/json"

	"pgregory.net/rapid"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/testkit"
	"countersign/internal/testkit/softkey"
)

// A lifeKey is a passkey of a life.
type lifeKey struct {
	*testkit.SoftKey
	id string
}

// keyed binds a passkey straight in the store.
func (l *life) keyed(k *testkit.SoftKey) {
	l.keys = append(l.keys, lifeKey{k, l.BindPasskey(l.i, k).ID})
	l.facts.Passkeys++
}

// says has a key of this life answer, in one way or another; right reports
// whether that is the truth, in answer to these options.
func (l *life) says(options json.RawMessage) (said []byte, right bool) {
	k := rapid.SampledFrom(l.keys).Draw(l.r, "key")
	switch rapid.SampledFrom([]string{"truth", "truth", "truth", "truth", "signature", "origin", "before", "a stranger's key"}).Draw(l.r, "says") {
	case "signature":
		return k.Get(options, softkey.WrongSignature()), false
	case "origin":
		return k.Get(options, softkey.Origin("https://id.example.com.evil.net")), false
	case "before":
		return l.said, false
	case "a stranger's key":
		return k.Get(options, softkey.Forged()), false
	}
	l.said = k.Get(options)
	return l.said, true
}

// answerKey takes the step of a sign-in or a verification with a key.
func (l *life) answerKey(a *asking) {
	if len(l.keys) == 0 {
		return
	}
	var offers []prove.Offer
	if a.kind == "verify" {
		q, err := l.Verify.State(ctx(), l.from(), a.s.Signed, a.id)
		if err != nil {
			return
		}
		offers = q.Offers
	} else {
		p, err := l.SignIn.State(ctx(), l.from(), a.token)
		if err != nil {
			return
		}
		offers = p.Offers
	}
	for _, o := range offers {
		if o.Method != factor.Passkey {
			continue
		}
		said, right := l.says(o.Options)
		proof := factor.Proof{Method: factor.Passkey, At: l.Clock.Now(), Verified: true, Synced: true}
		l.take(a, prove.Answer{Method: factor.Passkey, Credential: said}, proof, "a key", func() bool { return right })
		return
	}
}

// alone signs in by a passkey alone.
func (l *life) alone() {
	if len(l.keys) == 0 {
		return
	}
	d, err := l.SignIn.Discover(ctx(), l.from())
	if err != nil {
		l.r.Fatal(err)
	}
	said, right := l.says(d.Options)
	p, err := l.SignIn.Discovered(ctx(), l.from(), d.Token, said, "")
	if (err == nil) != right {
		l.r.Fatalf("a key that tells the truth: %v, and by it alone: %v", right, err)
	}
	if err != nil {
		return
	}
	if p.Session == nil {
		l.r.Fatalf("by a passkey alone: %s", p.Step)
	}
	l.signedIn(p.Session.Token, []factor.Proof{{Method: factor.Passkey, At: l.Clock.Now(), Verified: true, Synced: true}}, factor.Passkey)
	l.reached["alone"]++
}

// create makes a passkey on a device of its own.
func (l *life) create() {
	s := l.session()
	if s == nil {
		return
	}
	l.first(s, selfservice.BindPasskey)
	n, err := l.Self.BeginPasskey(ctx(), l.from(), s.Signed, "")
	if err != nil {
		return
	}
	l.changed(s, selfservice.BindPasskey, "what a passkey is made from")
	k := testkit.NewSoftKey()
	if rapid.IntRange(0, 4).Draw(l.r, "lies") == 0 {
		said := k.Create(n.Options, softkey.Origin("https://id.example.com.evil.net"))
		if _, _, _, err := l.Self.CreatePasskey(ctx(), l.from(), s.Signed, n.Ceremony, "", said); err == nil {
			l.r.Fatal("a passkey of another page is bound")
		}
		return
	}
	made, token, _, err := l.Self.CreatePasskey(ctx(), l.from(), s.Signed, n.Ceremony, "", k.Create(n.Options))
	if err != nil {
		l.r.Fatalf("create: %v (%s)", err, passkey.Why(err))
	}
	l.changed(s, selfservice.BindPasskey, "create")
	l.tells(message.PasskeyAdded, l.phone.Number)
	l.keys = append(l.keys, lifeKey{k, made.ID})
	l.facts.Passkeys++
	l.renewed(s, token, factor.Passkey)
}

// dropKey removes one.
func (l *life) dropKey() {
	s := l.session()
	if s == nil || len(l.keys) == 0 {
		return
	}
	n := rapid.IntRange(0, len(l.keys)-1).Draw(l.r, "which")
	action := selfservice.RemovePasskeyAction(l.keys[n].id)
	l.first(s, action)
	token, err := l.Self.RemovePasskey(ctx(), l.from(), s.Signed, l.keys[n].id)
	if err != nil {
		return
	}
	if l.facts.Protection.Method == factor.Passkey && l.facts.Passkeys == 1 {
		l.r.Fatal("the passkey that protects was removed")
	}
	l.changed(s, action, "drop")
	l.tells(message.PasskeyRemoved, l.phone.Number)
	l.keys = append(l.keys[:n:n], l.keys[n+1:]...)
	l.facts.Passkeys--
	l.lost()
	l.renewed(s, token)
}
