package secret_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"countersign/internal/secret"
)

const greek = "\u0399\u03c9\u03b1\u03bd\u03bd\u03b7\u03c2"

// foreignVectors are hashes that other programs published.
var foreignVectors = []struct{ from, kind, password, hash string }{
	// phc-winner-argon2, src/test.c
	{"argon2", "argon2id", "password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
	{"argon2", "argon2id", "password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
	{"argon2", "argon2i", "password", "$argon2i$v=19$m=65536,t=1,p=1$c29tZXNhbHQ$0WgHXE2YXhPr6uVgz4uUw7XYoWxRkWtvSsLaOsEbvs8"},
	{"argon2", "argon2i", "password", "$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$T/XOJ2mh1/TIpJHfCdQan76Q5esCFVoT5MAeIM1Oq2E"},
	// Django's name before it (django.contrib.auth.hashers.Argon2PasswordHasher)
	{"Django", "argon2i", "password", "argon2$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8"},

	// passlib, documentation of passlib.hash.scrypt, and passlib/tests/test_handlers_scrypt.py
	{"passlib", "scrypt", "password", "$scrypt$ln=8,r=8,p=1$WKs1xljLudd6z9kbY0wpJQ$yCR4iDZYDKv+iEJj6yHY0lv/epnfB6f/w1EbXrsJOuQ"},
	{"passlib", "scrypt", "password", "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"},
	{"passlib", "scrypt", "test", "$scrypt$ln=8,r=8,p=1$wlhLyXmP8b53bm1NKYVQqg$mTpvG8lzuuDk+DWz8HZIB6Vum6erDuUm0As5yU+VxWA"},
	// RFC 7914 §12, the second vector (its salt is NaCl), as passlib writes it
	{"RFC 7914", "scrypt", "password", "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI"},
	// Django, tests/auth_tests/test_hashers.py
	{"Django", "scrypt", "lètmein", "scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NYafTJ7tibgfYz71m0ldQESkXFRkdVCBhhY8mx7rQwite/Pw=="},

	// passlib/tests/test_handlers_pbkdf2.py
	{"passlib", "pbkdf2-sha1", "password", "$pbkdf2$1212$OB.dtnSEXZK8U5cgxU/GYQ$y5LKPOplRmok7CZp/aqVDVg8zGI"},
	{"passlib", "pbkdf2-sha1", greek, "$pbkdf2$1212$THDqatpidANpadlLeTeOEg$HV3oi1k5C5LQCgG1BMOL.BX4YZc"},
	{"passlib", "pbkdf2-sha256", "password", "$pbkdf2-sha256$1212$4vjV83LKPjQzk31VI4E0Vw$hsYF68OiOUPdDZ1Fg.fJPeq1h/gXXY7acBp9/6c.tmQ"},
	{"passlib", "pbkdf2-sha256", greek, "$pbkdf2-sha256$1212$3SABFJGDtyhrQMVt1uABPw$WyaUoqCLgvz97s523nF4iuOqZNbp5Nt8do/cuaa7AiI"},
	{"passlib", "pbkdf2-sha512", "password", "$pbkdf2-sha512$1212$RHY0Fr3IDMSVO/RSZyb5ow$eNLfBK.eVozomMr.1gYa17k9B7KIK25NOEshvhrSX.esqY3s.FvWZViXz4KoLlQI.BzY/YTNJOiKc5gBYFYGww"},
	{"passlib", "pbkdf2-sha512", greek, "$pbkdf2-sha512$1212$KkbvoKGsAIcF8IslDR6skQ$8be/PRmd88Ps8fmPowCJttH9G3vgxpG.Krjt3KT.NP6cKJ0V4Prarqf.HBwz0dCkJ6xgWnSj2ynXSV7MlvMa8Q"},
	// the same with base64's own alphabet, and as PHC writes the rounds
	{"plain", "pbkdf2-sha1", "password", "$pbkdf2-sha1$1212$OB+dtnSEXZK8U5cgxU/GYQ$y5LKPOplRmok7CZp/aqVDVg8zGI"},
	{"PHC", "pbkdf2-sha256", "password", "$pbkdf2-sha256$i=1212,l=32$4vjV83LKPjQzk31VI4E0Vw$hsYF68OiOUPdDZ1Fg+fJPeq1h/gXXY7acBp9/6c+tmQ"},
	{"PHC", "pbkdf2-sha256", "password", "$pbkdf2-sha256$i=1212$4vjV83LKPjQzk31VI4E0Vw$hsYF68OiOUPdDZ1Fg+fJPeq1h/gXXY7acBp9/6c+tmQ"},
	// Django, tests/auth_tests/test_hashers.py
	{"Django", "pbkdf2-sha256", "lètmein", "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c="},
	{"Django", "pbkdf2-sha1", "lètmein", "pbkdf2_sha1$600000$seasalt2$2CLsaL1MZhq6JOG6QOHtVbiopHE="},

	// crypt_blowfish 1.3, wrapper.c
	{"crypt_blowfish", "bcrypt", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"crypt_blowfish", "bcrypt", "U*U*U", "$2y$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"},
	{"crypt_blowfish", "bcrypt", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored", "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"},
	{"crypt_blowfish", "bcrypt", "\xff\xff\xa3", "$2b$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e"},
	{"crypt_blowfish", "bcrypt", "\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"},
	// jBCrypt, test/org/mindrot/jbcrypt/TestBCrypt.java
	{"jBCrypt", "bcrypt", "a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"},
	{"Django", "bcrypt", "a", "bcrypt$$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"},
}

func TestHashesOfOtherSystemsAreChecked(t *testing.T) {
	t.Parallel()
	h := hasher(t, cheap, rand.Reader, 1, 1)
	for _, v := range foreignVectors {
		kept, kind, err := secret.Foreign(v.hash)
		if err != nil || kind != v.kind || !secret.IsForeign(kept) {
			t.Errorf("%s, %s: %q, %v", v.from, v.hash, kind, err)
			continue
		}
		if right, stale, err := h.Verify(t.Context(), kept, v.password); !right || !stale || err != nil {
			t.Errorf("%s, %s: right %v, to be hashed anew %v, %v", v.from, v.hash, right, stale, err)
		}
		if right, stale, err := h.Verify(t.Context(), kept, v.password[1:]); right || stale || err != nil {
			t.Errorf("%s, %s: a part of the password passes, %v", v.from, v.hash, err)
		}
	}
}

func TestAHashOfOursThatWasImportedIsStillForeign(t *testing.T) {
	t.Parallel()
	h := hasher(t, cheap, rand.Reader, 1, 1)
	twin := hasher(t, secret.Argon2{MemoryKiB: 512, Passes: 1, Threads: 1}, rand.Reader, 1, 1)
	ours, err := twin.Hash(t.Context(), "plum otter vines sky")
	if err != nil {
		t.Fatal(err)
	}
	kept, kind, err := secret.Foreign(ours)
	if err != nil || kind != "argon2id" || secret.IsForeign(ours) || !secret.IsForeign(kept) {
		t.Fatal(kept, kind, err)
	}
	for _, by := range []*secret.Hasher{h, twin} {
		if right, stale, err := by.Verify(t.Context(), kept, "plum otter vines sky"); !right || !stale || err != nil {
			t.Errorf("right %v, to be hashed anew %v, %v", right, stale, err)
		}
	}
	if _, _, err := secret.Foreign(kept); !errors.Is(err, secret.ErrForeignForm) {
		t.Errorf("marked twice: %v", err)
	}
}

func TestHashesThatAreNotTaken(t *testing.T) {
	t.Parallel()
	const salt16, key32 = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	argon := func(cost string) string { return "$argon2id$v=19$" + cost + "$" + salt16 + "$" + key32 }
	scrypt := func(cost string) string { return "$scrypt$" + cost + "$" + salt16 + "$" + key32 }
	pbkdf2 := func(cost string) string { return "$pbkdf2-sha256$" + cost + "$" + salt16 + "$" + key32 }
	bcrypt := func(cost string) string {
		return "$2b$" + cost + "$" + "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	}
	for want, list := range map[error][]string{
		nil: {argon("m=262144,t=4,p=1"), argon("m=512,t=1,p=16"), scrypt("ln=18,r=8,p=1"), scrypt("ln=17,r=8,p=2"), pbkdf2("1000"), pbkdf2("2000000"), bcrypt("14")},
		secret.ErrForeignDear: {argon("m=262145,t=1,p=1"), argon("m=262144,t=5,p=1"), argon("m=999999999,t=999999999,p=1"), argon("m=19456,t=2,p=17"), argon("m=1024,t=1025,p=1"),
			scrypt("ln=19,r=8,p=1"), scrypt("ln=18,r=8,p=2"), scrypt("ln=31,r=1,p=1"), scrypt("ln=999999999,r=1,p=1"), scrypt("ln=10,r=999999999,p=999999999"), scrypt("ln=1,r=999999999,p=1"),
			pbkdf2("2000001"), pbkdf2("999999999"), "$pbkdf2$500001$" + salt16 + "$" + strings.Repeat("A", 86), bcrypt("15"), bcrypt("31"), bcrypt("99"),
			"scrypt$536870912$seasalt$8$1$" + key32 + "="},
		secret.ErrForeignCheap: {argon("m=256,t=1,p=1"), argon("m=127,t=99,p=16"), scrypt("ln=7,r=8,p=1"), pbkdf2("999"), pbkdf2("i=1"), bcrypt("04"), "pbkdf2_sha256$1$seasalt$" + key32 + "="},
		secret.ErrForeignForm: {"", " ", "plain text", "5f4dcc3b5aa765d61d8327deb882cf99", "{SSHA}x", "!", "$", "$$$$$", "$1$abcdefgh$0Np2QxGIMjVqOKY9i6Fta.", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNJnQJuesI68OTLiQFdcbYEdFCoEOfaS35inz1",
			strings.Replace(argon("m=512,t=1,p=1"), "v=19", "v=16", 1), strings.Replace(argon("m=512,t=1,p=1"), "2id", "2d", 1), strings.Replace(argon("m=512,t=1,p=1"), "$v=19", "", 1),
			argon("t=1,m=512,p=1"), argon("m=0512,t=1,p=1"), argon("m=512,t=0,p=1"), argon("m=512,t=1,p=0"), argon("m=-512,t=1,p=1"), argon("m=512,t=1"), argon("m=512,t=1,p=1,data=AA"), argon("m=512,t=1,p=+1"), argon("m=9999999999,t=1,p=1"),
			argon("m=512,t=1,p=1") + "$", argon("m=512,t=1,p=1") + "\n", argon("m=512,t=1,p=1") + "=", argon("m=512,t=1,p=1")[:60], "$argon2id$v=19$m=512,t=1,p=1$c2FsdA$" + key32, argon("m=512,t=1,p=1")[:50] + "\r\n" + argon("m=512,t=1,p=1")[50:],
			scrypt("ln=0,r=8,p=1"), scrypt("r=8,ln=8,p=1"), scrypt("ln=8,r=8"), "scrypt$16383$seasalt$8$1$" + key32 + "=", "scrypt$16384$$8$1$" + key32 + "=", "scrypt$16384$seasalt$8$1$" + key32,
			pbkdf2(""), pbkdf2("01212"), pbkdf2("i="), pbkdf2("i=1212,l=31"), pbkdf2("x=1212"), "$pbkdf2-md5$1212$" + salt16 + "$" + key32, "pbkdf2_md5$1212$seasalt$" + key32 + "=", "pbkdf2_sha256$1212$sea$" + key32 + "=", "pbkdf2_sha256$1212$seasalt$" + key32, "$pbkdf2-sha256$1212$" + salt16 + "$AAAA",
			strings.Replace(bcrypt("05"), "2b", "2x", 1), strings.Replace(bcrypt("05"), "2b", "2", 1), bcrypt("5"), bcrypt("03"), bcrypt("05") + "x", bcrypt("05")[:59], bcrypt("05")[:59] + "!", bcrypt("0x"), "bcrypt_sha256$" + bcrypt("05"), "imported:" + bcrypt("05"),
			"$pbkdf2-sha256$1212$" + strings.Repeat("A", 400) + "$" + strings.Repeat("A", 400), "\xff" + bcrypt("05"), "caf\u00e9" + bcrypt("05")},
	} {
		for _, s := range list {
			kept, kind, err := secret.Foreign(s)
			if !errors.Is(err, want) || (err == nil) != (want == nil) || (err != nil && (kept != "" || kind != "")) {
				t.Errorf("%q: %q, %v; want %v", s, kind, err, want)
			}
			if err != nil && len(s) > 8 && strings.Contains(err.Error(), s[len(s)-8:]) {
				t.Errorf("%v repeats the hash", err)
			}
		}
	}
}

// Those that take much memory go one after the other, and wait at the door of
// the hashers, not within: others go past them.
func TestHeavyHashesGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hasher(t, cheap, rand.Reader, 3, 10)
		kept, _, err := secret.Foreign("$argon2id$v=19$m=102400,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		if err != nil {
			t.Fatal(err)
		}
		leave, err := h.EnterHeavy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, _, err := h.Verify(ctx, kept, "x")
				done <- err
			}()
		}
		synctest.Wait()
		if len(done) != 0 {
			t.Error("a second one went in")
		}
		for range 3 {
			if _, err := h.Hash(t.Context(), "plum otter vines sky"); err != nil {
				t.Errorf("another behind them: %v", err)
			}
		}
		cancel()
		for range 2 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("who has gone: %v", err)
			}
		}
		leave()
		if right, _, err := h.Verify(t.Context(), kept, "x"); right || err != nil {
			t.Errorf("after it: %v, %v", right, err)
		}
	})
}
