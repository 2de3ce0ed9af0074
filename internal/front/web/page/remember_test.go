package page

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"countersign/internal/domain/session"
	"countersign/internal/secret"
)

func TestTheCookieOfARememberedDeviceIsForThisHostAloneAndEndsWithIt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	var token session.RememberToken
	for _, part := range []*secret.Token{&token.Series, &token.Secret} {
		made, err := secret.NewToken(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		*part = made
	}
	for _, one := range []struct {
		secure bool
		name   string
	}{{true, "__Host-countersign_remember"}, {false, "countersign_remember"}} {
		k := &Kit{Secure: one.secure, Now: func() time.Time { return now }}
		w := httptest.NewRecorder()
		k.SetRemembered(w, token, now.Add(session.RememberedLifetime-time.Hour))
		got := w.Result().Cookies()
		if len(got) != 1 || got[0].Name != one.name || got[0].Value != token.Reveal() || got[0].MaxAge != 7*24*3600-3600 || !got[0].HttpOnly || got[0].Secure != one.secure || got[0].SameSite != http.SameSiteLaxMode || got[0].Path != "/" || got[0].Domain != "" {
			t.Errorf("%+v", got)
		}
	}
}
