// Package softkey is an authenticator and its browser in software, which can
// lie: it answers the WebAuthn options of this server as a passkey, or as a
// key of U2F, does. It knows nothing of the server, so that what it says is a
// second opinion on what the server understands.
package softkey

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// COSE algorithms.
const (
	ES256 = -7
	EdDSA = -8
	RS256 = -257
	RS1   = -65535 // with SHA-1: nobody offers it
)

// Flags of authenticator data (WebAuthn §6.1).
const (
	UP byte = 1 << 0 // present
	UV byte = 1 << 2 // verified
	BE byte = 1 << 3 // may be backed up
	BS byte = 1 << 4 // is backed up
	AT byte = 1 << 6 // a credential follows
	ED byte = 1 << 7 // extensions follow
)

// Forms of attestation.
const (
	None   = "none"
	Self   = "packed"        // signed by the credential itself
	Broken = "packed, wrong" // the same with a bit of the signature flipped
)

// A Key is an authenticator in a browser.
type Key struct {
	Alg            int    // of new credentials; 0: the first offered
	Origin         string // of the page; empty: https:// and the RP ID
	AAGUID         [16]byte
	Attachment     string
	Transports     []string
	UP, UV, BE, BS bool
	Counter        uint32 // of new credentials; one of 0 stays 0
	Attestation    string
	Credentials    []*Credential
}

// A Credential is one that a key holds.
type Credential struct {
	ID     []byte
	RPID   string
	User   []byte // the handle; nil of U2F
	AppID  string // of U2F
	Count  uint32
	Public []byte // COSE; of U2F the 65 bytes of X9.62
	signer signer
}

// New returns a key as those of phones are: ES256, of a password manager that
// verifies its user, without a counter.
func New() *Key {
	return &Key{Alg: ES256, Attachment: "platform", Transports: []string{"internal", "hybrid"},
		AAGUID: [16]byte{0xea, 0x9b, 0x8d, 0x66, 0x4d, 0x01, 0x1d, 0x21, 0x3c, 0xe4, 0xb6, 0xb4, 0x8c, 0xb5, 0x75, 0xd4},
		UP:     true, UV: true, BE: true, BS: true, Attestation: None}
}

// NewDevice returns a key as those of USB are: bound to its device, counting.
func NewDevice() *Key {
	k := New()
	k.Attachment, k.Transports, k.BE, k.BS, k.Counter = "cross-platform", []string{"usb", "nfc"}, false, false, 1
	k.AAGUID = [16]byte{0xcb, 0x69, 0x48, 0x1e, 0x8f, 0xf7, 0x40, 0x39, 0x93, 0xec, 0x0a, 0x27, 0x29, 0xa1, 0x54, 0xa8}
	return k
}

type descriptor struct {
	ID string `json:"id"`
}

// options are what is read of both kinds.
type options struct {
	Challenge string                               `json:"challenge"`
	RP        struct{ ID string }                  `json:"rp"`
	RPID      string                               `json:"rpId"`
	User      struct{ ID string }                  `json:"user"`
	Params    []struct{ Alg int }                  `json:"pubKeyCredParams"`
	Exclude   []descriptor                         `json:"excludeCredentials"`
	Allow     []descriptor                         `json:"allowCredentials"`
	Ext       struct{ AppID, AppIDExclude string } `json:"extensions"`
	PublicKey *options                             `json:"publicKey"`
}

func parse(raw json.RawMessage) *options {
	var o options
	must(json.Unmarshal(raw, &o))
	if o.PublicKey != nil {
		return o.PublicKey
	}
	return &o
}

// Create makes a credential and returns the RegistrationResponseJSON. It
// returns nil where the options exclude the key (InvalidStateError), or offer
// no algorithm that it has and no lie names one (NotSupportedError).
func (k *Key) Create(raw json.RawMessage, lies ...Lie) []byte {
	o := parse(raw)
	for _, c := range k.Credentials {
		// A key of U2F is recognised under the AppID alone.
		if listed(o.Exclude, c.ID) && (c.AppID == "" && c.RPID == o.RP.ID || c.AppID != "" && c.AppID == o.Ext.AppIDExclude) {
			return nil
		}
	}
	s := k.said("webauthn.create", o.Challenge, o.RP.ID)
	s.Flags |= AT
	s.ID, s.Count, s.AAGUID, s.Attestation = random(32), k.Counter, k.AAGUID, k.Attestation
	for _, p := range o.Params {
		if k.Alg == 0 || p.Alg == k.Alg {
			s.Alg = p.Alg
			break
		}
	}
	s.Extensions = map[string]any{"credProps": map[string]any{"rk": true}}
	s.tell(lies)
	if s.Alg == 0 {
		return nil
	}
	key := newSigner(s.Alg)
	c := &Credential{ID: s.ID, RPID: o.RP.ID, User: decode(o.User.ID), Count: s.Count, Public: s.Public, signer: key}
	if c.Public == nil {
		c.Public = key.cose(s.Alg)
	}
	k.Credentials = append(k.Credentials, c)

	auth := s.authenticatorData()
	auth = append(auth, s.AAGUID[:]...)
	auth = binary.BigEndian.AppendUint16(auth, uint16(len(s.ID))) //nolint:gosec // ids that do not fit are nobody's lie
	auth = append(append(auth, s.ID...), c.Public...)
	client := encode(s.Client)
	statement, format := map[string]any{}, "none"
	if s.Attestation != None {
		format = "packed"
		statement = map[string]any{"alg": s.Alg, "sig": flip(key.sign(signed(auth, client)), s.Attestation == Broken)}
	}
	if s.Format != "" {
		statement, format = s.Statement, s.Format
	}
	object := pack(map[string]any{"fmt": format, "attStmt": statement, "authData": auth})
	return s.answer(k, s.ID, map[string]any{
		"clientDataJSON": text(client), "attestationObject": text(object), "authenticatorData": text(auth),
		"publicKeyAlgorithm": s.Alg, "publicKey": text(key.spki()), "transports": k.Transports,
	})
}

// Get proves possession of a credential and returns the
// AuthenticationResponseJSON; nil where the key has none that is asked for and
// no lie names one.
func (k *Key) Get(raw json.RawMessage, lies ...Lie) []byte {
	o := parse(raw)
	s := k.said("webauthn.get", o.Challenge, o.RPID)
	s.appID = o.Ext.AppID
	for _, c := range k.Credentials {
		known := c.AppID == "" && c.RPID == o.RPID || c.AppID != "" && c.AppID == o.Ext.AppID
		if known && (listed(o.Allow, c.ID) || len(o.Allow) == 0 && c.User != nil) {
			s.use(c)
			break
		}
	}
	s.tell(lies)
	if s.c == nil {
		return nil
	}
	s.c.Count = max(s.c.Count, s.Count)
	auth, client := s.authenticatorData(), encode(s.Client)
	signature := flip(s.c.signer.sign(signed(auth, client)), s.WrongSignature)
	response := map[string]any{"clientDataJSON": text(client), "authenticatorData": text(auth), "signature": text(signature)}
	if s.Handle != nil {
		response["userHandle"] = text(s.Handle)
	}
	return s.answer(k, s.ID, response)
}

// BindU2F binds the key under U2F, as the old JavaScript API did, and returns
// the credential: the key handle and the public key of 65 bytes.
func (k *Key) BindU2F(appID string) *Credential {
	key := newSigner(ES256)
	c := &Credential{ID: random(64), AppID: appID, Count: max(k.Counter, 1), Public: key.point(), signer: key}
	k.Credentials = append(k.Credentials, c)
	return c
}

// Credential is the newest one.
func (k *Key) Credential() *Credential { return k.Credentials[len(k.Credentials)-1] }

// A Said is what the key is about to say, for lies to change.
type Said struct {
	Client struct {
		Type        string `json:"type"`
		Challenge   string `json:"challenge"`
		Origin      string `json:"origin"`
		CrossOrigin bool   `json:"crossOrigin"`
		TopOrigin   string `json:"topOrigin,omitempty"`
	}
	RPID           string // whose hash is said
	Flags          byte
	Count          uint32
	ID, Handle     []byte
	AAGUID         [16]byte
	Alg            int
	Attestation    string
	Format         string         // of the attestation; empty: as Attestation says
	Statement      map[string]any // with Format
	Public         []byte         // COSE; nil: that of the key
	Extensions     map[string]any // clientExtensionResults
	WrongSignature bool
	Change         func(credential, response map[string]any) // of the JSON at the end

	c     *Credential
	appID string
}

func (k *Key) said(kind, challenge, rpID string) *Said {
	s := &Said{RPID: rpID, Extensions: map[string]any{}}
	s.Client.Type, s.Client.Challenge, s.Client.Origin = kind, challenge, k.Origin
	if k.Origin == "" {
		s.Client.Origin = "https://" + rpID
	}
	for flag, on := range map[byte]bool{UP: k.UP, UV: k.UV, BE: k.BE, BS: k.BS} {
		if on {
			s.Flags |= flag
		}
	}
	return s
}

// use answers with the credential.
func (s *Said) use(c *Credential) {
	s.c, s.ID, s.Handle, s.Count = c, c.ID, c.User, c.Count
	if s.Count > 0 {
		s.Count++
	}
	if c.AppID != "" { // such a key says nothing but that it was touched
		s.RPID, s.Flags = c.AppID, s.Flags&UP
		s.Extensions["appid"] = true
	} else if s.appID != "" {
		s.Extensions["appid"] = false
	}
}

func (s *Said) tell(lies []Lie) {
	for _, lie := range lies {
		lie(s)
	}
}

func (s *Said) authenticatorData() []byte {
	hash := sha256.Sum256([]byte(s.RPID))
	return binary.BigEndian.AppendUint32(append(hash[:], s.Flags), s.Count)
}

func (s *Said) answer(k *Key, id []byte, response map[string]any) []byte {
	credential := map[string]any{"id": text(id), "rawId": text(id), "type": "public-key", "authenticatorAttachment": k.Attachment,
		"clientExtensionResults": s.Extensions, "response": response}
	if s.Change != nil {
		s.Change(credential, response)
	}
	return encode(credential)
}

func listed(list []descriptor, id []byte) bool {
	return slices.ContainsFunc(list, func(d descriptor) bool { return bytes.Equal(decode(d.ID), id) })
}

func signed(auth, client []byte) []byte {
	hash := sha256.Sum256(client)
	return append(bytes.Clone(auth), hash[:]...)
}

func flip(b []byte, wrong bool) []byte {
	if wrong {
		b[len(b)-1] ^= 1
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(s)
	must(err)
	return b
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	must(err)
	return b
}

func pack(v any) []byte {
	mode, err := cbor.CTAP2EncOptions().EncMode()
	must(err)
	b, err := mode.Marshal(v)
	must(err)
	return b
}

// must stops a test whose options are none.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("softkey: %v", err))
	}
}
