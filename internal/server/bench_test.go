package server_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// productionCost keeps the real cost of a password hash.
func productionCost(*config.Config) {}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func post(h http.Handler, path string, body any) (int, map[string]any) {
	b, _ := json.Marshal(body)
	r := httptest.NewRequest("POST", path, bytes.NewReader(b))
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

const benchEmail = "bench@example.com"

// benchOwner makes an owner with a virtual MFA device and returns a sign-in.
func benchOwner(b *testing.B, s *testkit.Site) (signIn func() string) {
	b.Helper()
	s.Account(benchEmail, testkit.Password)
	i, err := s.DB.Read(b.Context()).IdentityByEmail(benchEmail)
	if err != nil {
		b.Fatal(err)
	}
	app := bind(b, s, i)
	return func() string {
		if err := s.Clock().Advance(factor.TOTPStep); err != nil {
			b.Fatal(err)
		}
		code, answer := post(s.Handler(), "/api/v1/signin", map[string]any{"username": benchEmail, "password": testkit.Password})
		if code == http.StatusOK {
			code, answer = post(s.Handler(), "/api/v1/signin/verify", map[string]any{"ceremony": answer["ceremony"], "method": "virtual_mfa", "code": app.Code(0)})
		}
		token, ok := answer["session"].(string)
		if !ok {
			b.Fatal(code, answer)
		}
		return token
	}
}

func bind(b *testing.B, s *testkit.Site, i account.Identity) *testkit.App {
	b.Helper()
	seed, err := factor.NewSeed(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	err = s.DB.Write(b.Context(), audit.Housekeeping("bench"), func(tx *store.Tx) error {
		return tx.AddVirtualMFA(i.Account, i.ID, store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: seed}, ID: "bench", Name: "Bench"}, store.ErrNoRow)
	})
	if err != nil {
		b.Fatal(err)
	}
	return &testkit.App{Seed: seed, Now: s.Now}
}

// Sign-in with password and virtual MFA, beside the password hash alone.
func BenchmarkSignIn(b *testing.B) {
	s := testkit.NewSite(b, storetest.SQLite, productionCost)
	signIn := benchOwner(b, s)
	hasher, err := secret.NewHasher(secret.DefaultArgon2, rand.Reader, 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	signIn()
	var all, hashes time.Duration
	const batch = 10 // so that collections of garbage fall evenly
	for b.Loop() {
		start := cpu()
		for range batch {
			signIn()
		}
		middle := cpu()
		for range batch {
			if _, err := hasher.Hash(b.Context(), testkit.Password); err != nil {
				b.Fatal(err)
			}
		}
		all, hashes = all+middle-start, hashes+cpu()-middle
	}
	n := float64(b.N * batch)
	b.ReportMetric(float64(all)/float64(hashes), "×hash")
	b.ReportMetric(float64(all-hashes)/n/1e6, "ms-CPU-beside-hash")
	b.ReportMetric(float64(hashes)/n/1e6, "ms-CPU-hash")
}

// Session check over HTTP, beside a handler that answers as many bytes and
// does nothing else. The two take turns.
func BenchmarkSessionCheck(b *testing.B) {
	for _, e := range []storetest.Engine{storetest.SQLite, storetest.Postgres} {
		b.Run(string(e), func(b *testing.B) {
			s := testkit.NewSite(b, e, nil)
			token := benchOwner(b, s)()
			get := func(url string) *http.Request {
				r, err := http.NewRequestWithContext(b.Context(), "GET", url, nil)
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+token)
				return r
			}
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			body := do(b, client, get(s.URL+"/api/v1/session"))
			bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(body)
			}))
			defer bare.Close()
			var ours, theirs atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					start := time.Now()
					do(b, client, get(s.URL+"/api/v1/session"))
					middle := time.Now()
					do(b, client, get(bare.URL))
					ours.Add(int64(middle.Sub(start)))
					theirs.Add(int64(time.Since(middle)))
				}
			})
			b.ReportMetric(float64(theirs.Load())/float64(ours.Load()), "of-bare-rate")
		})
	}
}

func do(b *testing.B, c *http.Client, r *http.Request) []byte {
	res, err := c.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatal(res.Status, err)
	}
	return body
}

var assetInPage = regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`)

// The sign-in page with its style and script, as they go over the wire.
// Headers not counted.
func BenchmarkSignInPageBytes(b *testing.B) {
	s := testkit.NewSite(b, storetest.SQLite, nil)
	fetch := func(path string) []byte {
		r := httptest.NewRequest("GET", s.URL+path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Body.Bytes()
	}
	for b.Loop() {
		page := fetch("/signin")
		total := len(page)
		z, err := gzip.NewReader(bytes.NewReader(page))
		if err != nil {
			b.Fatal(err)
		}
		html, err := io.ReadAll(z)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range assetInPage.FindAllStringSubmatch(string(html), -1) {
			if !strings.HasSuffix(m[1], ".svg") { // the icon is not needed to show the page
				total += len(fetch(m[1]))
			}
		}
		b.ReportMetric(float64(total), "bytes")
	}
}
