package account_test

import (
	"strings"
	"testing"

	"countersign/internal/domain/account"
)

func TestWhatWasMeantIsOneSlipAway(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"uma@gmial.com":                          "uma@gmail.com", // two exchanged
		"uma@gmal.com":                           "uma@gmail.com", // one too few
		"uma@gmaill.com":                         "uma@gmail.com", // one too many
		"uma@gmaul.com":                          "uma@gmail.com", // a wrong one
		" Uma@GMIAL.com ":                        "Uma@gmail.com",
		"uma@outlok.com":                         "uma@outlook.com",
		"uma@hotmail.con":                        "uma@hotmail.com",
		"uma@example.con":                        "uma@example.com",
		"uma@yahoo.co.pj":                        "uma@yahoo.co.jp",
		"uma@sina.com":                           "", // beside sina.cn, and a provider itself
		"uma@gmail.com":                          "",
		"uma@GMAIL.COM":                          "",
		"uma@example.com":                        "",
		"uma@gmx.at":                             "",
		"uma@qq.cm":                              "", // too short to guess at
		"uma@mail.example":                       "",
		"uma@gmaiil.org":                         "",
		"uma":                                    "",
		"@gmial.com":                             "",
		"":                                       "",
		"a@" + strings.Repeat("g", 400) + ".con": "",
	} {
		if got := account.EmailMeant(typed); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

func FuzzEmailMeant(f *testing.F) {
	f.Add("uma@gmial.com")
	f.Add("@@.con")
	f.Fuzz(func(t *testing.T, typed string) {
		meant := account.EmailMeant(typed)
		if meant == "" {
			return
		}
		local, _, _ := strings.Cut(strings.TrimSpace(typed), "@")
		if !strings.HasPrefix(meant, local+"@") || account.EmailMeant(meant) == meant {
			t.Errorf("%q: %q", typed, meant)
		}
	})
}
