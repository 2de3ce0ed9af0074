package security

import (
	"net/http"
	"time"

	"countersign/internal/flow/selfservice"
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
	return p.codes.Render(w, r, http.StatusOK, codesPage{p.kit.SignedBase(w, r, s), o.CodesLeft, o.CodesMadeAt, o.Facts.VirtualMFA})
}

// codesNewPage shows codes once: they are in no store and in no other page.
type codesNewPage struct {
	page.Base
	Codes  []string
	MadeAt time.Time
}

func (p *Pages) makeCodes(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	codes, err := p.flow.MakeRecoveryCodes(r.Context(), p.kit.Visitor(r), s)
	if err != nil {
		return p.act(w, r, s, selfservice.MakeCodes, err)
	}
	base := p.kit.SignedBase(w, r, s)
	base.Flash = "done.recovery_codes_made"
	return p.codesNew.Render(w, r, http.StatusOK, codesNewPage{base, codes, p.kit.Now()})
}

func (p *Pages) codesSaved(w http.ResponseWriter, r *http.Request, _ prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	p.kit.Done(w, r, "/security", "codes_saved")
	return nil
}
