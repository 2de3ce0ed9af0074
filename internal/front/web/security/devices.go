package security

import (
	"net/http"
	"net/url"

	"countersign/internal/domain/message"
	"countersign/internal/domain/session"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// devicesPath is the page of remembered devices.
const devicesPath = "/security/devices"

type devicesPage struct {
	page.Base
	Devices []deviceRow
	On      bool // the account lets browsers be remembered
}

type deviceRow struct {
	session.RememberedDevice
	Browser string
	This    bool
	Rests   bool // this session ends with it
}

func (p *Pages) showDevices(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	list, on, err := p.flow.Remembered(r.Context(), s)
	if err != nil {
		return err
	}
	data := devicesPage{Base: p.kit.SignedBase(w, r, s), On: on}
	data.Wide = true
	for _, one := range list {
		row := deviceRow{one, message.Browser(data.L, one.UserAgent), one.ID == s.Session.Remembered || one.Session == s.Session.ID, one.ID == s.Session.Remembered}
		if row.This {
			data.Devices = append([]deviceRow{row}, data.Devices...)
		} else {
			data.Devices = append(data.Devices, row)
		}
	}
	return p.devices.Render(w, r, http.StatusOK, data)
}

func (p *Pages) submitForget(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	return p.forget(w, r, s, f.Get("device"), f.Has("device"))
}

func (p *Pages) resumeForget(w http.ResponseWriter, r *http.Request, s prove.Signed, query request.Form) error {
	return p.forget(w, r, s, query.Get("forget"), query.Has("forget"))
}

// forget has one browser remembered no longer, else all.
func (p *Pages) forget(w http.ResponseWriter, r *http.Request, s prove.Signed, id string, one bool) error {
	returnTo, done := devicesPath, "devices_forgotten"
	var here bool
	var err error
	if one {
		returnTo, done = returnTo+"?forget="+url.QueryEscape(id), "device_forgotten"
		here, err = p.flow.ForgetDevice(r.Context(), p.kit.Visitor(r), s, id)
	} else {
		here, err = p.flow.ForgetAllDevices(r.Context(), p.kit.Visitor(r), s)
	}
	if err != nil {
		return p.act(w, r, s, selfservice.ForgetDevices, err, returnTo)
	}
	to := devicesPath
	if here { // this session rested on it
		p.kit.ClearCookie(w, page.CookieSession)
		p.kit.ClearCookie(w, page.CookieRemember)
		to, done = "/signin/ram/"+url.PathEscape(s.Identity.Domain), "device_forgotten_here"
	}
	p.kit.Done(w, r, to, done)
	return nil
}
