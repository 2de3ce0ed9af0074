package browsertest

import (
	"crypto/ecdsa"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/cdproto/webauthn"
)

// An Authenticator is what somebody before a tab holds passkeys on: Chromium's
// virtual one.
type Authenticator struct {
	tab *Tab
	id  webauthn.AuthenticatorID
}

// A Kind of authenticator.
type Kind = webauthn.VirtualAuthenticatorOptions

// Laptop is the one of the device itself, whose password manager keeps
// passkeys elsewhere too. It unlocks by itself, as if with a finger on it.
func Laptop() Kind {
	return Kind{Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
		IsUserVerified: true, AutomaticPresenceSimulation: true, DefaultBackupEligibility: true, DefaultBackupState: true}
}

// Phone is one nearby, reached over hybrid transport.
func Phone() Kind {
	k := Laptop()
	k.Transport = webauthn.AuthenticatorTransportCable
	return k
}

// SecurityKey is one on USB, with a PIN; passkeys do not leave it.
func SecurityKey() Kind {
	k := Laptop()
	k.Ctap2version, k.Transport = webauthn.Ctap2versionCtap21, webauthn.AuthenticatorTransportUsb
	k.DefaultBackupEligibility, k.DefaultBackupState = false, false
	return k
}

// Touched is a security key that has neither PIN nor room for passkeys: it
// proves a touch.
func Touched() Kind {
	k := SecurityKey()
	k.Ctap2version, k.HasResidentKey, k.HasUserVerification, k.IsUserVerified = webauthn.Ctap2versionCtap20, false, false, false
	return k
}

// Old is a security key of the time before passkeys: U2F.
func Old() Kind {
	k := Touched()
	k.Protocol = webauthn.AuthenticatorProtocolU2f
	return k
}

// Holds gives somebody before the tab an authenticator.
func (b *Tab) Holds(k Kind) *Authenticator {
	b.T.Helper()
	call(b, webauthn.Enable, webauthn.EnableParams{})
	r := call(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &k})
	return &Authenticator{tab: b, id: r.AuthenticatorID}
}

// Lost takes the authenticator away.
func (a *Authenticator) Lost() {
	a.tab.T.Helper()
	call(a.tab, webauthn.RemoveVirtualAuthenticator, webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: a.id})
}

// Touch says whether somebody touches the authenticator when it asks; else it
// waits until the page or the person gives up.
func (a *Authenticator) Touch(ready bool) {
	a.tab.T.Helper()
	call(a.tab, webauthn.SetAutomaticPresenceSimulation, webauthn.SetAutomaticPresenceSimulationParams{AuthenticatorID: a.id, Enabled: ready})
}

// Answers clicks what asks for a passkey and leads to another page, and touches
// the authenticator once the suggestion is out of the way, which would take the
// touch, and before the page asks: who asks an untouched one waits for good.
func (a *Authenticator) Answers(selector string) {
	a.tab.T.Helper()
	Eval[any](a.tab, `(() => {
		const get = navigator.credentials.get.bind(navigator.credentials), touched = new Promise(done => { window.touched = done });
		navigator.credentials.get = async asked => { if (asked.mediation !== 'conditional') await touched; return get(asked) };
	})()`)
	a.tab.leaving(func() {
		a.tab.Click(selector)
		a.Touch(true)
		Eval[any](a.tab, "touched()")
	})
}

// Unlock says whether finger, face or PIN are right when it asks for them.
func (a *Authenticator) Unlock(right bool) {
	a.tab.T.Helper()
	call(a.tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: a.id, IsUserVerified: right})
}

// Lies makes it answer with a signature of nothing.
func (a *Authenticator) Lies(on bool) {
	a.tab.T.Helper()
	call(a.tab, webauthn.SetResponseOverrideBits, webauthn.SetResponseOverrideBitsParams{AuthenticatorID: a.id, IsBogusSignature: &on})
}

// Counts sets the counter of a credential.
func (a *Authenticator) Counts(credential []byte, to float64) {
	a.tab.T.Helper()
	call(a.tab, webauthn.SetCredentialProperties, webauthn.SetCredentialPropertiesParams{AuthenticatorID: a.id, CredentialID: credential, SignCount: &to})
}

// Passkeys are the credentials that it has.
func (a *Authenticator) Passkeys() []*webauthn.Credential {
	a.tab.T.Helper()
	return call(a.tab, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: a.id}).Credentials
}

// Becomes waits until it has that many passkeys: pages tell browsers which
// ones are still good.
func (a *Authenticator) Becomes(n int) {
	a.tab.T.Helper()
	var have int
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if have = len(a.Passkeys()); have == n {
			return
		}
	}
	a.tab.fail("the authenticator has %d passkeys, want %d", have, n)
}

// Deletes is what somebody does in the settings of the device.
func (a *Authenticator) Deletes() {
	a.tab.T.Helper()
	call(a.tab, webauthn.ClearCredentials, webauthn.ClearCredentialsParams{AuthenticatorID: a.id})
}

// added is the typed command without what this Chromium does not know.
var added = cdp.Command[map[string]any, cdp.Empty]{Method: webauthn.CommandAddCredential}

// Copy is another authenticator of the same kind with the same passkeys: in
// another browser of theirs, or a clone.
func (a *Authenticator) Copy(to *Tab, k Kind) *Authenticator {
	to.T.Helper()
	copied := to.Holds(k)
	for _, c := range a.Passkeys() {
		credential := map[string]any{"credentialId": c.CredentialID, "isResidentCredential": c.IsResidentCredential, "rpId": c.RpID, "privateKey": c.PrivateKey, "signCount": c.SignCount,
			"backupEligibility": c.BackupEligibility, "backupState": c.BackupState}
		if c.UserHandle != nil {
			credential["userHandle"] = c.UserHandle
		}
		call(to, added, map[string]any{"authenticatorId": copied.id, "credential": credential})
	}
	return copied
}

// Carries puts a key into the authenticator, made long ago for rp.
func (a *Authenticator) Carries(rp string, handle []byte, key *ecdsa.PrivateKey, counter int) {
	a.tab.T.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	a.tab.must(err)
	call(a.tab, added, map[string]any{"authenticatorId": a.id, "credential": map[string]any{"credentialId": handle, "isResidentCredential": false, "rpId": rp, "privateKey": der, "signCount": counter}})
}

// TrustsAnybody lets every certificate pass, and no complaint comes of pages
// that are reached over TLS.
func (b *Tab) TrustsAnybody() {
	b.T.Helper()
	call(b, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
	b.T.Cleanup(func() {
		b.mutex.Lock()
		defer b.mutex.Unlock()
		b.complaint = slices.DeleteFunc(b.complaint, func(c string) bool { return strings.HasPrefix(c, "request to "+b.Site.URL+"/") })
	})
}
