package api

import (
	"context"
	"encoding/json"

	"countersign/internal/domain/factor"
	"countersign/internal/flow/signin"
)

type bindInput struct {
	Body struct {
		Ceremony string        `json:"ceremony" maxLength:"64"`
		Method   factor.Method `json:"method" maxLength:"40" doc:"passkey, virtual_mfa or sms"`
		Country  string        `json:"country,omitempty" maxLength:"8" doc:"Of the telephone number (ISO 3166-1 alpha-2)"`
		Phone    string        `json:"phone,omitempty" maxLength:"64" doc:"To which a code is sent"`
	}
}

type bindOutput struct {
	Body struct {
		Status string `json:"status" doc:"key: bind it with its code; sent: bind the phone with the code; passkey: bind what the options make" example:"key"`
		Key    string `json:"key,omitempty" doc:"Base32, of a virtual MFA device: a secret"`
		URI    string `json:"uri,omitempty" doc:"otpauth URI of the key: a secret"`

		Options any `json:"options,omitempty" doc:"PublicKeyCredentialCreationOptionsJSON (WebAuthn §5.1.9), of a passkey"`
	}
}

func (a *API) bind(ctx context.Context, in *bindInput) (*bindOutput, error) {
	token, err := a.ceremony(ctx, in.Body.Ceremony)
	if err != nil {
		return nil, err
	}
	v := a.visitor(ctx, "")
	if err := a.Flow.Choose(ctx, v, token, in.Body.Method); err != nil {
		return nil, a.problem(ctx, err)
	}
	out := &bindOutput{}
	if in.Body.Method == factor.SMS {
		out.Body.Status = "sent"
		if in.Body.Phone == "" {
			err = a.Flow.SendBind(ctx, v, token)
		} else {
			err = a.Flow.BindNumber(ctx, v, token, in.Body.Country, in.Body.Phone)
		}
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	}
	p, err := a.Flow.State(ctx, v, token)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	if in.Body.Method == factor.Passkey {
		out.Body.Status, out.Body.Options = "passkey", p.Setup.Passkey
		return out, nil
	}
	out.Body.Status, out.Body.Key, out.Body.URI = "key", p.Setup.Key.Key, p.Setup.Key.URI
	return out, nil
}

type confirmBindInput struct {
	Body struct {
		Ceremony string        `json:"ceremony" maxLength:"64"`
		Method   factor.Method `json:"method" maxLength:"40"`
		Name     string        `json:"name,omitempty" maxLength:"256" doc:"Of the device"`
		Code     string        `json:"code,omitempty" maxLength:"64"`
		Code2    string        `json:"code2,omitempty" maxLength:"64" doc:"Of the next step, where the clock of the device is off"`
		Device   string        `json:"device,omitempty" maxLength:"64" doc:"Known-device token of an earlier sign-in"`
		Cookie   bool          `json:"cookie,omitempty" doc:"Put the session into the cookie; for pages of this site"`

		Credential json.RawMessage `json:"credential,omitempty" doc:"RegistrationResponseJSON (WebAuthn §5.1.8), of a passkey"`
	}
}

func (a *API) confirmBind(ctx context.Context, in *confirmBindInput) (*stepOutput, error) {
	if err := a.cookieFor(ctx, in.Body.Cookie); err != nil {
		return nil, err
	}
	token, err := a.ceremony(ctx, in.Body.Ceremony)
	if err != nil {
		return nil, err
	}
	var p signin.Progress
	v := a.visitor(ctx, in.Body.Device)
	switch in.Body.Method {
	case factor.SMS:
		p, err = a.Flow.BindCode(ctx, v, token, in.Body.Code)
	case factor.Passkey:
		p, err = a.Flow.BindPasskey(ctx, v, token, in.Body.Name, in.Body.Credential)
	default:
		p, err = a.Flow.BindDevice(ctx, v, token, in.Body.Name, in.Body.Code, in.Body.Code2)
	}
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	return a.answer(ctx, p, in.Body.Ceremony, in.Body.Cookie)
}

type passwordInput struct {
	Body struct {
		Ceremony    string `json:"ceremony" maxLength:"64"`
		NewPassword string `json:"new_password" maxLength:"65536"`
		Device      string `json:"device,omitempty" maxLength:"64" doc:"Known-device token of an earlier sign-in"`
		Cookie      bool   `json:"cookie,omitempty" doc:"Put the session into the cookie; for pages of this site"`
	}
}

func (a *API) setPassword(ctx context.Context, in *passwordInput) (*stepOutput, error) {
	if err := a.cookieFor(ctx, in.Body.Cookie); err != nil {
		return nil, err
	}
	token, err := a.ceremony(ctx, in.Body.Ceremony)
	if err != nil {
		return nil, err
	}
	p, err := a.Flow.SetPassword(ctx, a.visitor(ctx, in.Body.Device), token, in.Body.NewPassword)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	return a.answer(ctx, p, in.Body.Ceremony, in.Body.Cookie)
}
