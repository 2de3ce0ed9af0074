package request_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"countersign/internal/front/request"
	"countersign/internal/secret"
)

func keyring(t testing.TB) *secret.Keyring {
	t.Helper()
	keys, err := secret.OpenKeyring(filepath.Join(t.TempDir(), "keys.json"), rand.Reader, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestOnlyWhoHasTheKeysLearnsWhatBecameOfARequest(t *testing.T) {
	t.Parallel()
	keys, now := keyring(t), time.Unix(1_800_000_000, 0)
	p := &request.Probe{Keys: keys, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Now: func() time.Time { return now }, Hidden: http.NotFoundHandler()}
	ask := func(token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "https://id.example.com"+request.ProbePath, nil)
		r.RemoteAddr = "10.0.0.7:4711"
		r.Header.Add("X-Forwarded-For", "198.51.100.77")
		r.Header.Add("X-Forwarded-For", "203.0.113.5, 10.0.0.8")
		r.Header.Set(request.ProbeHeader, token)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w
	}
	token, err := request.ProbeToken(keys, "nonce", now)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := request.ProbeProof(keys, "nonce")
	if err != nil {
		t.Fatal(err)
	}
	var seen request.Seen
	if w := ask(token); w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &seen) != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := request.Seen{Proof: proof, Peer: "10.0.0.7", Trusted: true, Client: "203.0.113.5", Forwarded: []string{"198.51.100.77", "203.0.113.5", "10.0.0.8"}, Host: "id.example.com"}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("saw %+v, want %+v", seen, want)
	}
	if strings.Contains(token, proof) {
		t.Error("the question holds the answer")
	}

	others, _ := request.ProbeToken(keyring(t), "nonce", now)
	old, _ := request.ProbeToken(keys, "nonce", now.Add(-5*time.Minute-time.Second))
	early, _ := request.ProbeToken(keys, "nonce", now.Add(5*time.Minute+time.Second))
	parts := strings.Split(token, ".")
	for what, token := range map[string]string{"none": "", "another server's": others, "old": old, "early": early, "a longer nonce": "x" + token, "another time": parts[0] + ".1800000001." + parts[2],
		"the answer": parts[0] + "." + parts[1] + "." + proof, "no nonce": "." + parts[1] + "." + parts[2], "points": "..", "half": parts[0] + "." + parts[1]} {
		if w := ask(token); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	old, _ = request.ProbeToken(keys, "nonce", now.Add(-5*time.Minute))
	if w := ask(old); w.Code != http.StatusOK {
		t.Errorf("five minutes old: %d", w.Code)
	}
	if _, err := keys.Rotate(now); err != nil {
		t.Fatal(err)
	}
	if w := ask(token); w.Code != http.StatusNotFound {
		t.Errorf("under the key before: %d", w.Code)
	}
}

func FuzzProbe(f *testing.F) {
	keys, now := keyring(f), time.Unix(1_800_000_000, 0)
	p := &request.Probe{Keys: keys, Now: func() time.Time { return now }, Hidden: http.NotFoundHandler()}
	token, _ := request.ProbeToken(keys, "nonce", now)
	for _, s := range []string{token, "", ".", "..", "a.1800000000.", "a.-1.x", "a.99999999999999999999.x", strings.Repeat("x", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := httptest.NewRequest("GET", request.ProbePath, nil)
		r.Header[request.ProbeHeader] = []string{s}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if (w.Code == http.StatusOK) != (s == token) {
			t.Errorf("%q: %d", s, w.Code)
		}
	})
}
