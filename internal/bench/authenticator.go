package bench

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"countersign/internal/domain/passkey"
)

// An authenticator signs for everybody with one key (WebAuthn Level 3 §6.3.3):
// what is measured is the server's part.
type authenticator struct {
	key          *ecdsa.PrivateKey
	rpID, origin string
}

func newAuthenticator(rpID, origin string) (*authenticator, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &authenticator{key, rpID, origin}, err
}

// credential is the record of the key under an id. It counts nothing, as keys
// that are synced do.
func (a *authenticator) credential(id string) passkey.Credential {
	point, err := a.key.PublicKey.Bytes()
	if err != nil {
		panic(err) // P-256 has them
	}
	// COSE_Key {1: 2, 3: -7, -1: 1, -2: x, -3: y} (RFC 9053 §2.1, §7.1.1)
	cose := joined([]byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20}, point[1:33], []byte{0x22, 0x58, 0x20}, point[33:])
	return passkey.Credential{ID: []byte(id), PublicKey: cose, Transports: []string{"internal"}, BackupEligible: true, BackedUp: true, Verified: true, Format: "none"}
}

func joined(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// answer signs the challenge of options for the first credential that they name.
func (a *authenticator) answer(options json.RawMessage) (json.RawMessage, error) {
	var asked struct {
		Challenge string `json:"challenge"`
		Allow     []struct {
			ID string `json:"id"`
		} `json:"allowCredentials"`
	}
	if err := json.Unmarshal(options, &asked); err != nil {
		return nil, fmt.Errorf("read the options: %w", err)
	}
	if len(asked.Allow) == 0 {
		return nil, errors.New("bench: options name no passkey")
	}
	client, err := json.Marshal(map[string]any{"type": "webauthn.get", "challenge": asked.Challenge, "origin": a.origin, "crossOrigin": false})
	if err != nil {
		return nil, err
	}
	party, said := sha256.Sum256([]byte(a.rpID)), sha256.Sum256(client)
	const present, verified, eligible, backedUp = 1, 4, 8, 16
	data := binary.BigEndian.AppendUint32(append(party[:], present|verified|eligible|backedUp), 0)
	digest := sha256.Sum256(joined(data, said[:]))
	signature, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding.EncodeToString
	return json.Marshal(map[string]any{"id": asked.Allow[0].ID, "rawId": asked.Allow[0].ID, "type": "public-key", "clientExtensionResults": map[string]any{},
		"response": map[string]any{"clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(signature)}})
}
