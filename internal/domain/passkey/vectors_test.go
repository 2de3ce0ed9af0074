package passkey_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"countersign/internal/domain/passkey"
)

// A vector is one of WebAuthn Level 3 §16 (W3C, https://www.w3.org/TR/webauthn-3/#sctn-test-vectors),
// whose relying party is https://example.org.
type vector struct {
	Name, Section, ID                               string
	AttestationObject, CreateClientDataJSON         string
	AuthenticatorData, GetClientDataJSON, Signature string
}

// unregistered says why a vector makes no passkey here: most of those
// authenticators did not verify their user, which we ask for.
var unregistered = map[string]string{
	"NoneES256": "verification", "NoneES256LongCredentialID": "verification", "PackedES384": "verification", "PackedEdDSA": "verification",
	"AppleAnonymousES256": "verification", "FIDOU2FES256": "verification",
	"NoneES256CrossOrigin": "cross_origin", "NoneES256TopOrigin": "cross_origin", "PackedES512": "malformed",
	"TPMES256": "attestation", "AndroidKeyES256": "attestation", // made by nobody: their roots are not those of TPMs and of Google
}

// unproven says why the assertion of a vector is none here.
var unproven = map[string]string{
	"NoneES256CrossOrigin": "cross_origin", "NoneES256TopOrigin": "cross_origin",
	"PackedES512": "malformed", // its challenge has 128 bytes; no passkey of it is ever bound
}

func TestVectorsOfTheStandard(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) != 14 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	rp := &passkey.RelyingParty{ID: "example.org", Name: "W3C", Origins: []string{"https://example.org"}}
	for _, v := range vectors {
		t.Run(v.Section+" "+v.Name, func(t *testing.T) {
			c, err := rp.Register(v.registration(t), passkey.Lists{})
			if passkey.Why(err) != unregistered[v.Name] || (err == nil) != (unregistered[v.Name] == "") {
				t.Errorf("registration: %v", err)
			}
			if own := v.credential(t); err == nil && (string(c.ID) != string(own.ID) || string(c.PublicKey) != string(own.PublicKey) || c.BackupEligible != own.BackupEligible) {
				t.Errorf("registered %+v, read %+v", c, own)
			}
			a, err := passkey.ParseAnswer(v.assertion(t))
			if err == nil {
				_, err = rp.Check(a, v.credential(t), false)
			}
			if passkey.Why(err) != unproven[v.Name] || (err == nil) != (unproven[v.Name] == "") {
				t.Errorf("assertion: %v", err)
			}
		})
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v vector) text(t testing.TB, s string) string {
	return base64.RawURLEncoding.EncodeToString(unhex(t, s))
}

func (v vector) message(t testing.TB, response map[string]any) []byte {
	id := v.text(t, v.ID)
	b, err := json.Marshal(map[string]any{"id": id, "rawId": id, "type": "public-key", "clientExtensionResults": map[string]any{}, "response": response})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v vector) registration(t testing.TB) []byte {
	return v.message(t, map[string]any{"clientDataJSON": v.text(t, v.CreateClientDataJSON), "attestationObject": v.text(t, v.AttestationObject)})
}

func (v vector) assertion(t testing.TB) []byte {
	return v.message(t, map[string]any{"clientDataJSON": v.text(t, v.GetClientDataJSON), "authenticatorData": v.text(t, v.AuthenticatorData), "signature": v.text(t, v.Signature)})
}

// credential reads the passkey by other means than those under test.
func (v vector) credential(t testing.TB) passkey.Credential {
	t.Helper()
	var object struct {
		Auth []byte `cbor:"authData"`
	}
	if err := cbor.Unmarshal(unhex(t, v.AttestationObject), &object); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte("example.org"))
	if string(object.Auth[:32]) != string(hash[:]) {
		t.Fatal("the vector is of another relying party")
	}
	n := 55 + int(binary.BigEndian.Uint16(object.Auth[53:]))
	return passkey.Credential{ID: object.Auth[55:n], PublicKey: object.Auth[n:], BackupEligible: object.Auth[32]&8 != 0, SignCount: binary.BigEndian.Uint32(object.Auth[33:])}
}
