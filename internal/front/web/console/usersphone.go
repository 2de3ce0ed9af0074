package console

import (
	"net/http"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// phonePage asks for the phone to which the activation link goes.
type phonePage struct {
	userHead
	Countries      []page.Country
	Country, Phone string // as typed
	Example        string
	Waits          bool // a link was sent: it can be sent again
	Down           bool // no text messages can be sent
	Off            bool // the account does not let its users use them
	Hours          int  // that the link is good
	Action         string
}

func (p *Pages) phonePage(w http.ResponseWriter, r *http.Request, s prove.Signed, id string, f request.Form) (data phonePage, err error) {
	h, err := p.headToAct(w, r, s, id, "authentication")
	if err != nil {
		return data, err
	}
	if h.D.Phone {
		return data, admin.ErrPhoneBound
	}
	h.Base.Path += "/phone"
	data = phonePage{userHead: h, Country: f.Get("country"), Phone: f.Get("phone"), Waits: h.D.Activation != nil, Down: p.flow.Sending.Can(factor.SMS) != nil, Off: !h.D.Settings.AllowSMS,
		Hours: int(admin.ActivationLifetime.Hours()), Action: h.To("/phone")}
	if r.Method == http.MethodGet {
		data.Base.Path = h.To("/phone")
	}
	data.Countries = page.NewEnrolment(p.kit, func() prove.Sending { return p.flow.Sending }).Countries(data.Base)
	if data.Country == "" {
		data.Country = request.Country(r)
	}
	for _, c := range data.Countries {
		if data.Example == "" || c.Code == data.Country {
			data.Example = c.Example
		}
	}
	return data, nil
}

func (p *Pages) showPhone(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	data, err := p.phonePage(w, r, s, r.PathValue("id"), request.Form{})
	if err != nil {
		return err
	}
	return p.users.phone.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitPhone(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	data, err := p.phonePage(w, r, s, f.Get("id"), f)
	if err != nil {
		return err
	}
	var number account.Phone
	number, err = p.flow.ActivationNumber(r.Context(), data.D, f.Get("resend") != "", data.Country, data.Phone)
	if err == nil {
		err = act(admin.SendActivation(data.D, number), p.flow.Activate(r.Context(), p.kit.Visitor(r), s, data.D.ID, number))
	}
	if err == nil {
		p.kit.Done(w, r, data.To("/authentication"), "activation_sent")
		return nil
	}
	status, ok := p.refuse(w, r, &data.base, err)
	if !ok {
		return err
	}
	return p.users.phone.Render(w, r, status, data)
}
