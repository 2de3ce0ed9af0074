package security

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/selfservice"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// Where a passkey lives, as people say it.
const (
	onDevices = "devices" // in a password manager
	onDevice  = "device"
	onKey     = "key" // a security key
)

// passkeyCard is one passkey or U2F key.
type passkeyCard struct {
	store.Passkey
	Maker, Icon string
	Where       string // devices, device, key
	Browser     string // that it was last used in
}

func card(b page.Base, k store.Passkey) passkeyCard {
	c := passkeyCard{Passkey: k, Maker: k.AAGUID.Maker(), Icon: k.AAGUID.Icon(), Where: whereOf(k)}
	if c.Maker == "" { // what kind it is shows in what it can
		c.Icon = iconOf[c.Where]
	}
	if k.LastUsedAgent != "" {
		c.Browser = message.Browser(b.L, k.LastUsedAgent)
	}
	return c
}

func cards(b page.Base, list []store.Passkey) (cards []passkeyCard) {
	for _, k := range list {
		cards = append(cards, card(b, k))
	}
	return cards
}

var iconOf = map[string]string{onDevices: "passkey-manager.svg", onDevice: "passkey-device.svg", onKey: "passkey-key.svg"}

func whereOf(k store.Passkey) string {
	switch {
	case k.BackupEligible:
		return onDevices
	case slices.Contains(k.Transports, "internal"), slices.Contains(k.Transports, "hybrid"):
		return onDevice
	}
	return onKey
}

// passkeysPage lists what is bound, or invites to create the first.
type passkeysPage struct {
	page.Base
	Cards   []passkeyCard
	Signal  string // what the browser is told of them; empty: nothing
	Off     bool   // this server has no name that passkeys work under
	Managed bool   // administrators alone change them
	Create  bool   // one may be created: where one is due, in spite of that
	Full    bool   // no more can be created
	Most    int
	Alone   bool // the only device, and nowhere but there: another is advised
}

// passkeyNewPage says what a passkey is good for, before the dialog.
type passkeyNewPage struct {
	page.Base
	Action, Ceremony, Cancel string
	Options                  json.RawMessage
	ReturnTo                 string
	Replaces                 string // name of the U2F key that goes when this one stands; empty: none
	Signal                   string
}

// passkeyPage shows one, right after it was created with what that means.
type passkeyPage struct {
	page.Base
	Card     passkeyCard
	Called   string // as typed
	Created  bool
	ReturnTo string
	Managed  bool
	Off      bool
	Signal   string
}

// passkeyRemovePage asks whether one shall be removed, and says what remains.
type passkeyRemovePage struct {
	page.Base
	Card         passkeyCard
	PasswordLong bool // or another second factor stays
	Needed       bool // it is asked for, and the last of its kind
	Managed      bool
	Left         []string // what signs in from then on, each in words
	MFAStays     bool
	CodesStay    bool
	Email        string
}

func (p *Pages) signal(r *http.Request, s prove.Signed) (string, error) {
	a, err := p.flow.Accepted(r.Context(), s)
	if err != nil || a.RPID == "" {
		return "", err
	}
	b, err := json.Marshal(a)
	return string(b), err
}

func (p *Pages) showPasskeys(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	most := p.flow.Quotas.Passkeys
	data := passkeysPage{Base: p.kit.SignedBase(w, r, s), Off: p.flow.Passkeys == nil, Managed: o.MFAManaged, Create: !o.MFAManaged || o.Facts.Due(), Full: o.Facts.Passkeys >= most, Most: most}
	data.Wide = true
	data.Cards = cards(data.Base, o.Passkeys)
	data.Alone = o.OnlyHere()
	if data.Signal, err = p.signal(r, s); err != nil {
		return err
	}
	data.Passkeys = data.Signal != ""
	return p.passkeys.Render(w, r, http.StatusOK, data)
}

const passkeysPath = "/security/passkeys"

func passkeyPath(id string) string { return passkeysPath + "/" + url.PathEscape(id) }

// createdPath is the page that confirms a new one, and leads on from there.
func createdPath(id, to string) string {
	path := passkeyPath(id) + "?created=1"
	if to != "" {
		path += "&return_to=" + url.QueryEscape(to)
	}
	return path
}

// upgradeAction makes a passkey of a U2F key, by the name that people know it by.
func upgradeAction(k store.Passkey) policy.Action {
	return selfservice.PasskeyAction(k.ID).About(k.Name)
}

func removeAction(k store.Passkey) policy.Action {
	return selfservice.RemovePasskeyAction(k.ID).About(k.Name)
}

func (p *Pages) passkeyOf(r *http.Request, s prove.Signed) (store.Passkey, error) {
	return p.flow.Passkey(r.Context(), s, r.PathValue("id"))
}

func (p *Pages) showPasskeyNew(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	to := prove.LocalPath(q.Get("return_to"))
	needed, err := p.verify.Needed(r.Context(), s, selfservice.BindPasskey)
	if err != nil {
		return err
	}
	if needed {
		return p.verifyFor(w, r, s, selfservice.BindPasskey, withReturn(passkeysPath+"/new", to))
	}
	return p.renderPasskeyNew(w, r, s, http.StatusOK, p.kit.SignedBase(w, r, s), store.Passkey{}, to)
}

func withReturn(path, to string) string {
	if to == "" {
		return path
	}
	return path + "?return_to=" + url.QueryEscape(to)
}

func (p *Pages) showPasskeyUpgrade(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	old, err := p.passkeyOf(r, s)
	if err != nil {
		return err
	}
	if !old.IsU2F() {
		p.kit.SeeOther(w, r, passkeyPath(old.ID))
		return nil
	}
	if ok, err := p.verified(w, r, s, upgradeAction(old)); err != nil || !ok {
		return err
	}
	return p.renderPasskeyNew(w, r, s, http.StatusOK, p.kit.SignedBase(w, r, s), old, "")
}

// renderPasskeyNew gives the browser fresh options each time: what it answered
// before is used up.
func (p *Pages) renderPasskeyNew(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, b page.Base, old store.Passkey, to string) error {
	n, err := p.flow.BeginPasskey(r.Context(), p.kit.Visitor(r), s, old.ID)
	if errors.Is(err, passkey.ErrQuota) {
		p.kit.SeeOther(w, r, passkeysPath) // which says so
		return nil
	}
	if err != nil {
		return err
	}
	data := passkeyNewPage{Base: b, Action: passkeysPath + "/new", Ceremony: n.Ceremony, Cancel: passkeysPath, Options: n.Options, ReturnTo: to, Replaces: n.Replaces}
	if old.ID != "" {
		data.Action = passkeyPath(old.ID) + "/upgrade"
	}
	data.Path = withReturn(data.Action, to)
	return p.newPasskey(w, r, s, status, data)
}

// newPasskey shows the page before the dialog; after a refusal the browser is
// told not to offer what it has just made.
func (p *Pages) newPasskey(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, data passkeyNewPage) (err error) {
	data.Passkeys = true
	if data.Problem != nil {
		if data.Signal, err = p.signal(r, s); err != nil {
			return err
		}
	}
	return p.passkeyNew.Render(w, r, status, data)
}

func (p *Pages) submitPasskeyNew(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	return p.createPasskey(w, r, s, store.Passkey{}, f, err)
}

func (p *Pages) submitPasskeyUpgrade(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, stale := p.kit.Form(w, r)
	old, err := p.passkeyOf(r, s)
	if err != nil {
		return cmp.Or(stale, err)
	}
	return p.createPasskey(w, r, s, old, f, stale)
}

// createPasskey keeps what the form brings, unless that is refused as it is.
func (p *Pages) createPasskey(w http.ResponseWriter, r *http.Request, s prove.Signed, old store.Passkey, f request.Form, err error) error {
	var made store.Passkey
	var token secret.Token
	var codes bool
	if err == nil {
		made, token, codes, err = p.flow.CreatePasskey(r.Context(), p.kit.Visitor(r), s, f.Get("c"), f.Get("name"), []byte(f.Get("credential")))
	}
	to := prove.LocalPath(f.Get("return_to"))
	if err == nil {
		p.kit.SetSession(w, token)
		next := createdPath(made.ID, to)
		done := "passkey_created"
		if old.ID != "" {
			done = "u2f_upgraded"
		}
		if codes { // the first thing bound
			next = withReturn("/security/recovery-codes/new", next)
		}
		p.kit.Done(w, r, next, done)
		return nil
	}
	switch {
	case errors.Is(err, prove.ErrVerifyFirst) && old.ID != "":
		return p.verifyFor(w, r, s, upgradeAction(old), passkeyPath(old.ID)+"/upgrade")
	case errors.Is(err, prove.ErrVerifyFirst):
		return p.verifyFor(w, r, s, selfservice.BindPasskey, withReturn(passkeysPath+"/new", to))
	}
	b := p.kit.SignedBase(w, r, s)
	status, ok := p.kit.Refuse(w, r, &b, err)
	if !ok {
		return err
	}
	if ok, failed := p.verify.Needed(r.Context(), s, selfservice.PasskeyAction(old.ID)); failed != nil || ok {
		return err
	}
	return p.renderPasskeyNew(w, r, s, status, b, old, to)
}

func (p *Pages) showPasskey(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	k, err := p.passkeyOf(r, s)
	if err != nil {
		return err
	}
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	return p.renderPasskey(w, r, s, http.StatusOK, p.kit.SignedBase(w, r, s), k, k.Name, q)
}

// renderPasskey shows one; q says whether it was just created and where the
// person was going.
func (p *Pages) renderPasskey(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, b page.Base, k store.Passkey, called string, q request.Form) error {
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	data := passkeyPage{Base: b, Card: card(b, k), Called: called, Created: q.Has("created") && !k.IsU2F(), ReturnTo: prove.LocalPath(q.Get("return_to")), Managed: o.MFAManaged, Off: p.flow.Passkeys == nil}
	if data.Signal, err = p.signal(r, s); err != nil {
		return err
	}
	data.Passkeys = data.Signal != ""
	return p.passkey.Render(w, r, status, data)
}

func (p *Pages) renamePasskey(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, stale := p.kit.Form(w, r)
	k, err := p.passkeyOf(r, s)
	if err != nil {
		return cmp.Or(stale, err)
	}
	if err = stale; err == nil {
		err = p.flow.RenamePasskey(r.Context(), p.kit.Visitor(r), s, k.ID, f.Get("name"))
	}
	if err == nil {
		p.kit.Done(w, r, stay(k, f), "passkey_renamed")
		return nil
	}
	b := p.kit.SignedBase(w, r, s)
	b.Path = stay(k, f)
	status, ok := p.kit.Refuse(w, r, &b, err)
	if !ok {
		return err
	}
	return p.renderPasskey(w, r, s, status, b, k, f.Get("name"), f)
}

// stay is the page of a passkey as the form on it found it.
func stay(k store.Passkey, f request.Form) string {
	if !f.Has("created") {
		return passkeyPath(k.ID)
	}
	return createdPath(k.ID, prove.LocalPath(f.Get("return_to")))
}

func (p *Pages) showPasskeyRemove(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	k, err := p.passkeyOf(r, s)
	if err != nil {
		return err
	}
	o, err := p.flow.Overview(r.Context(), s)
	if err != nil {
		return err
	}
	data := passkeyRemovePage{Base: p.kit.SignedBase(w, r, s), Managed: o.MFAManaged, Needed: o.Facts.Needs(selfservice.KindOf(k)), Email: s.Identity.Email}
	data.Card = card(data.Base, k)
	without := o.Facts.Without(selfservice.KindOf(k))
	data.PasswordLong, data.CodesStay, data.MFAStays = s.Identity.PasswordAlone || without.MFA(), without.SecondFactor(), without.MFA()
	if data.PasswordLong && !data.Needed && !data.Managed {
		if ok, err := p.verified(w, r, s, removeAction(k)); err != nil || !ok {
			return err
		}
	}
	data.Left = left(data.Base, o, k)
	return p.passkeyRemove.Render(w, r, http.StatusOK, data)
}

// left are the devices that remain once one is gone, as people call them.
func left(b page.Base, o selfservice.Overview, gone store.Passkey) (words []string) {
	say := func(key, name string) { words = append(words, b.T(key)+b.T("page.colon")+name) }
	for _, k := range o.Passkeys {
		switch {
		case k.ID == gone.ID:
		case k.IsU2F():
			say("passkeys.u2f", k.Name)
		default:
			say("method.passkey", k.Name)
		}
	}
	if o.Facts.VirtualMFA {
		say("row.virtual_mfa", o.VirtualMFA.Name)
	}
	if o.Facts.Phone {
		say("row.phone", o.Phone.Number.Mask())
	}
	return words
}

func (p *Pages) submitPasskeyRemove(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	k, err := p.passkeyOf(r, s)
	if err != nil {
		return err
	}
	token, err := p.flow.RemovePasskey(r.Context(), p.kit.Visitor(r), s, k.ID)
	if err != nil {
		return p.act(w, r, s, removeAction(k), err, passkeyPath(k.ID)+"/remove")
	}
	p.kit.SetSession(w, token)
	done := "passkey_removed"
	if k.IsU2F() {
		done = "u2f_removed"
	}
	p.kit.Done(w, r, passkeysPath, done)
	return nil
}

// fromPasskey reports whether the page of new codes leads on to the passkey
// with which they were made.
func fromPasskey(to string) bool { return strings.HasPrefix(to, passkeysPath+"/") }
