package page

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/session"
	"countersign/internal/front/request"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

// Cookies of ours. Over https their names begin with __Host-, which browsers
// give to nobody but this very host.
const (
	CookieSession  = "session"
	CookieDevice   = "device"
	CookieRemember = "remember"
	CookieLocale   = "locale"
	CookieTheme    = "theme"
	cookieBrowser  = "browser" // to what forms are bound
	cookieFlash    = "done"
	cookieDoor     = "door"
)

const deviceLifetime = session.KnownDeviceLifetime

// CookieName is the full name of a cookie of ours.
func (k *Kit) CookieName(name string) string {
	if k.Secure {
		return "__Host-countersign_" + name
	}
	return "countersign_" + name
}

// Cookie returns the value of a cookie of ours, empty where it is absent.
func (k *Kit) Cookie(r *http.Request, name string) string {
	c, err := r.Cookie(k.CookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

// SetCookie sets a cookie of ours; a zero age lasts as long as the browser.
func (k *Kit) SetCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: k.CookieName(name), Value: value, Path: "/", MaxAge: int(age.Seconds()), Secure: k.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// ClearCookie removes a cookie of ours.
func (k *Kit) ClearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: k.CookieName(name), Path: "/", MaxAge: -1, Secure: k.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// Token returns the session's token: of the cookie.
func (k *Kit) Token(r *http.Request) (secret.Token, error) {
	return secret.ParseToken(k.Cookie(r, CookieSession))
}

// SetSession gives the browser the token of its session.
func (k *Kit) SetSession(w http.ResponseWriter, token secret.Token) {
	k.SetCookie(w, CookieSession, token.Reveal(), 0)
}

// SetDevices gives the browser its known-device cookies, which are one.
func (k *Kit) SetDevices(w http.ResponseWriter, devices []secret.Token) {
	values := make([]string, len(devices))
	for i, d := range devices {
		values[i] = d.Reveal()
	}
	k.SetCookie(w, CookieDevice, strings.Join(values, "."), deviceLifetime)
}

// SetRemembered gives the browser what it shows as a remembered device, until
// that is remembered no longer.
func (k *Kit) SetRemembered(w http.ResponseWriter, t session.RememberToken, until time.Time) {
	k.SetCookie(w, CookieRemember, t.Reveal(), until.Sub(k.Now()))
}

// Visitor says where a request comes from.
func (k *Kit) Visitor(r *http.Request) prove.Visitor {
	info := request.InfoOf(r)
	v := prove.Visitor{Address: info.Address, Request: info.ID, UserAgent: info.UserAgent(), Locale: k.Locale(r)}
	v.Remembered = session.ParseRememberToken(k.Cookie(r, CookieRemember))
	for value := range strings.SplitSeq(k.Cookie(r, CookieDevice), ".") {
		if t, err := secret.ParseToken(value); err == nil && len(v.Devices) < 5 {
			v.Devices = append(v.Devices, t)
		}
	}
	return v
}

func ceremonyCookie(kind ceremony.Kind, id string) string { return string(kind) + "_" + id }

// SetCeremony keeps the token of a ceremony under its kind and id, so that a
// browser may run several; the oldest beyond four of a kind are forgotten.
func (k *Kit) SetCeremony(w http.ResponseWriter, r *http.Request, kind ceremony.Kind, id string, token secret.Token, age time.Duration) {
	k.SetCookie(w, ceremonyCookie(kind, id), token.Reveal(), age)
	for i, old := range k.ceremonyIDs(r, kind) {
		if i >= 3 {
			k.ClearCeremony(w, kind, old)
		}
	}
}

// ClearCeremony forgets a ceremony.
func (k *Kit) ClearCeremony(w http.ResponseWriter, kind ceremony.Kind, id string) {
	k.ClearCookie(w, ceremonyCookie(kind, id))
}

// Ceremony returns the token of the ceremony named, or of the newest where
// none is.
func (k *Kit) Ceremony(r *http.Request, kind ceremony.Kind, id string) (string, secret.Token) {
	if id == "" {
		if ids := k.ceremonyIDs(r, kind); len(ids) > 0 {
			id = ids[0]
		}
	}
	token, _ := secret.ParseToken(k.Cookie(r, ceremonyCookie(kind, id)))
	return id, token
}

// ceremonyIDs are those the browser holds, newest first: ids grow with time.
func (k *Kit) ceremonyIDs(r *http.Request, kind ceremony.Kind) (ids []string) {
	prefix := k.CookieName(ceremonyCookie(kind, ""))
	for _, c := range r.Cookies() {
		if id, ok := strings.CutPrefix(c.Name, prefix); ok {
			at := 0
			for at < len(ids) && ids[at] > id {
				at++
			}
			ids = append(ids[:at], append([]string{id}, ids[at:]...)...)
		}
	}
	return ids
}

// SignInPath is the sign-in that comes back to the page asked for: at the door
// that was used last in this browser.
func (k *Kit) SignInPath(r *http.Request) string {
	to := "/security"
	if r.Method == http.MethodGet {
		to = r.URL.RequestURI()
	}
	door := "/signin"
	if domain := k.Door(r); domain != "" {
		door = "/signin/ram/" + url.PathEscape(domain)
	}
	if to == "/security" {
		return door
	}
	return door + "?return_to=" + url.QueryEscape(to)
}

// Door is the domain of the RAM user that signed in last in this browser;
// empty: none did, or it was an owner.
func (k *Kit) Door(r *http.Request) string {
	d := k.Cookie(r, cookieDoor)
	if d == "" || len(d) > 200 || strings.Trim(d, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return ""
	}
	return d
}

// SetDoor keeps the door for the next time; an empty domain forgets it.
func (k *Kit) SetDoor(w http.ResponseWriter, domain string) {
	if domain == "" {
		k.ClearCookie(w, cookieDoor)
		return
	}
	k.SetCookie(w, cookieDoor, domain, deviceLifetime)
}

// Form tokens: an authenticated form of the browser's own cookie, masked anew
// for every page.

const tokenKey = 1 // the first key lives as long as the installation

func (k *Kit) formMAC(browser string) []byte {
	mac, err := k.Keys.MAC(tokenKey, "form", []byte(browser))
	if err != nil {
		panic(err) // key 1 is never taken out of the file
	}
	return mac
}

func (k *Kit) formToken(w http.ResponseWriter, r *http.Request) string {
	browser := k.Cookie(r, cookieBrowser)
	if len(browser) < 20 || len(browser) > 64 {
		token, err := secret.NewToken(rand.Reader)
		if err != nil {
			panic(err)
		}
		browser = token.Reveal()
		k.SetCookie(w, cookieBrowser, browser, 0)
		r.AddCookie(&http.Cookie{Name: k.CookieName(cookieBrowser), Value: browser}) // one page may ask twice
	}
	mac := k.formMAC(browser)
	masked := make([]byte, 2*len(mac))
	_, _ = rand.Read(masked[:len(mac)])
	for i := range mac {
		masked[len(mac)+i] = masked[i] ^ mac[i]
	}
	return base64.RawURLEncoding.EncodeToString(masked)
}

// Form reads a posted form that must have come from a page of ours. Only the
// fields of several may come several times.
func (k *Kit) Form(w http.ResponseWriter, r *http.Request, several ...string) (request.Form, error) {
	if err := k.Guard.SameSite(r); err != nil {
		return request.Form{}, err
	}
	f, err := request.ReadForm(w, r, several...)
	if err != nil {
		return f, err
	}
	masked, err := base64.RawURLEncoding.DecodeString(f.Get("csrf"))
	mac := k.formMAC(k.Cookie(r, cookieBrowser))
	if err != nil || len(masked) != 2*len(mac) {
		return f, request.ErrFormStale
	}
	got := make([]byte, len(mac))
	for i := range got {
		got[i] = masked[i] ^ masked[len(mac)+i]
	}
	if !secret.Equal(got, mac) || k.Cookie(r, cookieBrowser) == "" {
		return f, request.ErrFormStale
	}
	return f, nil
}
