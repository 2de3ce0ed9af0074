package passkey_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"testing"

	"github.com/go-webauthn/webauthn/protocol"

	"countersign/internal/domain/passkey"
	"countersign/internal/fault"
	"countersign/internal/testkit/softkey"
)

// told checks that an error is one for people, with its word for the event.
func told(t *testing.T, err error) {
	t.Helper()
	var f *fault.Fault
	if err != nil && (!errors.As(err, &f) || passkey.Why(err) == "") {
		t.Errorf("an error that says nothing: %v", err)
	}
}

// bounded checks that f takes no more memory than a request of ours may.
func bounded(t *testing.T, f func()) {
	t.Helper()
	const most = 8 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > most {
		t.Errorf("%d bytes taken", n)
	}
}

func FuzzRegister(f *testing.F) {
	rp := party()
	for _, alg := range []int{softkey.ES256, softkey.EdDSA, softkey.RS256} {
		for _, form := range []string{softkey.None, softkey.Self} {
			f.Add(create(f, rp, at(softkey.New()), softkey.Algorithm(alg), softkey.Attest(form)))
		}
	}
	for _, format := range []string{"none", "packed", "tpm", "android-key", "android-safetynet", "fido-u2f", "apple", "compound"} {
		f.Add(create(f, rp, at(softkey.New()), softkey.Stated(format, map[string]any{
			"alg": -7, "sig": random(70), "ver": "2.0", "x5c": []any{random(99)}, "pubArea": random(80), "certInfo": random(80), "response": []byte("e30.e30.AA")})))
	}
	f.Add([]byte(`{"id":"","rawId":null,"type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`))
	f.Add(bytes.Repeat([]byte("["), 1<<16))
	f.Fuzz(func(t *testing.T, response []byte) {
		bounded(t, func() {
			c, err := rp.Register(response, passkey.Lists{})
			told(t, err)
			if err != nil {
				return
			}
			if len(response) > 48<<10 || len(c.ID) == 0 || len(c.ID) > passkey.IDMaxBytes || len(c.PublicKey) == 0 || len(c.Transports) > 8 {
				t.Errorf("bound: %+v", c)
			}
			// What the caller used up is what the library compared; without a
			// challenge the caller does not come so far.
			challenge, err := passkey.ChallengeOf(response)
			if err != nil {
				return
			}
			p, err := protocol.ParseCredentialCreationResponseBytes(response)
			if err != nil {
				t.Fatalf("bound, and cannot be read: %v", err)
			}
			var said struct{ Challenge protocol.URLEncodedBase64 }
			if json.Unmarshal(p.Raw.AttestationResponse.ClientDataJSON, &said) != nil || !bytes.Equal(said.Challenge, challenge) {
				t.Errorf("challenges %x and %x", said.Challenge, challenge)
			}
		})
	})
}

func FuzzParseAnswer(f *testing.F) {
	rp := party()
	phone, old := at(softkey.New()), at(softkey.NewDevice())
	p, u := bound(f, rp, phone), u2f(old, origin)
	f.Add(message(f, rp, phone, p))
	f.Add(message(f, rp, old, u))
	f.Add(message(f, rp, phone, p, softkey.Handle(nil), softkey.Set(softkey.ED|softkey.AT)))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, response []byte) {
		bounded(t, func() {
			a, err := passkey.ParseAnswer(response)
			told(t, err)
			if (a == nil) != (err != nil) {
				t.Fatalf("%v, %v", a, err)
			}
			if err != nil {
				return
			}
			if len(response) > 48<<10 || len(a.ID) == 0 || len(a.Challenge) == 0 || len(a.Challenge) > 2*passkey.ChallengeBytes {
				t.Errorf("read: %+v", a)
			}
			for _, c := range []passkey.Credential{p, u, {ID: a.ID, PublicKey: p.PublicKey}, {ID: a.ID, PublicKey: u.PublicKey, AppID: origin}} {
				for _, alone := range []bool{false, true} {
					_, err := rp.Check(a, c, alone)
					told(t, err)
				}
			}
		})
	})
}

// FuzzCheck gives a well-formed answer members that the fuzzer made: whatever
// they are, nothing but what the key signed is accepted.
func FuzzCheck(f *testing.F) {
	rp := party()
	key := at(softkey.New())
	c := bound(f, rp, key)
	var honest struct {
		Response struct{ ClientDataJSON, AuthenticatorData, Signature protocol.URLEncodedBase64 }
	}
	if err := json.Unmarshal(message(f, rp, key, c), &honest); err != nil {
		f.Fatal(err)
	}
	h := honest.Response
	f.Add([]byte(h.ClientDataJSON), []byte(h.AuthenticatorData), []byte(h.Signature), c.PublicKey, "", false)
	f.Add([]byte(h.ClientDataJSON), []byte(h.AuthenticatorData), []byte(h.Signature), c.PublicKey, "", true)
	f.Add([]byte(h.ClientDataJSON), []byte(h.AuthenticatorData), []byte(h.Signature), u2f(key, origin).PublicKey, origin, false)
	f.Fuzz(func(t *testing.T, client, auth, signature, public []byte, appID string, alone bool) {
		bounded(t, func() {
			id := protocol.URLEncodedBase64(c.ID)
			response, err := json.Marshal(map[string]any{"id": id, "rawId": id, "type": "public-key", "clientExtensionResults": map[string]any{"appid": appID != ""},
				"response": map[string]any{"clientDataJSON": protocol.URLEncodedBase64(client), "authenticatorData": protocol.URLEncodedBase64(auth), "signature": protocol.URLEncodedBase64(signature)}})
			if err != nil {
				t.Fatal(err)
			}
			a, err := passkey.ParseAnswer(response)
			told(t, err)
			if err != nil {
				return
			}
			own := c
			own.AppID, own.PublicKey = appID, public
			_, err = rp.Check(a, own, alone)
			told(t, err)
			signed := bytes.Equal(client, h.ClientDataJSON) && bytes.Equal(auth, h.AuthenticatorData)
			if err == nil && bytes.Equal(public, c.PublicKey) && !signed {
				t.Errorf("accepted what the key did not sign: %s, %x", client, auth)
			}
		})
	})
}

// message is the answer of the key as the browser sends it.
func message(t testing.TB, rp *passkey.RelyingParty, k *softkey.Key, c passkey.Credential, lies ...softkey.Lie) []byte {
	t.Helper()
	options, err := rp.Request(random(passkey.ChallengeBytes), []passkey.Credential{c}, false)
	if err != nil {
		t.Fatal(err)
	}
	return k.Get(options, lies...)
}
