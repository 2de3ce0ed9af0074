package console

import (
	"net/http"
	"net/url"
	"slices"

	"countersign/internal/domain/factor"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

// unbindPage asks how identity was checked, before a device is taken off or a
// new ticket is made.
type unbindPage struct {
	userHead
	Device    admin.Device // zero: a ticket alone
	Last      bool         // nothing is left that the user can take a second step with
	Confirms  bool         // the security email does in place of the ticket
	Checks    []string
	Check     string
	Reason    string
	ReasonMax int
	Hours     int // that a ticket is good
	Action    string
}

func newUnbindPage(h userHead, f request.Form, action string) unbindPage {
	h.Base.Path += action
	return unbindPage{userHead: h, Checks: admin.Checks, Check: one(f.Get("check"), admin.Checks...), Reason: f.Get("reason"), ReasonMax: admin.ReasonMax, Hours: int(admin.TicketLifetime.Hours()), Action: h.To(action)}
}

// Passkey reports whether the device keeps an entry of its own.
func (p unbindPage) Passkey() bool { return p.Device.Method == factor.Passkey }

// Mailbox reports whether it is the security email, which is no device.
func (p unbindPage) Mailbox() bool { return p.Device.Method == factor.Email }

// unbindPage finds the device that the form names.
func (p *Pages) unbindPage(w http.ResponseWriter, r *http.Request, s prove.Signed, id string, f request.Form) (data unbindPage, err error) {
	h, err := p.headToAct(w, r, s, id, "authentication")
	if err != nil {
		return data, err
	}
	data = newUnbindPage(h, f, "/unbind")
	bound := h.D.Devices
	if h.D.Mailbox != nil {
		bound = append(slices.Clip(bound), *h.D.Mailbox)
	}
	for _, d := range bound {
		only := f.Get("device") == "" && !d.Method.Signs() // of keys there may be several
		if d.Method == factor.Method(f.Get("method")) && (only || d.ID == f.Get("device")) {
			data.Device = d
		}
	}
	if data.Device.ID == "" {
		return data, admin.ErrNothingBound
	}
	data.Last = len(h.D.Devices) == 0 || len(h.D.Devices) == 1 && !data.Mailbox()
	data.Confirms = data.Last && !data.Mailbox() && h.D.Mailbox != nil && h.D.Settings.AllowEmail
	return data, nil
}

func (p *Pages) showUnbind(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	data, err := p.unbindPage(w, r, s, r.PathValue("id"), q)
	if err != nil {
		return err
	}
	return p.users.unbind.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitUnbind(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	data, err := p.unbindPage(w, r, s, f.Get("id"), f)
	if err != nil {
		return err
	}
	u := admin.Unbinding{Method: data.Device.Method, Device: data.Device.ID, Check: data.Check, Reason: data.Reason}
	shown, err := p.flow.Unbind(r.Context(), p.kit.Visitor(r), s, data.D.ID, u)
	return p.unbound(w, r, data, shown, act(admin.UnbindUser(data.D, data.Device.ID), err))
}

func (p *Pages) showTicket(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	h, err := p.headToAct(w, r, s, r.PathValue("id"), "authentication")
	if err != nil {
		return err
	}
	return p.users.unbind.Render(w, r, http.StatusOK, newUnbindPage(h, request.Form{}, "/ticket"))
}

func (p *Pages) submitTicket(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	h, err := p.headToAct(w, r, s, f.Get("id"), "authentication")
	if err != nil {
		return err
	}
	data := newUnbindPage(h, f, "/ticket")
	shown, err := p.flow.NewTicket(r.Context(), p.kit.Visitor(r), s, data.D.ID, data.Check, data.Reason)
	return p.unbound(w, r, data, shown, act(admin.IssueTicket(data.D), err))
}

// unbound goes on to the ticket, where there is one, or shows the form again.
func (p *Pages) unbound(w http.ResponseWriter, r *http.Request, data unbindPage, shown string, err error) error {
	switch {
	case err != nil:
		status, ok := p.refuse(w, r, &data.base, err)
		if !ok {
			return err
		}
		return p.users.unbind.Render(w, r, status, data)
	case shown != "":
		p.kit.SeeOther(w, r, "/console/shown?c="+url.QueryEscape(shown))
	default:
		p.kit.Done(w, r, data.To("/authentication"), "user_unbound")
	}
	return nil
}
