package account_test

import (
	"errors"
	"strings"
	"testing"

	"countersign/internal/domain/account"
)

func TestPasswordRules(t *testing.T) {
	for _, c := range []struct {
		name, password string
		mfa            bool
		want           error
	}{
		{"fourteen characters alone", "vq7-glade-tort", false, account.ErrPasswordShort},
		{"fifteen characters alone", "vq7-glade-torte", false, nil},
		{"seven characters with MFA", "vq7-gla", true, account.ErrPasswordShort},
		{"eight characters with MFA", "vq7-glad", true, nil},
		{"eight Chinese characters with MFA", "山高月小水落石出", true, nil},
		{"lower-case letters alone", "xkjwmvqpzrhtbdfg", false, nil},
		{"a doubled Chinese character", "紫竹林外有一只小小的青蛙在唱歌", false, nil},
		{"a doubled Japanese one", "春眠不覚暁処処聞啼鳥夜来風雨声", false, nil},
		{"a doubled Cyrillic one", "кошкаасидитнаокне", false, nil},
		{"one Chinese character all over", "好好好好好好好好好好好好好好好", false, account.ErrPasswordCommon},
		{"a common one with an accent", "password12345678é", false, account.ErrPasswordCommon},
		{"what nobody can type", "plum otter\x00vines sky", false, account.ErrPasswordForm},
		{"broken UTF-8", "plum otter vines \xff\xfe sky", false, account.ErrPasswordForm},
		{"spaces", "plum otter vines sky", false, nil},
		{"a hundred characters", strings.Repeat("plum otter ", 9) + "v", false, nil},
		{"too long", strings.Repeat("plum-otter", 13), false, account.ErrPasswordLong},
		{"nothing", "", false, account.ErrPasswordMissing},
		{"a common one", "password12345678", false, account.ErrPasswordCommon},
		{"a common one, leet", "P@ssw0rd12345678", false, account.ErrPasswordCommon},
		{"repeated letter", "aaaaaaaaaaaaaaaaa", false, account.ErrPasswordCommon},
		{"keyboard row", "qwertyuiopasdfgh", false, account.ErrPasswordCommon},
		{"product and year", "countersign2026", false, account.ErrPasswordContext},
		{"user name doubled", "marguerite-marguerite", false, account.ErrPasswordContext},
		{"the address itself", "marguerite@orchard.example", false, account.ErrPasswordContext},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := account.CheckPassword(c.password, c.mfa, "Countersign", "marguerite@orchard.example")
			if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestEmailForms(t *testing.T) {
	for _, good := range []string{"a@b", "Alice.Smith+tag@example.com", " x@y.example ", "用户@例子.example"} {
		if _, err := account.ParseEmail(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a", "@b", "a@", "a@b@c", "a b@c", ".a@b", "a..b@c", "a@b\r\nBcc: x@y", "a@-b", "a@b>", "a\x00@b", strings.Repeat("x", 65) + "@b", "a@" + strings.Repeat("x", 260)} {
		if got, err := account.ParseEmail(bad); err == nil {
			t.Errorf("%q was taken as %q", bad, got)
		}
	}
}

func TestMaskedEmailKeepsItsShape(t *testing.T) {
	for in, want := range map[string]string{"alice@example.com": "a***@e***.com", "a@b": "a***@b***", "用户@例子.example": "用***@例***.example", "x": "***"} {
		if got := account.MaskEmail(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzParseEmail(f *testing.F) {
	f.Add("alice@example.com")
	f.Add("a@b\n")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := account.ParseEmail(s)
		if err == nil && (strings.ContainsAny(got, " \r\n\t<>,;:\"\x00") || strings.Count(got, "@") != 1 || len(got) > account.EmailMaxBytes) {
			t.Errorf("%q was taken", got)
		}
	})
}
