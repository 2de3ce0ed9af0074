package page

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	template "github.com/DataDog/datadog-agent/pkg/template/html"
	"rsc.io/qr"

	"countersign/internal/domain/account"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

// A Part says where a page is within a longer way; zero: nowhere.
type Part struct{ Step, Of int }

// A KeyPage shows the key of a virtual MFA device, and asks for its codes.
type KeyPage struct {
	Base
	Binding    prove.Key
	QR         template.HTML
	URI        template.URL
	DeviceName string
	One        bool   // one code binds: the first is enough where the drift will show at sign-in
	Two        bool   // a second one is asked for all the same: the clock seems to be off
	Help       bool   // the code was wrong
	Action     string // where the form goes
	Replaces   string // name of the device that goes when this one stands; empty: none
	Another    string // where another kind can be chosen; empty: nowhere
	Who        string // signs in: whoever leaves stays signed out; empty: somebody signed in
	Cancel     string
	Part       Part
}

// A PhonePage asks for a number.
type PhonePage struct {
	Base
	Action, Ceremony, Cancel string // where the form goes; the ceremony it belongs to, if any
	Another                  string // where another kind can be chosen; empty: nowhere
	Who                      string // as in KeyPage
	Old                      string // masked; empty: none is attached yet
	Countries                []Country
	Country, Phone           string // as typed
	Example                  string // a number of the country chosen
	Part                     Part
}

// A Country is one to which text messages go.
type Country struct {
	Code, Name string
	Dial       int
	Example    string
}

// A ConfirmPage asks for the code that was sent to a new address or number.
type ConfirmPage struct {
	Base
	Action, Ceremony, Cancel string // the code is posted to Action, a resend to Action/send
	Change                   string // the page where the address can be corrected
	Who                      string // as in KeyPage
	Kind                     string // sms or email
	Destination              string // in full: it was just typed here
	Old                      string // masked; stays in force until the new one has answered; empty: none
	Digits, Resend, Valid    int
	Sent                     bool // a code was sent; else it must be asked for
	Failed, Delayed          bool // the message could not be sent; has not gone out yet
	Part                     Part
}

// An Enrolment renders the pages on which something is bound: at sign-in and
// within a session.
type Enrolment struct {
	key     Page[KeyPage]
	phone   Page[PhonePage]
	confirm Page[ConfirmPage]
	sending func() prove.Sending
}

// NewEnrolment prepares the pages. sending says where text messages go.
func NewEnrolment(k *Kit, sending func() prove.Sending) Enrolment {
	return Enrolment{New[KeyPage](k, ownFiles, "templates/key.html"), New[PhonePage](k, ownFiles, "templates/phoneform.html"), New[ConfirmPage](k, ownFiles, "templates/confirmnew.html"), sending}
}

// Key completes the page of a key and shows it.
func (e Enrolment) Key(w http.ResponseWriter, r *http.Request, status int, data KeyPage) (err error) {
	if data.QR, err = drawQR(data.Binding.URI, data.T("bind.qr")); err != nil {
		return err
	}
	data.URI = template.URL(data.Binding.URI) //nolint:gosec // made by KeyURI
	if data.DeviceName == "" {
		data.DeviceName = data.T("bind.device_default")
	}
	return e.key.Render(w, r, status, data)
}

// Phone completes the form of a number and shows it: with the country typed
// before, else the one that the browser's languages speak of, else the first.
func (e Enrolment) Phone(w http.ResponseWriter, r *http.Request, status int, data PhonePage) error {
	data.Countries = e.Countries(data.Base)
	if data.Country == "" {
		data.Country = request.Country(r)
	}
	if len(data.Countries) > 0 {
		data.Example = data.Countries[0].Example
	}
	for _, c := range data.Countries {
		if c.Code == data.Country {
			data.Example = c.Example
		}
	}
	return e.phone.Render(w, r, status, data)
}

// Confirm shows the page that asks for the code.
func (e Enrolment) Confirm(w http.ResponseWriter, r *http.Request, status int, data ConfirmPage) error {
	return e.confirm.Render(w, r, status, data)
}

// Countries are those to which text messages go, by their names in the
// language of the page.
func (e Enrolment) Countries(b Base) (list []Country) {
	sending := e.sending()
	for _, c := range account.PhoneCountries() {
		if sending.Reaches(c.Code) {
			list = append(list, Country{c.Code, b.L.Country(c.Code), c.Dial, c.Example})
		}
	}
	slices.SortFunc(list, func(x, y Country) int { return b.L.CompareCountries(x.Code, y.Code) })
	return list
}

// drawQR draws text as one path, dark on the white box that the page gives
// it, with the quiet zone of four modules (ISO/IEC 18004 §9.1) in the picture.
func drawQR(text, label string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	const quiet = 4
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
				x += run
			}
		}
	}
	size := code.Size + 2*quiet
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s" shape-rendering="crispEdges"><path d="%s"/></svg>`, //nolint:gosec // numbers, and a label that is escaped
		size, size, template.HTMLEscapeString(label), path.String())), nil
}
