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

// Check checks an answer (WebAuthn §7.2) whose challenge the caller has used
// up, made with c; alone: without a password before.
func (rp *RelyingParty) Check(a *Answer, c Credential, alone bool) (r Result, err error) {
	if !bytes.Equal(a.ID, c.ID) {
		return r, ErrNoSuch
	}
	if c.IsU2F() && alone {
		return r, because(ErrRefused, "u2f")
	}
	p := a.parsed
	if err := rp.checkClient(p.Raw.AssertionResponse.ClientDataJSON, protocol.AssertCeremony); err != nil {
		return r, err
	}
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
	if err := flagsOf(auth.Flags); err != nil {
		return r, err
	}
	switch {
	case alone && !auth.Flags.HasUserVerified():
		return r, because(ErrRefused, "verification")
	case auth.Flags.HasBackupEligible() != c.BackupEligible:
		return r, because(ErrRefused, "backup")
	}
	err = p.Verify(p.Response.CollectedClientData.Challenge, rp.ID, c.AppID, rp.Origins, nil, nil, protocol.TopOriginExplicitVerificationMode, false, alone, true, c.PublicKey, protocol.SignaturePolicy{})
	if err != nil {
		return r, because(ErrUnknown, "signature")
	}
	r = Result{Verified: auth.Flags.HasUserVerified(), BackedUp: auth.Flags.HasBackupState(), SignCount: auth.Counter}
	if (r.SignCount != 0 || c.SignCount != 0) && r.SignCount <= c.SignCount {
		return r, ErrCounter
	}
	return r, nil
}
