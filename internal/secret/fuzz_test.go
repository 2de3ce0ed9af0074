package secret_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"countersign/internal/secret"
)

func FuzzParseToken(f *testing.F) {
	t, err := secret.NewToken(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", t.Reveal(), t.Reveal() + "=", t.Reveal()[1:], t.Reveal()[:42] + "B", "\n" + t.Reveal(), t.Reveal()[:20] + "\r\n" + t.Reveal()[20:], "+/+/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := secret.ParseToken(s)
		if err != nil {
			if !token.IsZero() {
				t.Errorf("%q is refused and taken", s)
			}
			return
		}
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(b) != secret.TokenSize || token.Reveal() != s || base64.RawURLEncoding.EncodeToString(b) != s {
			t.Errorf("%q is taken: one token must have one spelling", s)
		}
	})
}

var cost = regexp.MustCompile(`[0-9]{1,20}`)

func FuzzPasswordHash(f *testing.F) {
	h, err := secret.NewHasher(secret.Argon2{MemoryKiB: 8, Passes: 1, Threads: 1}, rand.Reader, 2, 100)
	if err != nil {
		f.Fatal(err)
	}
	good, err := h.Hash(context.Background(), "plum otter vines sky")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", good, good[1:], good + "$", good[:len(good)-1], "$argon2id$v=19$m=8,t=0,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=8,t=1,p=0$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=8,t=1,p=256$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=-8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=8,t=1,p=1$$", "$2b$10$abc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, phc string) {
		for _, n := range cost.FindAllString(phc, -1) {
			if v, err := strconv.Atoi(n); err != nil || v > 1<<10 {
				t.Skip("a cost that the machine would feel")
			}
		}
		right, _, err := h.Verify(context.Background(), phc, "plum otter vines sky")
		if right && (err != nil || phc == "") {
			t.Errorf("%q: right, %v", phc, err)
		}
	})
}

// Whatever is taken is bounded, is kept as it was given, and lets no other
// password in than the one it was made from.
func FuzzForeign(f *testing.F) {
	h, err := secret.NewHasher(secret.Argon2{MemoryKiB: 8, Passes: 1, Threads: 1}, rand.Reader, 2, 100)
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range foreignVectors {
		f.Add(v.hash)
	}
	for _, s := range []string{"", "$", "$$$$$", "argon2$argon2", "bcrypt$$2", "scrypt$16384$a$8$1$", "$pbkdf2$i=1000,l=20$$", "imported:$2a$05$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		kept, kind, err := secret.Foreign(s)
		if err != nil {
			if kept != "" || kind != "" || len(s) > 20 && strings.Contains(err.Error(), s) {
				t.Fatalf("refused, and yet %q, %q, %v", kept, kind, err)
			}
			return
		}
		if !secret.IsForeign(kept) || !strings.HasSuffix(kept, s) || len(kept) > 600 || kind == "" || strings.ContainsAny(s, "\r\n \x00") {
			t.Fatalf("%q is kept as %q", s, kept)
		}
		for _, n := range cost.FindAllString(s, -1) {
			if v, err := strconv.Atoi(n); err != nil || v > 1<<12 {
				t.Skip("a cost that the machine would feel")
			}
		}
		if strings.HasPrefix(s, "$2") && s[4:6] > "06" || strings.Contains(s, "ln=") {
			t.Skip("a cost that the machine would feel")
		}
		if right, stale, err := h.Verify(context.Background(), kept, "not the password of any"); right || stale || err != nil {
			t.Fatalf("%q: right %v, %v, %v", s, right, stale, err)
		}
	})
}
