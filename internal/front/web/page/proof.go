package page

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/fault"
	"countersign/internal/front/request"
	"countersign/internal/prove"
)

// A Proof is the page that asks for one proof: at sign-in and within a session.
type Proof struct {
	Base
	Title                 string // message key
	Who, NotYou           string
	Reason, Object        string // message key of the action, and its object
	Action, MethodsPath   string
	Ceremony              string
	Method                factor.Method
	Destination, Device   string
	Codes, Digits, Resend int
	Valid                 int             // minutes that a code is valid
	Send                  bool            // a code must be asked for first
	Options               json.RawMessage // of a key that signs
	Down                  bool            // codes of this kind cannot be sent at all
	Failed, Delayed       bool            // the message could not be sent; has not gone out yet
	More                  bool            // there are other ways
	Drifted, Stale        bool
	Cancel                string
	RememberBy            []factor.Method // after which the browser may be asked no more for a while
	Ticked                bool            // it was asked to be so in the form that was refused
}

// MayRemember reports whether the box is there to tick.
func (p Proof) MayRemember() bool { return slices.Contains(p.RememberBy, p.Method) }

// A Methods is the page that lists the other ways.
type Methods struct {
	Base
	Who, NotYou string
	Action      string
	Ceremony    string
	Choices     []prove.Offer
	Cancel      string
}

// A Help is the page for whoever can use none of the ways.
type Help struct {
	Base
	Who, NotYou string
	Action      string
	Ceremony    string
	Has         prove.Help
	SignIn      bool // nobody is signed in yet
	Cancel      string
}

// helpPaths are where the help is to what is asked at a path.
var helpPaths = map[string]string{"/verify": "/verify/help", "/signin/verify": "/signin/help"}

// HelpPath is where whoever can use none of the ways goes on.
func (m Methods) HelpPath() string { return helpPaths[m.Action] }

// HelpPath is where whoever cannot use the only way goes on.
func (p Proof) HelpPath() string { return helpPaths[p.Action] }

// Proofs renders the pages that ask for a proof.
type Proofs struct {
	proof   Page[Proof]
	methods Page[Methods]
	help    Page[Help]
}

// NewProofs prepares the pages.
func NewProofs(k *Kit) Proofs {
	return Proofs{New[Proof](k, ownFiles, "templates/verify.html"), New[Methods](k, ownFiles, "templates/methods.html"), New[Help](k, ownFiles, "templates/help.html")}
}

// Ask shows the page for the method chosen, else for the best one offered.
func (p Proofs) Ask(w http.ResponseWriter, r *http.Request, status int, page Proof, asked prove.Asked, chosen string) error {
	offers := asked.Offers
	if len(offers) == 0 {
		return fault.New(fault.Forbidden, "signin.refused")
	}
	offer := offers[0]
	for _, o := range offers {
		if string(o.Method) == chosen {
			offer = o
		}
	}
	if page.Title == "ticket.title" && offer.Method != factor.Ticket {
		page.Title = "second.title"
	}
	page.Codes, page.Digits, page.Valid = asked.Codes, asked.Digits, asked.Valid
	page.Method, page.Destination, page.Device = offer.Method, offer.Destination, offer.Device
	page.More = len(offers) > 1
	page.MethodsPath = strings.TrimSuffix(page.Action, "/verify") + "/methods"
	if page.Action == "/verify" {
		page.MethodsPath = "/verify/methods"
	}
	page.Options, page.Passkeys = offer.Options, offer.Options != nil
	page.Down, page.Failed, page.Delayed = offer.Down, offer.Failed, offer.Delayed
	page.Send = offer.Method.Sent() && (!offer.Sent || offer.Failed || offer.Down)
	page.Resend = int((asked.Resend + time.Second - 1) / time.Second)
	if page.Problem != nil {
		switch page.Problem.Code {
		case factor.ErrCodeStale.Code, factor.ErrCodeWrong.Code:
			page.Stale = true
		case factor.ErrMoreCodesAsked.Code:
			page.Problem = nil // the page itself asks
		}
	}
	if page.Method != factor.VirtualMFA {
		page.Codes = 1
	} else if page.Drifted && page.Codes < 2 {
		page.Codes = 2
	} else {
		page.Drifted = false
	}
	return p.proof.Render(w, r, status, page)
}

// Choose shows the other ways.
func (p Proofs) Choose(w http.ResponseWriter, r *http.Request, page Methods) error {
	return p.methods.Render(w, r, http.StatusOK, page)
}

// Help shows what somebody really has.
func (p Proofs) Help(w http.ResponseWriter, r *http.Request, page Help) error {
	return p.help.Render(w, r, http.StatusOK, page)
}

// AnswerOf reads the proof that a form of Ask has posted.
func AnswerOf(f request.Form) prove.Answer {
	return prove.Answer{Method: factor.Method(f.Get("method")), Codes: []string{f.Get("code"), f.Get("code2"), f.Get("code3")}, Credential: []byte(f.Get("credential")), Remember: f.Get("remember") != ""}
}
