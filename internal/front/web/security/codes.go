package security

import (
	"net/http"
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
}

func (p *Pages) showCodes(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	return p.codes.Render(w, r, http.StatusOK, codesPage{p.kit.SignedBase(w, r, s), o.CodesLeft, o.CodesMadeAt, o.Facts.SecondFactor()})
}

// codesNewPage shows codes that were just made, until they are saved.
type codesNewPage struct {
	page.Base
	Codes  []string
	MadeAt time.Time
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
	if codes == nil {
		p.kit.SeeOther(w, r, "/security/recovery-codes")
		return nil
	}
	return p.codesNew.Render(w, r, http.StatusOK, codesNewPage{p.kit.SignedBase(w, r, s), codes, p.kit.Now()})
}

func (p *Pages) codesSaved(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	if f.Get("saved") == "" {
		p.kit.SeeOther(w, r, "/security/recovery-codes/new")
		return nil
	}
	if err := p.flow.RecoveryCodesSaved(r.Context(), p.kit.Visitor(r), s); err != nil {
		return err
	}
	p.kit.Done(w, r, "/security", "codes_saved")
	return nil
}
