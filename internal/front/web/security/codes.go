package security

import (
	"net/http"
	"net/url"
	"time"

	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

type codesPage struct {
	page.Base
	Left   int
	MadeAt time.Time
	Bound  bool
	Few    bool // soon there are none
	Old    bool // nobody may know any more where they are

	Managed   bool // administrators alone make new ones
	NoPasskey bool // this server has no name that passkeys work under
}

// When new recovery codes are advised.
const (
	fewCodes = 3
	oldCodes = 365 * 24 * time.Hour
)

func (p *Pages) showCodes(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	return p.codes.Render(w, r, http.StatusOK, codesPage{Base: p.kit.SignedBase(w, r, s), Left: o.CodesLeft, MadeAt: o.CodesMadeAt, Bound: o.Facts.SecondFactor(),
		Few: o.CodesLeft <= fewCodes, Old: p.kit.Now().Sub(o.CodesMadeAt) >= oldCodes, Managed: o.MFAManaged, NoPasskey: p.flow.Passkeys == nil})
}

// codesNewPage shows codes that were just made, until they are saved.
type codesNewPage struct {
	page.Base
	Codes    []string
	MadeAt   time.Time
	ReturnTo string // in the first sign-in: where the person was going
	Part     page.Part
}

func (p *Pages) makeCodes(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	return p.resumeCodes(w, r, s, request.Form{})
}

func (p *Pages) resumeCodes(w http.ResponseWriter, r *http.Request, s prove.Signed, _ request.Form) error {
	if err := p.flow.MakeRecoveryCodes(r.Context(), p.kit.Visitor(r), s); err != nil {
		return p.act(w, r, s, selfservice.MakeCodes, err, "/security/recovery-codes")
	}
	p.kit.Done(w, r, "/security/recovery-codes/new", "recovery_codes_made")
	return nil
}

func (p *Pages) showNewCodes(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	codes, err := p.flow.NewRecoveryCodes(r.Context(), s)
	if err != nil {
		return err
	}
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	data := codesNewPage{Base: p.kit.SignedBase(w, r, s), Codes: codes, MadeAt: p.kit.Now(), ReturnTo: prove.LocalPath(q.Get("return_to"))}
	switch {
	case codes == nil && data.ReturnTo != "": // saved already
		p.kit.SeeOther(w, r, afterCodes(q))
		return nil
	case codes == nil:
		p.kit.SeeOther(w, r, "/security/recovery-codes")
		return nil
	case data.ReturnTo != "" && !fromPasskey(data.ReturnTo):
		data.Part = page.Part{Step: 3, Of: 3}
	}
	return p.codesNew.Render(w, r, http.StatusOK, data)
}

func (p *Pages) codesSaved(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	if f.Get("saved") == "" {
		to := "/security/recovery-codes/new"
		if f.Has("return_to") {
			to += "?return_to=" + url.QueryEscape(f.Get("return_to"))
		}
		p.kit.SeeOther(w, r, to)
		return nil
	}
	if err := p.flow.RecoveryCodesSaved(r.Context(), p.kit.Visitor(r), s); err != nil {
		return err
	}
	p.kit.Done(w, r, afterCodes(f), "codes_saved")
	return nil
}
