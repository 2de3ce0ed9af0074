package front_test

import (
	"encoding/base32"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/imports"
	"countersign/internal/testkit"
)

// importedPassword is what the hashes below are of.
const importedPassword = "plum otter vines sky"

// importedHashes are of importedPassword: Argon2 by the reference library
// (libargon2), scrypt and PBKDF2 by Python's hashlib, bcrypt by libcrypt.
var importedHashes = map[string]string{
	"argon2id":      "$argon2id$v=19$m=1024,t=2,p=2$c2FsdCBvZiBzaXh0ZWVuIQ$D8TVfpgdEud9hauxuVB810VxbaozZ0+o0MJ4cGSnRf0",
	"argon2i":       "$argon2i$v=19$m=1024,t=2,p=2$c2FsdCBvZiBzaXh0ZWVuIQ$o+mGsf8atFbDHcUmZAA2+2Bdc1E2yzoixSRilTx84ww",
	"scrypt":        "$scrypt$ln=10,r=8,p=1$c2FsdCBvZiBzaXh0ZWVuIQ$gnwCD4JSv3TeoDhuK8dW9wo/gWk14XpW1Clt/ll4s+Q",
	"pbkdf2-sha1":   "$pbkdf2$2000$c2FsdCBvZiBzaXh0ZWVuIQ$u7ofkTysUoXz7dXGO606x8IlWLs",
	"django":        "pbkdf2_sha256$2000$saltOfDjango$e9qsEu0Z2LLTDNjxvTec0XD+nD+PbPW/gwJ7LB7YjJs=",
	"pbkdf2-sha512": "$pbkdf2-sha512$2000$c2FsdCBvZiBzaXh0ZWVuIQ$rCMW7pn9X0Cy5NcDcvF61P/5NmuUHwUKK/r20jT8e61SK0GgqAJS6SYasBCFH37aXf8NagRPAkSZRFG5ppoDzw",
	"bcrypt":        "$2b$05$CCCCCCCCCCCCCCCCCCCCC.FNR//fJQPp2i.ia2c7fcd5VjPAobE62",
}

// Whoever was imported signs in by the page that all use, and the hash of the
// other system is gone.
func TestImportedUsersSignInByThePage(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		owner := independent(s)
		a, err := s.DB.Read(t.Context()).Account(owner.Account)
		if err != nil {
			t.Fatal(err)
		}
		seed := base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))
		lines := fmt.Sprintf(`{"name":"device","password_hash":%q,"otpauth":"otpauth://totp/x?secret=%s"}`, importedHashes["bcrypt"], seed)
		for kind, hash := range importedHashes {
			lines += fmt.Sprintf("\n{\"name\":%q,\"password_hash\":%q}", kind, hash)
		}
		list, bad, err := imports.ParsePeople(strings.NewReader(lines), imports.Either)
		if err != nil || len(bad) > 0 {
			t.Fatal(bad, err)
		}
		if r, err := (&imports.Flow{Prover: s.SignIn.Prover}).Users(t.Context(), audit.OperatorActor("import users"), list, nil, imports.Into{Account: a}); err != nil || r.Created != len(importedHashes)+1 {
			t.Fatalf("%+v, %v", r, err)
		}
		find := func(name string) account.Identity {
			t.Helper()
			i, err := s.DB.Read(t.Context()).IdentityBySignInName(account.SignInName{User: name, Alias: a.Alias})
			if err != nil {
				t.Fatal(err)
			}
			return i
		}
		for kind, hash := range importedHashes {
			upn := find(kind).Name()
			says(t, atDoor(s.Client(), "/signin/ram", upn, importedPassword+"?").Want(http.StatusUnauthorized), "User name or password is wrong.")
			c := s.Client()
			if r := atDoor(c, "/signin/ram", upn, importedPassword); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/security" {
				t.Errorf("%s: %d to %q", kind, r.StatusCode, r.Header.Get("Location"))
			}
			says(t, c.Get("/security").Want(http.StatusOK), upn)
			if now := find(kind).PasswordHash; !strings.HasPrefix(now, "$argon2id$") || strings.Contains(now, hash) {
				t.Errorf("%s: kept is %s", kind, now)
			}
		}
		c := s.Client()
		r := atDoor(c, "/signin/ram", find("device").Name(), importedPassword)
		if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "/signin/") {
			t.Fatalf("with a device: %d to %q", r.StatusCode, r.Header.Get("Location"))
		}
		s.Pass(factor.TOTPStep)
		app := &testkit.App{Seed: []byte("12345678901234567890"), Now: s.Now}
		at := r.Header.Get("Location")
		if r = c.Get(at).Want(http.StatusOK).Submit("/signin/verify", "code", app.Code(0)); r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "/security") {
			t.Errorf("with its code: %d to %q", r.StatusCode, r.Header.Get("Location"))
		}
		logs := s.Logs.String()
		for kind, hash := range importedHashes {
			if strings.Contains(logs, hash) || strings.Contains(logs, importedPassword) || strings.Contains(logs, seed) {
				t.Errorf("%s: a secret is in the log", kind)
			}
		}
	})
}
