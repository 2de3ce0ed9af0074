package secret_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"countersign/internal/secret"
)

var cheap = secret.Argon2{MemoryKiB: 64, Passes: 1, Threads: 1}

func hasher(t testing.TB, a secret.Argon2, random io.Reader, atOnce, queue int) *secret.Hasher {
	t.Helper()
	h, err := secret.NewHasher(a, random, atOnce, queue)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPasswordsAreHashedWhole(t *testing.T) {
	t.Parallel()
	h := hasher(t, cheap, rand.Reader, 1, 1)
	long := strings.Repeat("x", 100)
	for password, others := range map[string][]string{
		long:             {long[:72], long + "x", strings.ToUpper(long)},
		"pass word":      {"password", "pass word ", " pass word"},
		"caf\u00e9 noir": {"cafe noir"},
		"a\x00b":         {"a", "a\x00c"},
	} {
		phc, err := h.Hash(t.Context(), password)
		if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
			t.Fatal(phc, err)
		}
		if right, stale, err := h.Verify(t.Context(), phc, password); !right || stale || err != nil {
			t.Errorf("%q: %v %v %v", password, right, stale, err)
		}
		for _, other := range others {
			if right, _, err := h.Verify(t.Context(), phc, other); right || err != nil {
				t.Errorf("%q passes for %q: %v", other, password, err)
			}
		}
		if again, _ := h.Hash(t.Context(), password); again == phc {
			t.Error("two hashes of one password are equal")
		}
	}
}

func TestComposedAndDecomposedLettersAreOne(t *testing.T) {
	t.Parallel()
	h := hasher(t, cheap, rand.Reader, 1, 1)
	phc, err := h.Hash(t.Context(), "caf\u00e9 am Eck")
	if err != nil {
		t.Fatal(err)
	}
	if right, _, err := h.Verify(t.Context(), phc, "cafe\u0301 am Eck"); !right || err != nil {
		t.Error(right, err)
	}
}

func TestDearerParametersMakeAHashStale(t *testing.T) {
	t.Parallel()
	phc, err := hasher(t, cheap, rand.Reader, 1, 1).Hash(t.Context(), "word")
	if err != nil {
		t.Fatal(err)
	}
	dearer := hasher(t, secret.Argon2{MemoryKiB: 128, Passes: 2, Threads: 1}, rand.Reader, 1, 1)
	if right, stale, err := dearer.Verify(t.Context(), phc, "word"); !right || !stale || err != nil {
		t.Error(right, stale, err)
	}
	if right, stale, err := dearer.Verify(t.Context(), phc, "other"); right || stale || err != nil {
		t.Error(right, stale, err)
	}
}

func TestNoPasswordIsNeverRight(t *testing.T) {
	t.Parallel()
	h := hasher(t, cheap, rand.Reader, 1, 1)
	for _, password := range []string{"", "x"} {
		if right, _, err := h.Verify(t.Context(), "", password); right || err != nil {
			t.Error(password, right, err)
		}
	}
}

// A gate holds whoever draws from it until it is opened.
type gate struct {
	entered chan struct{}
	open    chan struct{}
}

func (g gate) Read(b []byte) (int, error) {
	g.entered <- struct{}{}
	<-g.open
	return rand.Read(b)
}

func TestFullQueueSaysSo(t *testing.T) {
	t.Parallel()
	g := gate{make(chan struct{}, 100), make(chan struct{})}
	// What is drawn at the start must pass.
	first := true
	h := hasher(t, cheap, readerFunc(func(b []byte) (int, error) {
		if first {
			first = false
			return rand.Read(b)
		}
		return g.Read(b)
	}), 1, 2)
	var running sync.WaitGroup
	running.Go(func() { _, _ = h.Hash(context.Background(), "works") })
	<-g.entered // one works; two may wait
	waiting, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 2)
	for range 2 {
		running.Go(func() {
			for { // whoever tries below may stand in the queue for a moment
				_, err := h.Hash(waiting, "waits")
				if !errors.Is(err, secret.ErrBusy) {
					errs <- err
					return
				}
			}
		})
	}
	// The next one is refused at once as soon as both wait; until then it would wait itself.
	for {
		ctx, stop := context.WithCancel(context.Background())
		stop()
		_, err := h.Hash(ctx, "too many")
		if errors.Is(err, secret.ErrBusy) {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	cancel()
	for range 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	close(g.open)
	running.Wait()
	if _, err := h.Hash(context.Background(), "room again"); err != nil {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestBrokenRandomnessMakesNoSecret(t *testing.T) {
	t.Parallel()
	broken := iotest.ErrReader(errors.New("no entropy"))
	if _, err := secret.NewToken(broken); err == nil {
		t.Error("a token")
	}
	if _, err := secret.Digits(broken, 6); err == nil {
		t.Error("digits")
	}
	if _, err := secret.NewHasher(cheap, broken, 1, 1); err == nil {
		t.Error("a hasher")
	}
}

func TestTokensDoNotPrint(t *testing.T) {
	t.Parallel()
	token, err := secret.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
		if s := fmt.Sprintf(format, token); strings.Contains(s, token.Reveal()) {
			t.Errorf("%s prints %s", format, s)
		}
	}
	if again, err := secret.ParseToken(token.Reveal()); err != nil || string(again.Hash()) != string(token.Hash()) {
		t.Error(err)
	}
}

// Every digit equally likely, leading zeros included (chi-square, 9 degrees
// of freedom; 33.7 is exceeded once in 10,000 runs).
func TestDigitsAreUniform(t *testing.T) {
	t.Parallel()
	var counts [6][10]int
	const draws = 20_000
	for range draws {
		code, err := secret.Digits(rand.Reader, 6)
		if err != nil || len(code) != 6 {
			t.Fatal(code, err)
		}
		for place, digit := range code {
			counts[place][digit-'0']++
		}
	}
	for place, c := range counts {
		chi := 0.0
		for _, n := range c {
			d := float64(n) - draws/10.0
			chi += d * d / (draws / 10.0)
		}
		if chi > 45 {
			t.Errorf("place %d: chi-square %.1f, %v", place, chi, c)
		}
	}
}
