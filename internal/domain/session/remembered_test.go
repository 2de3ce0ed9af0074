package session_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/session"
	"countersign/internal/secret"
)

func token(t *testing.T) secret.Token {
	t.Helper()
	one, err := secret.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func TestARememberTokenIsBothItsPartsOrNothing(t *testing.T) {
	t.Parallel()
	made := session.RememberToken{Series: token(t), Secret: token(t)}
	said := made.Reveal()
	if got := session.ParseRememberToken(said); got != made || got.IsZero() {
		t.Errorf("%q is read as %v", said, got)
	}
	series, rest, _ := strings.Cut(said, ".")
	for _, s := range []string{"", ".", series, series + ".", "." + rest, said + ".", said + "." + rest, said[:len(said)-1], said[1:], said + "\n", " " + said, series + ".." + rest, strings.Repeat("a", 10_000), series + "." + strings.Repeat("!", len(rest))} {
		if got := session.ParseRememberToken(s); !got.IsZero() || got != (session.RememberToken{}) {
			t.Errorf("%.100q is a token", s)
		}
	}
	if printed := fmt.Sprintf("%v %+v %#v", made, made, made); strings.Contains(printed, series) || strings.Contains(printed, rest) {
		t.Errorf("printed: %s", printed)
	}
}

func TestADeviceIsRememberedUntilItsEndAndWhileTheEpochIsTheSame(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	d := session.RememberedDevice{Epoch: 3, ExpiresAt: now}
	for _, one := range []struct {
		epoch int64
		now   time.Time
		want  bool
	}{{3, now.Add(-time.Microsecond), true}, {3, now, false}, {3, now.Add(time.Hour), false}, {2, now.Add(-time.Hour), false}, {4, now.Add(-time.Hour), false}} {
		if got := d.Live(one.epoch, one.now); got != one.want {
			t.Errorf("at %s in epoch %d: %v", one.now, one.epoch, got)
		}
	}
}
