package secret_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"strconv"
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
