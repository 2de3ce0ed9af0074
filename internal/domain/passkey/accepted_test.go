package passkey_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"countersign/internal/domain/passkey"
	"countersign/internal/testkit/softkey"
)

// Every algorithm offered, every combination of flags that WebAuthn knows, at
// registration and at sign-in, alone and after a password.
func TestPasskeysAreAccepted(t *testing.T) {
	for name, alg := range map[string]int{"EdDSA": softkey.EdDSA, "ES256": softkey.ES256, "RS256": softkey.RS256} {
		for _, backup := range []string{"bound to its device", "eligible", "backed up"} {
			for _, form := range []string{softkey.None, softkey.Self} {
				t.Run(fmt.Sprintf("%s, %s, attestation %s", name, backup, form), func(t *testing.T) {
					t.Parallel()
					rp, key := party(), at(softkey.New())
					key.Alg, key.Attestation = alg, form
					key.BE, key.BS = backup != "bound to its device", backup == "backed up"
					c := bound(t, rp, key)
					said := key.Credential()
					if !bytes.Equal(c.ID, said.ID) || !bytes.Equal(c.PublicKey, said.Public) || c.AppID != "" || c.SignCount != 0 || c.Format != form {
						t.Errorf("bound as %+v, said %+v", c, said)
					}
					if c.BackupEligible != key.BE || c.BackedUp != key.BS || !c.Verified || c.AAGUID != passkey.AAGUID(key.AAGUID) || !slices.Equal(c.Transports, key.Transports) {
						t.Errorf("bound as %+v", c)
					}
					for range 2 { // a counter of 0 never grows
						for _, alone := range []bool{true, false} {
							r, err := rp.Check(answer(t, rp, key, c, alone), c, alone)
							if err != nil || !r.Verified || r.BackedUp != key.BS || r.SignCount != 0 {
								t.Errorf("alone %v: %+v, %v", alone, r, err)
							}
						}
					}
					if key.BE { // whether it is backed up may change
						key.BS = !key.BS
						r, err := rp.Check(answer(t, rp, key, c, true), c, true)
						if err != nil || r.BackedUp != key.BS {
							t.Errorf("its backup changed: %+v, %v", r, err)
						}
					}
					key.UV = false
					r, err := rp.Check(answer(t, rp, key, c, false), c, false)
					if err != nil || r.Verified {
						t.Errorf("not verified: %+v, %v", r, err)
					}
				})
			}
		}
	}
}

func TestCountersGrow(t *testing.T) {
	rp, key := party(), at(softkey.NewDevice())
	key.Counter = 1<<32 - 3
	c := bound(t, rp, key)
	for range 2 {
		r, err := rp.Check(answer(t, rp, key, c, true), c, true)
		if err != nil || r.SignCount != c.SignCount+1 {
			t.Fatalf("after %d: %+v, %v", c.SignCount, r, err)
		}
		c.SignCount = r.SignCount
	}
	// It starts to count: once it has, it must go on.
	key, c.SignCount = at(softkey.New()), 0
	c = bound(t, rp, key)
	r, err := rp.Check(answer(t, rp, key, c, true, softkey.Count(9)), c, true)
	if err != nil || r.SignCount != 9 {
		t.Errorf("a first count: %+v, %v", r, err)
	}
}

func TestWhatIsKeptOfAPasskey(t *testing.T) {
	rp := party()
	if c := bound(t, rp, at(softkey.New()), softkey.LongID(1023)); len(c.ID) != 1023 {
		t.Errorf("an id of %d bytes", len(c.ID))
	}
	if c := bound(t, rp, at(softkey.New()), softkey.LongID(1)); len(c.ID) != 1 {
		t.Errorf("an id of %d bytes", len(c.ID))
	}
	key := at(softkey.New())
	key.Transports = []string{"usb", "cable", "<script>", "internal", "carrier-pigeon", "usb"}
	for range 99 {
		key.Transports = append(key.Transports, "nfc")
	}
	c := bound(t, rp, key)
	if !slices.Equal(c.Transports[:2], []string{"usb", "hybrid"}) && !slices.Equal(c.Transports[:2], []string{"usb", "internal"}) {
		t.Errorf("transports %q", c.Transports) // cable was the name of hybrid
	}
	for i, tr := range c.Transports {
		if !slices.Contains([]string{"usb", "nfc", "ble", "smart-card", "hybrid", "internal"}, tr) || i >= 8 {
			t.Errorf("transport %q", tr)
		}
	}
	key = at(softkey.New())
	key.Transports = nil
	bound(t, rp, key)
	// Whoever asks for an attestation gets what the key has, and takes none
	// where no model is chosen.
	rp.Direct = true
	for _, form := range []string{softkey.None, softkey.Self} {
		if c := bound(t, rp, at(softkey.New()), softkey.Attest(form)); c.Format != form {
			t.Errorf("attestation %s kept as %s", form, c.Format)
		}
	}
}

// options are what browsers read.
type options struct {
	Challenge, RPID, Attestation, UserVerification string
	Timeout                                        int
	RP                                             struct{ ID, Name string }
	User                                           struct{ ID, Name, DisplayName string }
	PubKeyCredParams                               []struct {
		Type string
		Alg  int
	}
	AuthenticatorSelection               map[string]any
	ExcludeCredentials, AllowCredentials []struct {
		Type, ID   string
		Transports []string
	}
	Extensions map[string]any
}

func read(t *testing.T, raw json.RawMessage, err error) (o options) {
	t.Helper()
	if err == nil {
		err = json.Unmarshal(raw, &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOptionsToCreate(t *testing.T) {
	rp, key := party(), at(softkey.NewDevice())
	challenge, handle := random(32), random(32)
	text := base64.RawURLEncoding.EncodeToString
	have := []passkey.Credential{bound(t, rp, key), u2f(key, "https://id.example.com/app")}
	raw, err := rp.Creation(challenge, passkey.User{Handle: handle, Name: "alice", DisplayName: "Alice"}, have)
	o := read(t, raw, err)
	if o.Challenge != text(challenge) || o.User.ID != text(handle) || o.User.Name != "alice" || o.RP.ID != "example.com" || o.RP.Name != "Countersign" || o.Attestation != "none" {
		t.Errorf("%s", raw)
	}
	if s := o.AuthenticatorSelection; s["residentKey"] != "required" || s["requireResidentKey"] != true || s["userVerification"] != "required" || s["authenticatorAttachment"] != nil {
		t.Errorf("%s", raw)
	}
	algs := []int{}
	for _, p := range o.PubKeyCredParams {
		algs = append(algs, p.Alg)
	}
	if !slices.Equal(algs, []int{-8, -7, -257}) {
		t.Errorf("offers %v", algs)
	}
	if len(o.ExcludeCredentials) != 2 || o.ExcludeCredentials[0].ID != text(have[0].ID) || !slices.Equal(o.ExcludeCredentials[0].Transports, key.Transports) || o.Extensions["appidExclude"] != "https://id.example.com/app" {
		t.Errorf("excludes %+v, %v", o.ExcludeCredentials, o.Extensions)
	}
	// The same key, again: as a passkey or as the key of U2F that it is.
	if key.Create(raw) != nil {
		t.Error("an authenticator makes a second passkey for the same user")
	}
	old := at(softkey.NewDevice())
	old.Credentials = key.Credentials[1:]
	if old.Create(raw) != nil {
		t.Error("a key of U2F that is bound becomes a passkey beside itself")
	}
	raw, err = rp.Creation(challenge, passkey.User{Handle: handle}, have[:1]) // what Update to Passkey asks for
	if err != nil || old.Create(raw) == nil {
		t.Errorf("a key of U2F does not become a passkey: %v", err)
	}
}

func TestOptionsToProve(t *testing.T) {
	rp, key := party(), at(softkey.NewDevice())
	text := base64.RawURLEncoding.EncodeToString
	mine := bound(t, rp, key)
	raw, err := rp.Request(random(32), nil, true)
	o := read(t, raw, err)
	if len(o.AllowCredentials) != 0 || o.UserVerification != "required" || o.RPID != "example.com" || len(o.Extensions) != 0 {
		t.Errorf("alone: %s", raw)
	}
	raw, err = rp.Request(random(32), []passkey.Credential{mine}, true)
	if bytes.Contains(raw, []byte(text(mine.ID))) || err != nil {
		t.Errorf("alone it names somebody's passkey: %s, %v", raw, err)
	}
	raw, err = rp.Request(random(32), []passkey.Credential{mine}, false)
	o = read(t, raw, err)
	if len(o.AllowCredentials) != 1 || o.AllowCredentials[0].ID != text(mine.ID) || o.UserVerification != "preferred" || o.Extensions["appid"] != nil {
		t.Errorf("after a password: %s", raw)
	}
	one, two := u2f(key, "https://one.example.com"), u2f(key, "https://two.example.com")
	raw, err = rp.Request(random(32), []passkey.Credential{one, two}, false)
	o = read(t, raw, err)
	if o.Extensions["appid"] != one.AppID || len(o.AllowCredentials) != 1 || o.AllowCredentials[0].ID != text(one.ID) {
		t.Errorf("two AppIDs: %s", raw)
	}
}
