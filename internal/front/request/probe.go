package request

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"countersign/internal/secret"
)

// ProbePath is where a probe asks.
const ProbePath = "/healthz/probe"

// ProbeHeader carries a probe's token.
const ProbeHeader = "Countersign-Probe"

// probeLife is how far the clocks of both ends may be apart.
const probeLife = 5 * time.Minute

// A Probe tells whoever holds the server's keys what became of a request on
// its way here. Nobody else learns that there is such a place.
type Probe struct {
	Keys    *secret.Keyring
	Trusted []netip.Prefix
	Now     func() time.Time
	Hidden  http.Handler // the answer to everybody else
}

// Seen is what a server saw of a probe.
type Seen struct {
	Proof     string   `json:"proof"`     // that the server has the keys
	Peer      string   `json:"peer"`      // who connected
	Trusted   bool     `json:"trusted"`   // whether that is a trusted proxy
	Client    string   `json:"client"`    // whom the request is taken to come from
	Forwarded []string `json:"forwarded"` // X-Forwarded-For, hop by hop
	Host      string   `json:"host"`
}

// ProbeToken asks for one answer: a nonce and the time, under the newest key.
func ProbeToken(keys *secret.Keyring, nonce string, now time.Time) (string, error) {
	at := strconv.FormatInt(now.Unix(), 10)
	mac, err := probeMAC(keys, "probe", nonce, at)
	return nonce + "." + at + "." + mac, err
}

// ProbeProof is what a server with the same keys answers.
func ProbeProof(keys *secret.Keyring, nonce string) (string, error) {
	return probeMAC(keys, "probe answer", nonce, "")
}

func probeMAC(keys *secret.Keyring, purpose, nonce, at string) (string, error) {
	mac, err := keys.MAC(keys.Newest(), purpose, []byte(nonce+"."+at))
	return base64.RawURLEncoding.EncodeToString(mac), err
}

// nonce returns that of a token which this server's keys made a moment ago.
func (p *Probe) nonce(token string) (string, bool) {
	nonce, rest, _ := strings.Cut(token, ".")
	at, mac, _ := strings.Cut(rest, ".")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || len(token) > 200 || nonce == "" {
		return "", false
	}
	want, err := probeMAC(p.Keys, "probe", nonce, at)
	if err != nil || !hmac.Equal([]byte(mac), []byte(want)) {
		return "", false
	}
	return nonce, p.Now().Sub(time.Unix(seconds, 0)).Abs() <= probeLife
}

func (p *Probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	nonce, ok := p.nonce(r.Header.Get(ProbeHeader))
	if !ok {
		p.Hidden.ServeHTTP(w, r)
		return
	}
	proof, _ := ProbeProof(p.Keys, nonce) // it has just made one
	peer := parseAddress(r.RemoteAddr)
	seen := Seen{Proof: proof, Peer: peer.String(), Trusted: within(peer, p.Trusted), Client: ClientAddress(r, p.Trusted).String(), Host: r.Host, Forwarded: []string{}}
	for _, hop := range strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",") {
		if hop = strings.TrimSpace(hop); hop != "" {
			seen.Forwarded = append(seen.Forwarded, hop)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(seen)
}
