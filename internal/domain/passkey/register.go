package passkey

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
)

// Timeout is how long the browser waits for the authenticator.
const Timeout = 5 * time.Minute

// Creation are the options to make a passkey: discoverable, and with
// verification of the user (PublicKeyCredentialCreationOptionsJSON, WebAuthn
// §5.1.9). None is made on an authenticator that holds one of have already.
func (rp *RelyingParty) Creation(challenge []byte, u User, have []Credential) (json.RawMessage, error) {
	o := protocol.PublicKeyCredentialCreationOptions{
		RelyingParty:           protocol.RelyingPartyEntity{ID: rp.ID, CredentialEntity: protocol.CredentialEntity{Name: rp.Name}},
		User:                   protocol.UserEntity{ID: protocol.URLEncodedBase64(u.Handle), DisplayName: u.DisplayName, CredentialEntity: protocol.CredentialEntity{Name: u.Name}},
		Challenge:              challenge,
		Parameters:             parameters,
		Timeout:                int(Timeout.Milliseconds()),
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired},
		Attestation:            protocol.PreferNoAttestation,
	}
	if rp.Direct {
		o.Attestation = protocol.PreferDirectAttestation
	}
	for _, c := range have {
		if c.IsU2F() {
			if !rp.Answers(c) {
				continue
			}
			if o.Extensions.AppIDExclude == "" {
				o.Extensions.AppIDExclude = c.AppID
			}
		}
		o.CredentialExcludeList = append(o.CredentialExcludeList, descriptor(c))
	}
	return json.Marshal(o)
}

// Answers reports whether browsers let pages of ours use the key. One that was
// bound under U2F at another site they do not, and end the whole ceremony that
// names its AppID (WebAuthn §10.1.1).
func (rp *RelyingParty) Answers(c Credential) bool {
	return !c.IsU2F() || slices.ContainsFunc(rp.Origins, func(origin string) bool { return site(origin) != "" && site(origin) == site(c.AppID) })
}

// site is the end of the host in an https URL by which browsers compare sites;
// empty where there is none. It knows no list of public suffixes.
func site(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" {
		return ""
	}
	labels := strings.Split(strings.ToLower(u.Hostname()), ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}

func descriptor(c Credential) protocol.CredentialDescriptor {
	d := protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: c.ID}
	for _, t := range c.Transports {
		d.Transport = append(d.Transport, protocol.AuthenticatorTransport(t))
	}
	return d
}

// A clientData is what the browser says of a ceremony (WebAuthn §5.8.1).
type clientData struct {
	Type        string `json:"type"`
	Challenge   string `json:"challenge"`
	Origin      string `json:"origin"`
	CrossOrigin bool   `json:"crossOrigin"`
	TopOrigin   string `json:"topOrigin"`
}

// checkClient compares what the browser says with what was asked for.
func (rp *RelyingParty) checkClient(raw []byte, kind protocol.CeremonyType) error {
	var c clientData
	if err := json.Unmarshal(raw, &c); err != nil {
		return because(ErrMalformed, "malformed")
	}
	switch {
	case c.Type != string(kind):
		return because(ErrRefused, "type")
	case !slices.Contains(rp.Origins, c.Origin): // browsers serialize an origin in one way
		return because(ErrRefused, "origin")
	case c.CrossOrigin, c.TopOrigin != "":
		return because(ErrRefused, "cross_origin")
	}
	return nil
}

// ChallengeOf is the challenge that a RegistrationResponseJSON answers.
func ChallengeOf(response []byte) ([]byte, error) {
	var r struct {
		Response struct {
			ClientDataJSON protocol.URLEncodedBase64 `json:"clientDataJSON"`
		} `json:"response"`
	}
	if len(response) > answerMaxBytes || json.Unmarshal(response, &r) != nil {
		return nil, because(ErrMalformed, "malformed")
	}
	return challengeIn(r.Response.ClientDataJSON)
}

func challengeIn(raw []byte) ([]byte, error) {
	var c clientData
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, because(ErrMalformed, "malformed")
	}
	challenge, err := base64.RawURLEncoding.DecodeString(c.Challenge)
	if err != nil || len(challenge) == 0 || len(challenge) > 2*ChallengeBytes {
		return nil, because(ErrMalformed, "malformed")
	}
	return challenge, nil
}

// flagsOf checks the flags of authenticator data that mean the same at
// registration and assertion.
func flagsOf(f protocol.AuthenticatorFlags) error {
	switch {
	case !f.HasUserPresent():
		return because(ErrRefused, "presence")
	case f.HasBackupState() && !f.HasBackupEligible():
		return because(ErrRefused, "backup")
	}
	return nil
}

// Register checks a RegistrationResponseJSON (WebAuthn §7.1) whose challenge
// the caller has used up, and returns the passkey that it made.
func (rp *RelyingParty) Register(response []byte, limits Lists) (c Credential, err error) {
	if len(response) > answerMaxBytes {
		return c, because(ErrMalformed, "malformed")
	}
	p, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return c, because(ErrMalformed, "malformed")
	}
	if err := rp.checkClient(p.Raw.AttestationResponse.ClientDataJSON, protocol.CreateCeremony); err != nil {
		return c, err
	}
	if _, err := challengeIn(p.Raw.AttestationResponse.ClientDataJSON); err != nil {
		return c, err
	}
	auth := &p.Response.AttestationObject.AuthData
	hash := sha256.Sum256([]byte(rp.ID))
	if !bytes.Equal(auth.RPIDHash, hash[:]) {
		return c, because(ErrRefused, "rp_id")
	}
	if err := flagsOf(auth.Flags); err != nil {
		return c, err
	}
	switch {
	case !auth.Flags.HasUserVerified():
		return c, because(ErrRefused, "verification")
	case len(auth.AttData.CredentialID) == 0 || len(auth.AttData.CredentialID) > IDMaxBytes || !bytes.Equal(p.RawID, auth.AttData.CredentialID):
		return c, because(ErrRefused, "id")
	}
	if err := checkKey(auth.AttData.CredentialPublicKey); err != nil {
		return c, err
	}
	copy(c.AAGUID[:], auth.AttData.AAGUID)
	if err := rp.limits(c.AAGUID, auth.Flags.HasBackupEligible(), limits); err != nil {
		return c, err
	}
	challenge := p.Response.CollectedClientData.Challenge
	_, err = p.Verify(challenge, rp.ID, rp.Origins, nil, nil, protocol.TopOriginExplicitVerificationMode, false, true, true, rp.Metadata, parameters, protocol.AttestationPolicy{}, protocol.SignaturePolicy{})
	if err != nil {
		return c, because(ErrRefused, "attestation")
	}
	if rp.Direct && p.Response.AttestationObject.Format == string(protocol.AttestationFormatNone) && rp.chooses(limits) {
		return c, because(ErrNotAllowed, "attestation") // its model is a claim that nothing backs
	}
	c.ID, c.PublicKey, c.SignCount = auth.AttData.CredentialID, auth.AttData.CredentialPublicKey, auth.Counter
	c.BackupEligible, c.BackedUp, c.Verified = auth.Flags.HasBackupEligible(), auth.Flags.HasBackupState(), true
	c.Format = p.Response.AttestationObject.Format
	for _, t := range p.Response.Transports {
		if len(c.Transports) < 8 && knownTransport(string(t)) {
			c.Transports = append(c.Transports, string(t))
		}
	}
	if limits.Plugged && !c.plugged() {
		return c, because(ErrAnotherKey, "another")
	}
	return c, nil
}

// knownTransport keeps what is passed on to browsers to words of the standard
// (WebAuthn §5.8.4).
func knownTransport(t string) bool {
	return slices.Contains([]string{"usb", "nfc", "ble", "smart-card", "hybrid", "internal"}, t)
}

func (rp *RelyingParty) chooses(own Lists) bool {
	return len(rp.Allow)+len(rp.Deny)+len(own.Allow)+len(own.Deny) > 0
}

// limits applies the lists of the operator, and those of the account.
func (rp *RelyingParty) limits(a AAGUID, synced bool, own Lists) error {
	for _, l := range []Lists{rp.Lists, own} {
		switch {
		case l.NoSynced && synced:
			return because(ErrSynced, "synced")
		case len(l.Allow) > 0 && !slices.Contains(l.Allow, a), slices.Contains(l.Deny, a):
			return because(ErrNotAllowed, "aaguid")
		}
	}
	return nil
}
