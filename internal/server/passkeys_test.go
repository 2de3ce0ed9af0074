package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/internal/config"
	"countersign/internal/server"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

func TestWhatPasswordManagersAndBrowsersLookFor(t *testing.T) {
	t.Parallel()
	related := func(c *config.Config) { c.Passkey.Origins = []string{"https://example.net", "https://Example.ORG/"} }
	offline := func(c *config.Config) {
		c.PublicURL, c.Passkey.Origins = "http://127.0.0.1:8080", []string{"https://example.net"}
	}
	for name, c := range map[string]struct {
		change             func(*config.Config)
		endpoints, origins string
	}{
		"by default":           {nil, `{"enroll":"URL/security/passkeys/new","manage":"URL/security/passkeys"}`, ""},
		"with related origins": {related, `{"enroll":"URL/security/passkeys/new","manage":"URL/security/passkeys"}`, `{"origins":["https://example.net","https://example.org"]}`},
		"without a name":       {offline, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, storetest.SQLite, c.change)
			for path, want := range map[string]string{"passkey-endpoints": c.endpoints, "webauthn": c.origins} {
				r := s.Client().Get("/.well-known/" + path)
				if want == "" {
					r.Want(http.StatusNotFound)
					continue
				}
				r.Want(http.StatusOK)
				if got, want := strings.TrimSpace(r.Body), strings.ReplaceAll(want, "URL", s.Config.PublicURL); got != want || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Access-Control-Allow-Origin") != "*" {
					t.Errorf("%s: %s of %s, want %s", path, got, r.Header.Get("Content-Type"), want)
				}
			}
			if rp := s.SignIn.Passkeys; (rp == nil) != (c.endpoints == "") || rp != nil && (rp.ID != "localhost" || rp.Origins[0] != s.URL || rp.Direct || rp.Metadata != nil) {
				t.Errorf("the relying party is %+v", rp)
			}
		})
	}
}

// publish signs a BLOB of one authenticator as somebody below the root returned.
func publish(t *testing.T, who string) (file, root string) {
	t.Helper()
	certificate := func(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: parent == nil, BasicConstraintsValid: true,
			CRLDistributionPoints: []string{"http://" + unreachable(t) + "/crl"}}
		if parent == nil {
			parent, by, c.CRLDistributionPoints = c, key, nil
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	ca, caKey := certificate("Root", nil, nil)
	leaf, key := certificate(who, ca, caKey)
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(map[string]any{"alg": "ES256", "typ": "JWT", "x5c": [][]byte{leaf.Raw, ca.Raw}}) + "." + part(map[string]any{"no": 1, "nextUpdate": "2026-04-01", "legalHeader": "Test.", "entries": []any{
		map[string]any{"aaguid": aModel, "timeOfLastStatusChange": "2026-01-01", "statusReports": []any{map[string]any{"status": "NOT_FIDO_CERTIFIED", "effectiveDate": "2026-01-01"}},
			"metadataStatement": map[string]any{"aaguid": aModel, "description": "A key", "icon": "data:image/png;base64,AAAA", "protocolFamily": "fido2", "schema": 3, "attestationTypes": []string{"basic_full"}}}}})
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	file = filepath.Join(t.TempDir(), "blob.jwt")
	if err := os.WriteFile(file, []byte(signed+"."+base64.RawURLEncoding.EncodeToString(signature)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, base64.StdEncoding.EncodeToString(ca.Raw)
}

const aModel = "ee882879-721c-4913-9775-3dfcce97072a"

// unreachable is an address at which whoever asks waits for ever.
func unreachable(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestMetadataComesFromTheServiceThatItsRootVouchesFor(t *testing.T) {
	t.Parallel()
	file, root := publish(t, "mds.fidoalliance.org")
	provider, until, err := server.ReadMetadata(file, root)
	if err != nil || until.Format(time.DateOnly) != "2026-04-01" {
		t.Fatal(until, err)
	}
	if e, err := provider.GetEntry(t.Context(), uuid.MustParse(aModel)); err != nil || e == nil || e.MetadataStatement.Description != "A key" || e.MetadataStatement.Icon != nil {
		t.Errorf("the entry is %+v, %v", e, err)
	}
	if !provider.GetValidateEntry(t.Context()) || !provider.GetValidateTrustAnchor(t.Context()) || !provider.GetValidateStatus(t.Context()) {
		t.Error("what it says is not heeded")
	}

	blob, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string) string {
		name := filepath.Join(t.TempDir(), "blob.jwt")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	other, otherRoot := publish(t, "www.example.com")
	for name, c := range map[string]struct{ file, root, want string }{
		"another root":        {file, otherRoot, "is no BLOB of the Metadata Service"},
		"another signer":      {other, otherRoot, "was not signed by mds.fidoalliance.org"},
		"a changed signature": {write(string(blob[:len(blob)-8]) + "AAAAAAAA"), root, "is no BLOB of the Metadata Service"},
		"nothing":             {write(""), root, "is no BLOB of the Metadata Service"},
		"no JWT":              {write("{}"), root, "is no BLOB of the Metadata Service"},
		"no file":             {file + ".lost", root, "no such file"},
	} {
		if _, _, err := server.ReadMetadata(c.file, c.root); err == nil || !strings.HasPrefix(err.Error(), "passkey_metadata: "+c.file+": ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	c := settings(t, t.TempDir())
	c.Passkey.Attestation, c.Passkey.Metadata = "direct", file // signed below a root of our own
	if err := open(t, c).Build(io.Discard); err == nil || !strings.HasPrefix(err.Error(), "passkey_metadata: ") {
		t.Errorf("the server starts: %v", err)
	}
}
