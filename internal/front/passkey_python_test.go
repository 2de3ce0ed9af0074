package front_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// python is the interpreter that Debian's packages are for, else another one
// that has them.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import fido2.cose, cryptography").Run() == nil {
			return name
		}
	}
	storetest.Missing(t, "no fido2 for Python, Debian's packages python3-fido2 and python3-cryptography: run the tests by `make test`")
	return ""
}

// What python3-fido2 encodes and python3-cryptography signs, we understand.
func TestAnAuthenticatorOfOthersBindsAndSignsIn(t *testing.T) {
	t.Parallel()
	program := python(t)
	for name, algorithm := range map[string]string{"ES256": "-7", "EdDSA": "-8", "RS256": "-257"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewSite(t, storetest.SQLite, nil)
			uma := staffed(s, "uma") // who must bind a device
			cmd := exec.CommandContext(t.Context(), program, "testdata/passkey.py", s.URL, algorithm)
			cmd.Stdin = strings.NewReader(members("username", "uma@"+string(uma.Account), "password", testkit.Password))
			var complaints bytes.Buffer
			cmd.Stderr = &complaints
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, complaints.String())
			}
			type session struct {
				Identity, ACR string
				AMR           []string
			}
			var told struct {
				Library, Wrong, Unverified, ID string
				Bound, Second, Alone           session
				Count                          uint32
			}
			if err := json.Unmarshal(out, &told); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			t.Logf("python3-fido2 %s", told.Library)
			for what, of := range map[string]struct {
				session
				amr string
			}{"bound": {told.Bound, "pwd hwk user mfa"}, "second": {told.Second, "pwd hwk user mfa"}, "alone": {told.Alone, "hwk user mfa"}} {
				if of.Identity != string(uma.ID) || of.ACR != "phr" || strings.Join(of.AMR, " ") != of.amr {
					t.Errorf("%s: %+v", what, of)
				}
			}
			if told.Wrong != "passkey.unknown" || told.Unverified != "passkey.refused" {
				t.Errorf("a wrong signature: %q; without verification: %q", told.Wrong, told.Unverified)
			}
			list, err := s.DB.Read(t.Context()).Passkeys(uma.Account, uma.ID)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			k := list[0]
			if base64.RawURLEncoding.EncodeToString(k.Credential.ID) != told.ID || k.SignCount != told.Count || k.Name != "Made of Python" || k.BackupEligible || !k.Verified ||
				k.AAGUID.String() != "f8a011f3-8c0a-4d15-8006-17111f9edc7d" || strings.Join(k.Transports, " ") != "usb" || k.LastUsedAt.IsZero() {
				t.Errorf("kept: %+v", k)
			}
		})
	}
}
