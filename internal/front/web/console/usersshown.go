package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

// shownPage shows what is shown once: passwords, or a ticket.
type shownPage struct {
	base
	Shown         admin.Shown
	ID            string
	Made, Refused []shownLine
	Heading       string // message key
	Passwords     bool
	Secrets       bool   // there is something that is shown only once
	Copy          string // all of it as text
	Minutes       int    // that the page can still be loaded
}

type shownLine struct {
	admin.ShownLine
	Why string // it was refused
}

func (p *Pages) showShown(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	shown, err := p.flow.Shown(r.Context(), s, q.Get("c"))
	if err != nil {
		return err
	}
	data := shownPage{base: p.base(w, r, s, ""), Shown: shown, ID: q.Get("c")}
	data.Tab = "users"
	data.Minutes = int(shown.ExpiresAt.Sub(p.kit.Now()).Minutes())
	var text strings.Builder
	for _, l := range shown.Lines {
		line := shownLine{ShownLine: l}
		if l.Fault != "" {
			line.Why = data.L.Fault(&fault.Fault{Code: l.Fault, Args: l.FaultArgs})
			data.Refused = append(data.Refused, line)
			continue
		}
		data.Made = append(data.Made, line)
		data.Passwords = data.Passwords || l.Password != ""
		text.WriteString(l.UPN)
		for _, once := range []string{l.Password, l.Ticket} {
			if once != "" {
				text.WriteString("\t" + once)
			}
		}
		text.WriteString("\n")
	}
	data.Copy, data.Secrets, data.Heading = text.String(), secret(shown), "shown."+shown.Kind
	if shown.Kind == "created" && len(data.Made) == 1 && len(data.Refused) == 0 {
		data.Heading = "shown.created.one"
	}
	return p.users.shown.Render(w, r, http.StatusOK, data)
}

// secret reports whether there is something that is shown only once.
func secret(s admin.Shown) bool {
	return slices.ContainsFunc(s.Lines, func(l admin.ShownLine) bool { return l.Password+l.Ticket != "" })
}

// shownDone forgets it.
func (p *Pages) shownDone(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	shown, err := p.flow.Shown(r.Context(), s, f.Get("c"))
	if err == nil && f.Get("saved") == "" && secret(shown) {
		p.kit.SeeOther(w, r, "/console/shown?c="+url.QueryEscape(f.Get("c")))
		return nil
	}
	if err == nil {
		err = p.flow.DropShown(r.Context(), p.kit.Visitor(r), s, f.Get("c"))
	}
	if err != nil {
		return err
	}
	to := shown.Back
	if u, err := url.Parse(to); err != nil || u.IsAbs() || !strings.HasPrefix(to, "/console/") {
		to = "/console/users"
	}
	p.kit.Done(w, r, to, "shown")
	return nil
}
