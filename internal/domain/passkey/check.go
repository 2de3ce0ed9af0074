package passkey

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"

	"github.com/go-webauthn/webauthn/protocol"
)

// Request are the options to prove with one of allow, which are all passkeys
// or all U2F keys; or, alone, with any passkey that names its user
// (PublicKeyCredentialRequestOptionsJSON, WebAuthn §5.1.10). Alone it takes
// verification of the user, after a password that is preferred.
func (rp *RelyingParty) Request(challenge []byte, allow []Credential, alone bool) (json.RawMessage, error) {
	o := protocol.PublicKeyCredentialRequestOptions{Challenge: challenge, Timeout: int(Timeout.Milliseconds()), RelyingPartyID: rp.ID, UserVerification: protocol.VerificationPreferred}
	if alone {
		o.UserVerification = protocol.VerificationRequired
		return json.Marshal(o)
	}
	for _, c := range allow {
		if c.IsU2F() {
			if !rp.Answers(c) {
				continue
			}
			if o.Extensions.AppID == "" {
				o.Extensions.AppID = c.AppID
			}
			if c.AppID != o.Extensions.AppID { // one ceremony carries one AppID
				continue
			}
			o.UserVerification = protocol.VerificationDiscouraged // U2F has none
		}
		o.AllowedCredentials = append(o.AllowedCredentials, descriptor(c))
	}
	return json.Marshal(o)
}

// An Answer is an AuthenticationResponseJSON (WebAuthn §5.1.7.2) that could be
// read.
type Answer struct {
	ID         []byte
	UserHandle []byte // empty: none was given
	Challenge  []byte

	parsed *protocol.ParsedCredentialAssertionData
}

// ParseAnswer reads an answer. It checks nothing.
func ParseAnswer(response []byte) (*Answer, error) {
	if len(response) > answerMaxBytes {
		return nil, because(ErrMalformed, "malformed")
	}
	p, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, because(ErrMalformed, "malformed")
	}
	challenge, err := challengeIn(p.Raw.AssertionResponse.ClientDataJSON)
	if err != nil {
		return nil, err
	}
	return &Answer{ID: p.RawID, UserHandle: p.Response.UserHandle, Challenge: challenge, parsed: p}, nil
}

// A Result is what an assertion says.
type Result struct {
	Verified  bool // the authenticator says that it verified the user
	BackedUp  bool
	SignCount uint32
}

// ErrCounter says that the signature counter did not grow: the key may have
// been copied (WebAuthn §6.1.1).
var ErrCounter = because(ErrRefused, "counter")

// ErrForeign says that the passkey is not that of the user it was asked of.
var ErrForeign = because(ErrUnknown, "user_handle")

// ErrNoSuch says that there is no passkey of the id.
var ErrNoSuch = because(ErrUnknown, "unknown")

// ErrStale says that the challenge was used, has expired, or is another's.
var ErrStale = because(ErrExpired, "challenge")

// Sound checks what an answer says by itself, before anybody looks whose
// passkey it is: nobody learns from a refusal which ones there are.
func (rp *RelyingParty) Sound(a *Answer, alone bool) error {
	p := a.parsed
	if err := rp.checkClient(p.Raw.AssertionResponse.ClientDataJSON, protocol.AssertCeremony); err != nil {
		return err
	}
	auth := &p.Response.AuthenticatorData
	if err := flagsOf(auth.Flags); err != nil || !alone {
		return err
	}
	hash := sha256.Sum256([]byte(rp.ID))
	switch {
	case !bytes.Equal(auth.RPIDHash, hash[:]):
		return because(ErrRefused, "rp_id")
	case !auth.Flags.HasUserVerified():
		return because(ErrRefused, "verification")
	}
	return nil
}

// Check checks an answer (WebAuthn §7.2) whose challenge the caller has used
// up, made with c; alone: without a password before.
func (rp *RelyingParty) Check(a *Answer, c Credential, alone bool) (r Result, err error) {
	if err := rp.Sound(a, alone); err != nil {
		return r, err
	}
	switch {
	case !bytes.Equal(a.ID, c.ID):
		return r, ErrNoSuch
	case c.IsU2F() && alone:
		return r, because(ErrUnknown, "u2f")
	}
	p := a.parsed
	scope := rp.ID
	if c.IsU2F() { // its key signs for the AppID alone, and the browser must say so (WebAuthn §10.1.1)
		if used := p.ClientExtensionResults.AppID; used == nil || !*used {
			return r, because(ErrRefused, "appid")
		}
		scope = c.AppID
	}
	auth := &p.Response.AuthenticatorData
	hash := sha256.Sum256([]byte(scope))
	if !bytes.Equal(auth.RPIDHash, hash[:]) {
		return r, because(ErrRefused, "rp_id")
	}
	err = p.Verify(p.Response.CollectedClientData.Challenge, rp.ID, c.AppID, rp.Origins, nil, nil, protocol.TopOriginExplicitVerificationMode, false, alone, true, c.PublicKey, protocol.SignaturePolicy{})
	if err != nil {
		return r, because(ErrUnknown, "signature")
	}
	if auth.Flags.HasBackupEligible() != c.BackupEligible {
		return r, because(ErrRefused, "backup")
	}
	r = Result{Verified: auth.Flags.HasUserVerified(), BackedUp: auth.Flags.HasBackupState(), SignCount: auth.Counter}
	if (r.SignCount != 0 || c.SignCount != 0) && r.SignCount <= c.SignCount {
		return r, ErrCounter
	}
	return r, nil
}
