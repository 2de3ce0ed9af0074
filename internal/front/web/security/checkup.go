package security

import (
	"net/http"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/posture"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
)

// A check is one thing to look at, and where.
type check struct {
	posture.Item
	Link string
}

// checkup says what to look at; what cannot be done on this server is left out.
func (p *Pages) checkup(r *http.Request, s prove.Signed, o selfservice.Overview) (checks []check, err error) {
	items, err := p.flow.Checkup(r.Context(), s, o)
	if err != nil {
		return nil, err
	}
	newCodes := false
	for _, item := range items {
		if item.Key == posture.CodesUnsaved {
			codes, err := p.flow.NewRecoveryCodes(r.Context(), s)
			if err != nil {
				return nil, err
			}
			newCodes = codes != nil
		}
	}
	for _, item := range items {
		if link := checkLink(item.Key, o, newCodes, p.flow.Passkeys != nil); link != "" {
			checks = append(checks, check{item, link})
		}
	}
	return checks, nil
}

// checkLinks are where most things are looked at.
var checkLinks = map[string]string{
	posture.CheckDue:         "/security/check",
	posture.NoSecondFactor:   "/security/virtual-mfa/bind",
	posture.KeyCopied:        passkeysPath,
	posture.EmailUnconfirmed: "/security/email",
	posture.NewSignIn:        "/security/history",
	posture.CodesUnsaved:     "/security/recovery-codes",
	posture.CodesGone:        "/security/recovery-codes",
	posture.CodesFew:         "/security/recovery-codes",
	posture.CodesOld:         "/security/recovery-codes",
	posture.SMSOnly:          "/security/virtual-mfa/bind",
	posture.PasswordExpires:  "/security/password",
	posture.KeyOnlyHere:      passkeysPath,
}

// checkLink is where a thing is looked at; empty: it cannot be helped here.
func checkLink(key string, o selfservice.Overview, newCodes, passkeys bool) string {
	switch key {
	case posture.UsedRecoveryCode:
		switch {
		case o.Facts.Protection.Method == factor.VirtualMFA:
			return "/security/protection"
		case o.Facts.VirtualMFA:
			return "/security/virtual-mfa"
		case len(o.Passkeys) > 0:
			return passkeysPath
		}
		return "/security/phone/change"
	case posture.CodesUnsaved:
		if newCodes {
			return "/security/recovery-codes/new"
		}
	case posture.OldKey:
		for _, k := range o.Passkeys {
			if k.IsU2F() && passkeys {
				return passkeyPath(k.ID) + "/upgrade"
			}
		}
		return ""
	case posture.SecondKind:
		switch {
		case !o.Facts.VirtualMFA:
			return "/security/virtual-mfa/bind"
		case passkeys:
			return passkeysPath + "/new"
		case o.Facts.Allows(factor.SMS):
			return "/security/phone/change"
		}
		return ""
	}
	return checkLinks[key]
}
