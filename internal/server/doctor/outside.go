package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/front/request"
	"countersign/internal/locale"
)

const (
	certificateWarn = 14 * 24 * time.Hour
	clockWarn       = 5 * time.Second
	clockFail       = 30 * time.Second // apps' codes of the step before and after are taken, and no others
	answerMost      = 64 << 10
	plainMost       = 5 * time.Second // a firewall that says nothing is one that lets nobody in

	// forged is an address of documentation (RFC 5737), which a proxy must not
	// take from whoever connects to it.
	forged = "198.51.100.77"
)

func (d *Doctor) lookMail(ctx context.Context) {
	c := d.Config.SMTP
	switch {
	case c.Address == "" && d.Config.Dev:
		d.ok("mail", "goes to the development outbox")
		return
	case c.Address == "":
		d.say(Warn, "mail", "set smtp_address", "no mail server is set: codes cannot be sent")
		return
	}
	smtp := &delivery.SMTP{Address: c.Address, Username: c.Username, Password: c.Password, From: c.From, TLS: c.TLS, Now: d.Now, Timeout: within}
	err := smtp.Check(ctx)
	if err == nil && d.SendTo != "" {
		l := locale.All[0]
		err = smtp.Send(ctx, message.Message{ID: "doctor" + rand.Text(), Channel: message.Email, Kind: "test", To: d.SendTo, Locale: l.Tag,
			Subject: d.Config.ServiceName, Text: l.T("sms.test", "Service", d.Config.ServiceName)})
	}
	if err != nil {
		d.say(Fail, "mail", mailAdvice(err), "%s: %v", c.Address, err)
		return
	}
	how := map[string]string{delivery.StartTLS: "by STARTTLS", delivery.ImplicitTLS: "by TLS", delivery.NoTLS: "on this machine"}[c.TLS]
	if c.Username != "" {
		how += ", signed in as " + c.Username
	}
	what := "nothing was sent (--send-to ADDRESS sends a mail)"
	if d.SendTo != "" {
		what = "a mail to " + account.MaskEmail(d.SendTo) + " was taken"
	}
	d.ok("mail", "%s answers %s; %s", c.Address, how, what)
}

func mailAdvice(err error) string {
	var reply *textproto.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return "have the mail server show a certificate that is good for its name, or name it as its certificate does in smtp_address"
	case errors.As(err, &reply) && (reply.Code == 535 || reply.Code == 534 || reply.Code == 530):
		return "correct smtp_username and smtp_password_file"
	}
	return "correct smtp_address and smtp_tls, and see that this machine may connect"
}

func (d *Doctor) lookTexts(ctx context.Context) {
	c := d.Config.SMS
	if c.Provider == "" {
		d.ok("texts", "no provider is set: text messages are not offered")
		return
	}
	at := c.URL
	switch {
	case c.Provider == "twilio" && at == "":
		at = "https://api.twilio.com"
	case c.Provider == "aliyun" && at == "":
		at = "https://dysmsapi.aliyuncs.com"
	case c.Provider == "smpp" && c.TLS:
		at = "https://" + at
	case c.Provider == "smpp":
		at = "http://" + at
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		d.say(Fail, "texts", "correct sms_url", "%s: the URL of the provider cannot be read", c.Provider)
		return
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	var conn net.Conn
	if u.Scheme == "https" {
		conn, err = (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", host)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", host)
	}
	if err != nil {
		d.say(Fail, "texts", "correct sms_url, and see that this machine may connect", "%s at %s: %v", c.Provider, host, err)
		return
	}
	_ = conn.Close()
	d.ok("texts", "%s answers at %s; `countersign sms test NUMBER` sends a message", c.Provider, host)
}

// client follows no redirect, and asks no proxy of ours: what counts is what
// stands before the server.
func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// lookURL asks the server where people reach it, and knows it by its keys.
func (d *Doctor) lookURL(ctx context.Context) {
	at := d.Config.PublicURL
	u, err := url.Parse(at)
	if err != nil {
		return // was found right
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
			d.say(Fail, "url", "make a DNS record for "+u.Hostname(), "%s: %v", at, err)
			return
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at+request.ProbePath, nil)
	if err != nil {
		return
	}
	nonce, proof := rand.Text(), ""
	if d.keys != nil {
		token, err := request.ProbeToken(d.keys, nonce, d.Now())
		if err == nil {
			proof, err = request.ProbeProof(d.keys, nonce)
		}
		if err != nil {
			d.say(Fail, "url", "see the keys", "%v", err)
			return
		}
		r.Header.Set(request.ProbeHeader, token)
	}
	r.Header.Set("X-Forwarded-For", forged)
	begun := d.Now()
	res, err := client().Do(r)
	if err != nil {
		d.say(Fail, "url", urlAdvice(err), "%s: %v", at, errors.Unwrap(err))
		return
	}
	defer func() { _ = res.Body.Close() }()
	took := d.Now().Sub(begun)
	if told, err := http.ParseTime(res.Header.Get("Date")); err == nil && !d.Config.Dev { // whole seconds, cut off
		d.clocks = append(d.clocks, other{u.Host, told.Add(time.Second / 2).Sub(begun.Add(took / 2)), time.Second/2 + took/2})
	}
	var seen request.Seen
	err = json.NewDecoder(io.LimitReader(res.Body, answerMost)).Decode(&seen)
	switch {
	case d.keys == nil:
		d.say(Warn, "url", "see the keys", "%s answers, and whether it is this server cannot be known without its keys", at)
	case res.StatusCode == http.StatusOK && err == nil && seen.Proof == proof:
		d.seen = &seen
		d.ok("url", "%s leads to this server%s", at, d.certificate(res))
	case res.StatusCode >= 500:
		d.say(Fail, "url", "start the server, and see that the proxy finds it", "%s answers %s", at, res.Status)
	default:
		d.say(Fail, "url", "see where the name and the proxy lead, and that every node has the same keys; after `countersign key rotate` wait a minute", "%s is not this server: it answers %s and does not know our keys", at, res.Status)
	}
}

// certificate says how long that of the answer is good.
func (d *Doctor) certificate(res *http.Response) string {
	if res.TLS == nil || len(res.TLS.PeerCertificates) == 0 {
		return ""
	}
	until := res.TLS.PeerCertificates[0].NotAfter
	if left := until.Sub(d.Now()); left < certificateWarn {
		d.say(Warn, "certificate", "see why it is not renewed", "that of %s is good for %d days more", res.Request.URL.Host, int(left.Hours()/24))
	}
	return ", with a certificate until " + until.UTC().Format(time.DateOnly)
}

func urlAdvice(err error) string {
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the certificate, or set the clock of this machine"
	case errors.As(err, &name):
		return "get a certificate for the name in public_url"
	case errors.As(err, &unknown):
		return "have the proxy send the whole chain; a private authority goes into the system's store, or SSL_CERT_FILE"
	}
	return "start the server (`countersign serve`), and see that the proxy and the firewall let this machine in"
}

// lookPlain asks for the sign-in page without TLS, as whoever types the name
// alone does.
func (d *Doctor) lookPlain(ctx context.Context) {
	u, err := url.Parse(d.Config.PublicURL)
	if d.seen == nil || err != nil || u.Scheme != "https" {
		return
	}
	at := "http://" + strings.TrimSuffix(u.Host, ":443") + "/signin"
	ctx, cancel := context.WithTimeout(ctx, plainMost)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return
	}
	res, err := client().Do(r)
	if err != nil {
		d.ok("http", "nobody answers at %s", at)
		return
	}
	defer func() { _ = res.Body.Close() }()
	to, err := res.Location()
	switch {
	case err == nil && to.Scheme == "https":
		d.ok("http", "%s leads to https", at)
	case res.StatusCode >= http.StatusBadRequest:
		d.ok("http", "%s serves nothing: %s", at, res.Status)
	default:
		d.say(Fail, "http", "have the proxy answer plain HTTP with a redirect to "+d.Config.PublicURL+", and with nothing else", "%s is answered (%s) without a redirect to https: passwords may cross the network in clear", at, res.Status)
	}
}

// own are networks that nobody reaches from the internet, as far as one of
// them can be wide.
var own = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10")}

// wide reports whether a network holds more than somebody's proxies: a /8 of
// the internet or more, or what a provider has of IPv6.
func wide(p netip.Prefix) bool {
	most := 8
	if p.Addr().Is6() {
		most = 32
	}
	return p.Bits() <= most && !slices.ContainsFunc(own, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) })
}

// lookTrusted looks for networks that are trusted and hold anybody.
func (d *Doctor) lookTrusted(context.Context) {
	list, _ := d.Config.Proxies() // checked with the settings
	var anybody []string
	for _, p := range list {
		if wide(p) {
			anybody = append(anybody, p.String())
		}
	}
	switch {
	case len(anybody) > 0:
		d.say(Fail, "trusted", "name the proxies alone, by their addresses or by a network that only they are in", "trusted_proxies holds %s: whoever connects from there chooses the address he is known by", strings.Join(anybody, ", "))
	case len(list) == 0:
		d.ok("trusted", "nobody's X-Forwarded-For counts: trusted_proxies is empty")
	default:
		d.ok("trusted", "nothing in trusted_proxies (%d) is as wide as a part of the internet", len(list))
	}
}

// lookProxy compares what was sent with what arrived.
func (d *Doctor) lookProxy(context.Context) {
	if d.seen == nil {
		return
	}
	s := d.seen
	u, _ := url.Parse(d.Config.PublicURL)
	hops := s.Forwarded
	if !strings.EqualFold(s.Host, u.Host) {
		d.say(Fail, "proxy", "have it pass Host on: proxy_set_header Host $host", "the server is asked for %s instead of %s", s.Host, u.Host)
	}
	passed := len(hops) == 1 && hops[0] == forged // as we sent it
	switch {
	case s.Trusted && passed && s.Client == forged:
		d.say(Fail, "proxy", "have it append the address of whoever connects: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for", "%s passes X-Forwarded-For on as it comes: anybody chooses the address he is known by", s.Peer)
	case s.Trusted && len(hops) == 0:
		d.say(Fail, "proxy", "have it send X-Forwarded-For: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for", "%s sends no X-Forwarded-For: everybody seems to come from there, and shares one limit", s.Peer)
	case s.Trusted:
		d.ok("proxy", "%s is trusted, and says that we come from %s", s.Peer, hops[len(hops)-1])
	case !passed && len(hops) > 0:
		d.say(Fail, "proxy", "add "+s.Peer+" to trusted_proxies if that is your proxy", "X-Forwarded-For from %s is ignored: everybody behind it shares one limit", s.Peer)
	case !passed || u.Scheme == "https" && d.Config.TLSCert == "": // somebody took it away, or ends TLS
		d.say(Fail, "proxy", "have it send X-Forwarded-For, and add "+s.Peer+" to trusted_proxies", "there is one, and it says nothing of where people come from: everybody shares the limits of %s", s.Peer)
	default:
		d.ok("proxy", "none in between: we are %s", s.Peer)
	}
}

func (d *Doctor) lookPasskeys(ctx context.Context) {
	c := &d.Config
	if off := c.PasskeysOff(); off != "" {
		d.say(Warn, "passkeys", "give public_url a name", "%s", strings.TrimPrefix(off, "passkeys "))
		return
	}
	related, _ := c.RelatedOrigins() // checked with the settings
	if len(related) == 0 {
		d.ok("passkeys", "belong to %s, which %s is at", c.Passkey.RPID, c.PublicURL)
		return
	}
	at := "https://" + c.Passkey.RPID
	if u, err := url.Parse(c.PublicURL); err == nil && strings.EqualFold(u.Hostname(), c.Passkey.RPID) {
		at = c.PublicURL
	}
	at += "/.well-known/webauthn"
	missing, err := originsMissing(ctx, at, related)
	switch {
	case err != nil:
		d.say(Fail, "passkeys", "serve there what this server serves at /.well-known/webauthn", "related origins cannot use them: %s: %v", at, err)
	case len(missing) > 0:
		d.say(Fail, "passkeys", "serve there what this server serves at /.well-known/webauthn", "%s does not name %s", at, strings.Join(missing, ", "))
	default:
		d.ok("passkeys", "belong to %s; %s names every related origin", c.Passkey.RPID, at)
	}
}

func originsMissing(ctx context.Context, at string, origins []string) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	res, err := client().Do(r)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer func() { _ = res.Body.Close() }()
	var listed struct {
		Origins []string `json:"origins"`
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, answerMost)).Decode(&listed); err != nil {
		return nil, fmt.Errorf("is no list of origins: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(origins), func(o string) bool { return slices.Contains(listed.Origins, o) }), nil
}

// lookClock is last: the others have heard other clocks.
func (d *Doctor) lookClock(context.Context) {
	state := OK
	var told []string
	for _, o := range d.clocks {
		off := max(0, o.ahead.Abs()-o.fine)
		side := "behind"
		if o.ahead < 0 {
			side = "ahead of"
		}
		if off <= clockWarn {
			told = append(told, fmt.Sprintf("with %s within %s", o.whose, (off+o.fine).Round(100*time.Millisecond)))
			continue
		}
		if state == OK {
			state = Warn
		}
		if off > clockFail {
			state = Fail
		}
		told = append(told, fmt.Sprintf("%s %s %s", off.Round(time.Second), side, o.whose))
	}
	kept, known := synchronised()
	if known && !kept {
		told = append(told, "nothing keeps it right, says the kernel")
		if state == OK {
			state = Warn
		}
	}
	if len(told) == 0 {
		told = []string{"nothing to compare it with"}
	}
	do := ""
	if state != OK {
		do = "run chrony or systemd-timesyncd on every machine: codes of apps are good for half a minute"
	}
	d.say(state, "clock", do, "%s", strings.Join(told, ", "))
}
