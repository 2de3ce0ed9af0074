package browsertest

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"countersign/internal/testkit"
)

// An App is an authenticator app: oathtool, with a clock that may be off.
type App struct {
	T     testing.TB
	Site  *testkit.Site
	Key   string
	Drift time.Duration
}

const step = 30 * time.Second

// At is the code that the app shows so much later.
func (a *App) At(later time.Duration) string {
	a.T.Helper()
	return a.run(later)
}

func (a *App) run(later time.Duration, more ...string) string {
	a.T.Helper()
	at := a.Site.Now().Add(a.Drift + later).Unix()
	out, err := exec.Command("oathtool", append([]string{"--totp", "-b", a.Key, "--now", fmt.Sprintf("@%d", at)}, more...)...).CombinedOutput()
	if err != nil {
		a.T.Fatalf("oathtool: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// Next moves the time on to the next code, and returns it.
func (a *App) Next() string {
	a.T.Helper()
	now := a.Site.Now()
	a.Wait(now.Truncate(step).Add(step + 100*time.Millisecond).Sub(now))
	return a.At(0)
}

// Wait lets the site's time pass.
func (a *App) Wait(d time.Duration) {
	a.T.Helper()
	if err := a.Site.Clock().Advance(d); err != nil {
		a.T.Fatal(err)
	}
}

// Wrong is a code that the app shows neither now nor around now.
func (a *App) Wrong(n int) string {
	a.T.Helper()
	near := a.run(-12*step, "-w", "24")
	for code := 111111 * (1 + n%8); ; code++ {
		if s := fmt.Sprintf("%06d", code); !strings.Contains(near, s) {
			return s
		}
	}
}
