package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"countersign/internal/config"
	"countersign/internal/domain/passkey"
)

const (
	aKey     = "ee882879-721c-4913-9775-3dfcce97072a"
	aManager = "d548826e-79b4-db40-a3d8-11116f7e8349"
)

func TestPasskeysBelongToTheHostOrADomainAboveIt(t *testing.T) {
	t.Parallel()
	const neither, form = "nor a domain above it", "is not a domain name like example.com"
	for _, c := range []struct{ public, typed, want, wrong string }{
		{"http://localhost:8080", "", "localhost", ""},
		{"http://localhost:8080", "localhost", "localhost", ""},
		{"https://id.example.com", "", "id.example.com", ""},
		{"https://ID.Example.COM:8443", "", "id.example.com", ""},
		{"https://id.example.com", "id.example.com", "id.example.com", ""},
		{"https://id.example.com", "Example.COM", "example.com", ""},
		{"https://a.id.example.co.uk", "example.co.uk", "example.co.uk", ""},
		{"http://app.localhost:8080", "", "app.localhost", ""},
		{"http://app.localhost:8080", "localhost", "", neither},
		{"https://id.example.com", "com", "", form},
		{"https://id.example.com", "example.net", "", neither},
		{"https://id.example.com", "xample.com", "", neither},
		{"https://id.example.com", "www.id.example.com", "", neither},
		{"https://id.example.com", "https://id.example.com", "", form},
		{"https://id.example.com", "id.example.com:8443", "", form},
		{"https://id.example.com", "id.example.com/", "", form},
		{"https://id.example.com", "id.example.com.", "", form},
		{"https://id.example.com", ".example.com", "", form},
		{"https://id.example.com", " id.example.com", "", form},
		{"https://id.example.com", "192.0.2.1", "", form},
		{"https://192.0.2.1", "id.example.com", "", "public_url is an address"},
		{"https://[2001:db8::1]:8443", "id.example.com", "", "public_url is an address"},
		{"https://intranet", "intranet", "", form},
	} {
		s, wrong := checked(t, "public_url: '"+c.public+"'\npasskey: {rp_id: '"+c.typed+"'}")
		if c.wrong != "" {
			if !strings.HasPrefix(wrong, "passkey_rp_id: \""+c.typed+"\" ") || !strings.Contains(wrong, c.wrong) || strings.Contains(wrong, "\n") {
				t.Errorf("%s of %s: %q, want %q", c.typed, c.public, wrong, c.wrong)
			}
		} else if wrong != "" || s.Passkey.RPID != c.want || s.PasskeysOff() != "" {
			t.Errorf("%s of %s: %q, %q, %q", c.typed, c.public, s.Passkey.RPID, wrong, s.PasskeysOff())
		}
	}
	if _, wrong := checked(t, "public_url: ftp://id.example.com\npasskey: {rp_id: example.net}"); strings.Contains(wrong, "rp_id") {
		t.Errorf("what follows from a wrong public URL: %q", wrong)
	}
}

func TestWithoutANameOfTheServerPasskeysAreOff(t *testing.T) {
	t.Parallel()
	for public, want := range map[string]string{
		"https://192.0.2.1":          "public_url is an address",
		"http://127.0.0.1:8080":      "public_url is an address",
		"https://[2001:db8::1]:8443": "public_url is an address",
		"https://intranet":           `public_url is at "intranet", which is no domain name`,
		"https://bücher.example":     "which is no domain name",
		"https://id.example.com.":    "which is no domain name",
	} {
		c, wrong := checked(t, "public_url: '"+public+"'")
		if off := c.PasskeysOff(); wrong != "" || c.Passkey.RPID != "" || !strings.HasPrefix(off, "passkeys are off: ") || !strings.Contains(off, want) || strings.Contains(off, "\n") {
			t.Errorf("%s: %q, %q, %q", public, off, c.Passkey.RPID, wrong)
		}
	}
}

func TestOriginsAreAsBrowsersWriteThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ public, related, want string }{
		{"http://localhost:8080", "", "http://localhost:8080"},
		{"http://localhost:80", "", "http://localhost"},
		{"https://ID.example.com:443/", "", "https://id.example.com"},
		{"https://id.example.com:80", "", "https://id.example.com:80"},
		{"https://id.example.com", "https://Example.NET/, https://example.org:443 ,https://example.org,https://example.org:8443", "https://id.example.com https://example.net https://example.org https://example.org:8443"},
		{"https://id.example.com", "https://id.example.com,https://shop.example.com", "https://id.example.com https://shop.example.com"},
		{"https://id.example.com", "https://a.example,https://b.example,https://c.example,https://d.example,https://e.example,https://a.test", "https://id.example.com https://a.example https://b.example https://c.example https://d.example https://e.example https://a.test"},
	} {
		s, wrong := checked(t, "public_url: '"+c.public+"'\npasskey: {origins: '"+c.related+"'}")
		if got := strings.Join(s.PasskeyOrigins(), " "); wrong != "" || got != c.want {
			t.Errorf("%s and %s: %q, %q", c.public, c.related, got, wrong)
		}
	}
	for _, bad := range []string{"http://example.net", "example.net", "https://", "https://example.net/page", "https://me@example.net", "https://example.net?x", "https://example.net#x", "https://192.0.2.1", "https://example", "https://example.net:99999", "https://ex ample.net", "https://*.example.net", "android:apk-key-hash:AAAA"} {
		if _, wrong := checked(t, "public_url: https://id.example.com\npasskey: {origins: ['"+bad+"', 'https://example.org']}"); !strings.HasPrefix(wrong, "passkey_origins: \""+bad+"\" is not like https://example.net") || strings.Contains(wrong, "\n") {
			t.Errorf("%s: %q", bad, wrong)
		}
	}
	_, wrong := checked(t, "public_url: https://id.example.com\npasskey: {origins: ['https://a.example', 'https://b.example', 'https://c.example', 'https://d.example', 'https://e.example', 'https://f.example']}")
	if !strings.HasPrefix(wrong, "passkey_origins: https://a.example, ") || !strings.Contains(wrong, "at most 5 names") {
		t.Errorf("six domains: %q", wrong)
	}
}

func TestWhichPasskeysMayBeBound(t *testing.T) {
	t.Parallel()
	one, err := passkey.ParseAAGUID(aKey)
	if err != nil {
		t.Fatal(err)
	}
	c, wrong := checked(t, "passkey: {allow: ["+strings.ToUpper(aKey)+"]}")
	if l := c.PasskeyLists(); wrong != "" || !slices.Equal(l.Allow, []passkey.AAGUID{one}) || len(l.Deny) != 0 || l.NoSynced {
		t.Errorf("allowed: %+v, %q", l, wrong)
	}
	if c, wrong = checked(t, "passkey: {deny: '"+aManager+", "+aKey+"'}"); wrong != "" || len(c.PasskeyLists().Deny) != 2 || c.PasskeyLists().Deny[1] != one {
		t.Errorf("denied: %+v, %q", c.PasskeyLists(), wrong)
	}
	if c, wrong = checked(t, ""); wrong != "" || len(c.PasskeyLists().Allow)+len(c.PasskeyLists().Deny) != 0 || c.Passkey.Attestation != "none" {
		t.Errorf("without a setting: %+v, %q", c.Passkey, wrong)
	}
	var made config.Config // not by the command line
	_ = made.Check()
	if made.Passkey.RPID == "" || made.PasskeysOff() != "" {
		t.Errorf("without the command line: %+v, %q", made.Passkey, made.PasskeysOff())
	}
	blob := filepath.Join(t.TempDir(), "blob.jwt")
	if err := os.WriteFile(blob, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	for settings, want := range map[string]string{
		"{allow: [" + aKey + ", YubiKey], deny: [" + aKey + "x]}": "passkey_allow: names all that may be bound: leave passkey_deny out\n" +
			`passkey_allow: "YubiKey" is not an AAGUID like ` + aKey + "\n" + `passkey_deny: "` + aKey + `x" is not an AAGUID like ` + aKey,
		"{metadata: " + blob + "}":                       "passkey_metadata: is of no use without passkey_attestation direct",
		"{metadata: " + blob + "x, attestation: direct}": "passkey_metadata: open " + blob + "x: no such file or directory",
		"{metadata: " + blob + ", attestation: direct}":  "",
		"{attestation: indirect}":                        `--passkey-attestation must be one of "none","direct" but got "indirect"`,
	} {
		if _, wrong := checked(t, "passkey: "+settings); wrong != want {
			t.Errorf("%s: %q, want %q", settings, wrong, want)
		}
	}
}
