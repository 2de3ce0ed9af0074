package signin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	flow "countersign/internal/flow/signin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

// A door says where a sign-in by a passkey alone was begun, to come back there.
type door struct {
	Fields map[string]string // of the form
	On     bool              // passkeys work under the name of this server
}

func (p *Pages) door(ram bool, domain, returnTo string) door {
	d := door{On: p.flow.Passkeys != nil, Fields: map[string]string{}}
	if ram {
		d.Fields["door"] = "ram"
	}
	if domain != "" {
		d.Fields["domain"] = domain
	}
	if returnTo != "" {
		d.Fields["return_to"] = returnTo
	}
	return d
}

// passkeyOptions answers the page's script, which asks when it is there.
func (p *Pages) passkeyOptions(w http.ResponseWriter, r *http.Request) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	d, err := p.flow.Discover(r.Context(), p.kit.Visitor(r))
	if err != nil {
		return err
	}
	p.kit.SetCeremony(w, r, ceremony.Discover, d.Ceremony, d.Token, ceremony.Lifetime)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"c": d.Ceremony, "options": d.Options})
}

// submitPasskey signs in by a passkey alone.
func (p *Pages) submitPasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := p.kit.Form(w, r)
	var progress flow.Progress
	if err == nil {
		id, token := p.kit.Ceremony(r, ceremony.Discover, f.Get("c"))
		if err = passkey.ErrExpired; !token.IsZero() {
			p.kit.ClearCeremony(w, ceremony.Discover, id)
			progress, err = p.flow.Discovered(r.Context(), p.kit.Visitor(r), token, []byte(f.Get("credential")), f.Get("return_to"))
		}
	}
	if err == nil {
		p.begun(w, r, progress)
		return nil
	}
	b := p.kit.Base(w, r)
	status, ok := p.refuseDoor(w, r, &b, err)
	if !ok {
		return err
	}
	b.Unknown = p.unknown(err, f)
	to := prove.LocalPath(f.Get("return_to"))
	if f.Get("door") == "ram" {
		return p.renderRAM(w, r, status, b, f.Get("domain"), "", to)
	}
	return p.renderSignIn(w, r, status, b, "", to)
}

// unknown tells the browser which passkey is none of ours (any longer): the
// one just tried, and no other (WebAuthn §5.1.10.2).
func (p *Pages) unknown(refusal error, f request.Form) string {
	if !errors.Is(refusal, passkey.ErrNoSuch) || p.flow.Passkeys == nil {
		return ""
	}
	a, err := passkey.ParseAnswer([]byte(f.Get("credential")))
	if err != nil {
		return ""
	}
	signal, err := json.Marshal(map[string]string{"rpId": p.flow.Passkeys.ID, "credentialId": base64.RawURLEncoding.EncodeToString(a.ID)})
	if err != nil {
		return ""
	}
	return string(signal)
}

// renderSignIn shows the door of owners.
func (p *Pages) renderSignIn(w http.ResponseWriter, r *http.Request, status int, b page.Base, username, returnTo string) error {
	b.Passkeys = p.flow.Passkeys != nil
	if r.Method != http.MethodGet {
		b.Path = "/signin"
	}
	return p.signIn.Render(w, r, status, signInPage{Base: b, Username: username, ReturnTo: returnTo, SignUp: p.signup.Open, Door: p.door(false, "", returnTo)})
}

// passkeyPage is the wizard's page to make a passkey.
type passkeyPage struct {
	page.Base
	Who, NotYou, Ceremony string
	Another               string // where another kind can be chosen
	Options               json.RawMessage
	Part                  page.Part
}

func (p *Pages) submitBindPasskey(w http.ResponseWriter, r *http.Request) error {
	return p.act(w, r, factor.Passkey, func(f request.Form, token secret.Token) (flow.Progress, bool, error) {
		progress, err := p.flow.BindPasskey(r.Context(), p.kit.Visitor(r), token, f.Get("name"), []byte(f.Get("credential")))
		return progress, true, err
	})
}
