package security

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

// protectionPage shows what is on since when; it is the result page too.
type protectionPage struct {
	page.Base
	On               bool
	Method           factor.Method
	Authenticator    string // the device's name, or the number masked
	Scenarios        []scenarioRow
	Since, ChangedAt time.Time
	Bound            factor.Method   // that every sign-in asks for already: passkey or virtual MFA; empty: none
	Stronger         []factor.Method // bound methods that are stronger and count too
	CodesLeft        int
	NewCodes         bool // recovery codes were made that are not called saved yet
}

// scenarioRow is one scenario, chosen or not.
type scenarioRow struct {
	Name string // sign-in, change-password, change-contact, manage-mfa
	On   bool
}

// methodRow is one verification method that can be chosen.
type methodRow struct {
	Method        factor.Method
	On            bool
	Bound         bool
	Authenticator string // the device's name, or the number masked
	Down          bool   // text messages: no sender is configured
}

// protectionFormPage is where scenarios and the method are chosen.
type protectionFormPage struct {
	page.Base
	Edit      bool // protection is on already
	Scenarios []scenarioRow
	Methods   []methodRow
}

// protectionConfirmPage says what will happen, before anything is saved.
type protectionConfirmPage struct {
	page.Base
	Ceremony  string
	Edit      bool
	Method    factor.Method
	Scenarios []scenarioRow   // chosen and not
	Added     []string        // on an edit: scenarios that were off
	Dropped   []string        // and that were on
	Stronger  []factor.Method // bound methods that are stronger and count too
	Missing   bool            // the method has nothing bound yet: it is set up after the identity verification
	Unused    factor.Method   // the method that protected so far, when another takes its place; empty: none
}

// protectionOffPage asks whether protection shall be turned off.
type protectionOffPage struct {
	page.Base
	Method        factor.Method
	Bound         factor.Method // that sign-in goes on asking for; empty: none
	PasswordShort bool          // the password may not stand alone: it must be changed first
	Email         string
}

func scenarioRows(chosen []policy.Scenario) (rows []scenarioRow) {
	for _, s := range policy.Scenarios {
		rows = append(rows, scenarioRow{string(s), slices.Contains(chosen, s)})
	}
	return rows
}

// authenticator is what someone calls the authenticator of a method: of
// several passkeys the first.
func authenticator(o selfservice.Overview, m factor.Method) string {
	switch m {
	case factor.SMS:
		return o.Phone.Number.Mask()
	case factor.Passkey:
		for _, k := range o.Passkeys {
			if !k.IsU2F() {
				return k.Name
			}
		}
		return ""
	}
	return o.VirtualMFA.Name
}

// always is the method bound that every sign-in asks for, whatever Account
// Protection covers.
func always(facts policy.Facts) factor.Method {
	switch {
	case facts.Passkeys > 0:
		return factor.Passkey
	case facts.U2F > 0:
		return factor.U2F
	case facts.VirtualMFA:
		return factor.VirtualMFA
	}
	return ""
}

// stronger are the methods bound that count too where m is asked.
func stronger(facts policy.Facts, m factor.Method) (methods []factor.Method) {
	bound := map[factor.Method]bool{factor.Passkey: facts.Passkeys > 0, factor.U2F: facts.U2F > 0, factor.VirtualMFA: facts.VirtualMFA}
	for _, one := range []factor.Method{factor.Passkey, factor.U2F, factor.VirtualMFA} {
		if bound[one] && (one.Strength() > m.Strength() || one == factor.U2F && m == factor.Passkey) {
			methods = append(methods, one)
		}
	}
	return methods
}

func (p *Pages) showProtection(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	codes, err := p.flow.NewRecoveryCodes(r.Context(), s)
	if err != nil {
		return err
	}
	on := o.Facts.Protection
	return p.protection.Render(w, r, http.StatusOK, protectionPage{Base: p.kit.SignedBase(w, r, s), On: on.On(), Method: on.Method, Authenticator: authenticator(o, on.Method),
		Scenarios: scenarioRows(on.Scenarios), Since: on.Since, ChangedAt: on.ChangedAt, Bound: always(o.Facts), Stronger: stronger(o.Facts, on.Method), CodesLeft: o.CodesLeft, NewCodes: codes != nil})
}

func (p *Pages) showProtectionForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	chosen, m := o.Facts.Protection.Scenarios, o.Facts.Protection.Method
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	if u, err := p.flow.ProtectionSetup(r.Context(), p.kit.Visitor(r), s, q.Get("c")); err == nil { // what was chosen before
		chosen, m = u.Wanted.Scenarios, u.Wanted.Method
	}
	return p.renderProtectionForm(w, r, http.StatusOK, p.kit.SignedBase(w, r, s), o, chosen, m)
}

func (p *Pages) renderProtectionForm(w http.ResponseWriter, r *http.Request, status int, b page.Base, o selfservice.Overview, chosen []policy.Scenario, m factor.Method) error {
	b.Path = "/security/protection/setup"
	data := protectionFormPage{Base: b, Edit: o.Facts.Protection.On(), Scenarios: scenarioRows(chosen)}
	for _, one := range policy.ProtectionMethods {
		if one == factor.Passkey && p.flow.Passkeys == nil && m != one {
			continue // this server has no name that passkeys work under
		}
		data.Methods = append(data.Methods, methodRow{one, one == m, authenticator(o, one) != "", authenticator(o, one), p.flow.Sending.Can(one) != nil})
	}
	return p.protectionForm.Render(w, r, status, data)
}

func (p *Pages) submitProtectionForm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r, "scenario")
	var chosen []policy.Scenario
	for _, name := range f.All("scenario") {
		chosen = append(chosen, policy.Scenario(name))
	}
	m := factor.Method(f.Get("method"))
	var id string
	if err == nil {
		id, err = p.flow.BeginProtection(r.Context(), p.kit.Visitor(r), s, chosen, m)
	}
	if err == nil {
		p.kit.SeeOther(w, r, "/security/protection/confirm?c="+url.QueryEscape(id))
		return nil
	}
	b := p.kit.SignedBase(w, r, s)
	status, ok := p.kit.Refuse(w, r, &b, err)
	if !ok {
		return err
	}
	o, oerr := p.flow.Overview(r.Context(), s)
	if oerr != nil {
		return oerr
	}
	return p.renderProtectionForm(w, r, status, b, o, chosen, m)
}

// showProtectionStep shows what a choice takes next: the summary, or what is
// to be set up.
func (p *Pages) showProtectionStep(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	return p.renderProtectionStep(w, r, s, http.StatusOK, p.kit.SignedBase(w, r, s), q.Get("c"), q.Has("number"), request.Form{})
}

// renderProtectionStep shows the step; number shows the form of the phone once
// more, typed fills it.
func (p *Pages) renderProtectionStep(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, b page.Base, id string, number bool, typed request.Form) error {
	u, err := p.flow.ProtectionSetup(r.Context(), p.kit.Visitor(r), s, id)
	if err != nil {
		return err
	}
	back := "?c=" + url.QueryEscape(id)
	b.Path = "/security/protection/confirm" + back
	const cancel = "/security/protection"
	ofAll := func(step int) page.Part {
		if !u.NewOne || u.Wanted.Method != factor.SMS {
			return page.Part{}
		}
		return page.Part{Step: step, Of: 2}
	}
	switch {
	case u.Step == selfservice.StepPasskey:
		return p.newPasskey(w, r, s, status, passkeyNewPage{Base: b, Action: "/security/protection/passkey", Ceremony: id, Cancel: cancel, Options: u.Options})
	case u.Step == selfservice.StepDevice:
		return p.enrol.Key(w, r, status, page.KeyPage{Base: b, Binding: u.Binding, DeviceName: typed.Get("name"), One: true, Action: "/security/protection/device", Cancel: cancel})
	case u.Step == selfservice.StepNumber, u.Step == selfservice.StepCode && u.NewOne && number:
		data := page.PhonePage{Base: b, Action: "/security/protection/phone", Ceremony: id, Cancel: cancel, Country: typed.Get("country"), Phone: typed.Get("phone"), Part: ofAll(1)}
		if data.Phone == "" && u.Phone != "" {
			data.Country, data.Phone = u.Country, u.Phone.International()
		}
		return p.enrol.Phone(w, r, status, data)
	case u.Step == selfservice.StepCode:
		data := page.ConfirmPage{Base: b, Action: "/security/protection/code", Ceremony: id, Cancel: cancel, Kind: string(factor.SMS), Destination: u.Phone.Mask(),
			Digits: u.Digits, Resend: seconds(u.Resend), Valid: u.Valid, Sent: u.Sent, Failed: u.Failed, Delayed: u.Delayed, Part: ofAll(2)}
		if u.NewOne {
			data.Destination, data.Change = u.Phone.International(), "/security/protection/confirm"+back+"&number=1"
		}
		return p.enrol.Confirm(w, r, status, data)
	}
	data := protectionConfirmPage{Base: b, Ceremony: id, Edit: u.Present.On(), Method: u.Wanted.Method, Scenarios: scenarioRows(u.Wanted.Scenarios),
		Missing: unset(u.Facts, u.Wanted.Method), Stronger: stronger(u.Facts, u.Wanted.Method)}
	if data.Edit {
		data.Added, data.Dropped = lacking(u.Wanted, u.Present), lacking(u.Present, u.Wanted)
		if u.Present.Method != u.Wanted.Method {
			data.Unused = u.Present.Method
		}
	}
	return p.protectionConfirm.Render(w, r, status, data)
}

// unset reports whether nothing is bound of the method.
func unset(facts policy.Facts, m factor.Method) bool {
	switch m {
	case factor.Passkey:
		return facts.Passkeys == 0
	case factor.VirtualMFA:
		return !facts.VirtualMFA
	}
	return !facts.Phone
}

// lacking are the scenarios of a that b has not.
func lacking(a, b policy.Protection) (names []string) {
	for _, s := range a.Scenarios {
		if !b.Covers(s) {
			names = append(names, string(s))
		}
	}
	return names
}

// protectionRefused shows the step again with the reason, or verifies first.
func (p *Pages) protectionRefused(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form, refusal error) error {
	id := f.Get("c")
	if errors.Is(refusal, prove.ErrVerifyFirst) {
		u, err := p.flow.ProtectionSetup(r.Context(), p.kit.Visitor(r), s, id)
		if err != nil {
			return err
		}
		return p.verifyFor(w, r, s, u.Action, "/security/protection/confirm?c="+url.QueryEscape(id))
	}
	b := p.kit.SignedBase(w, r, s)
	status, ok := p.kit.Refuse(w, r, &b, refusal)
	if !ok {
		return refusal
	}
	return p.renderProtectionStep(w, r, s, status, b, id, f.Has("phone"), f)
}

func (p *Pages) protectionSaved(w http.ResponseWriter, r *http.Request, token secret.Token) {
	p.kit.SetSession(w, token)
	p.kit.Done(w, r, "/security/protection", "protection_on")
}

func (p *Pages) submitProtectionConfirm(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	return p.saveProtection(w, r, s, f)
}

func (p *Pages) resumeProtection(w http.ResponseWriter, r *http.Request, s prove.Signed, query request.Form) error {
	return p.saveProtection(w, r, s, query)
}

// saveProtection saves what was chosen, or shows what is missing.
func (p *Pages) saveProtection(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	next, token, err := p.flow.SaveProtection(r.Context(), p.kit.Visitor(r), s, f.Get("c"))
	switch {
	case err != nil:
		return p.protectionRefused(w, r, s, f, err)
	case next == selfservice.StepSave:
		p.protectionSaved(w, r, token)
	default:
		p.kit.SeeOther(w, r, "/security/protection/confirm?c="+url.QueryEscape(f.Get("c")))
	}
	return nil
}

func (p *Pages) submitProtectionDevice(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	token, err := p.flow.SetupDevice(r.Context(), p.kit.Visitor(r), s, f.Get("c"), f.Get("name"), f.Get("code"))
	if err != nil {
		return p.protectionRefused(w, r, s, f, err)
	}
	p.protectionSaved(w, r, token)
	return nil
}

func (p *Pages) submitProtectionPasskey(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	token, err := p.flow.SetupPasskey(r.Context(), p.kit.Visitor(r), s, f.Get("c"), f.Get("name"), []byte(f.Get("credential")))
	if err != nil {
		return p.protectionRefused(w, r, s, f, err)
	}
	p.protectionSaved(w, r, token)
	return nil
}

func (p *Pages) submitProtectionPhone(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	if err := p.flow.SetupNumber(r.Context(), p.kit.Visitor(r), s, f.Get("c"), f.Get("country"), f.Get("phone")); err != nil {
		return p.protectionRefused(w, r, s, f, err)
	}
	p.kit.SeeOther(w, r, "/security/protection/confirm?c="+url.QueryEscape(f.Get("c")))
	return nil
}

func (p *Pages) sendProtectionCode(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	if err := p.flow.SendSetup(r.Context(), p.kit.Visitor(r), s, f.Get("c")); err != nil {
		return p.protectionRefused(w, r, s, f, err)
	}
	p.kit.SeeOther(w, r, "/security/protection/confirm?c="+url.QueryEscape(f.Get("c")))
	return nil
}

func (p *Pages) submitProtectionCode(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	token, err := p.flow.SetupCode(r.Context(), p.kit.Visitor(r), s, f.Get("c"), f.Get("code"))
	if err != nil {
		return p.protectionRefused(w, r, s, f, err)
	}
	p.protectionSaved(w, r, token)
	return nil
}

func (p *Pages) showProtectionOff(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	if !o.Facts.Protection.On() {
		p.kit.SeeOther(w, r, "/security/protection")
		return nil
	}
	bound := always(o.Facts)
	return p.protectionOff.Render(w, r, http.StatusOK, protectionOffPage{p.kit.SignedBase(w, r, s), o.Facts.Protection.Method, bound,
		bound == "" && !s.Identity.PasswordAlone, s.Identity.Email})
}

func (p *Pages) submitProtectionOff(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	return p.resumeOff(w, r, s, request.Form{})
}

func (p *Pages) resumeOff(w http.ResponseWriter, r *http.Request, s prove.Signed, _ request.Form) error {
	token, err := p.flow.TurnOffProtection(r.Context(), p.kit.Visitor(r), s)
	if err != nil {
		return p.act(w, r, s, selfservice.TurnOff, err, "/security/protection/off")
	}
	p.kit.SetSession(w, token)
	p.kit.Done(w, r, "/security/protection", "protection_off")
	return nil
}
