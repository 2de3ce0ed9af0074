package request_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/fault"
	"countersign/internal/front/request"
)

// most is what the tests' servers give to an answer that is not a long one.
const most = 50 * time.Millisecond

// A small network keeps little on its way, so that a reader who takes nothing
// is felt soon.
type small struct{ net.Listener }

func (s small) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// A lines is a log that several write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve answers with h behind a guard, on a server that gives an answer no
// longer than most, and returns its address and the log.
func serve(t *testing.T, now func() time.Time, h func(g *request.Guard) http.HandlerFunc) (address string, log *lines) {
	t.Helper()
	log = &lines{}
	g := &request.Guard{Log: slog.New(slog.NewTextHandler(log, nil)), Machine: now}
	routes := &request.Router{}
	routes.HandleFunc("GET /file/{token}", h(g))
	g.Next, g.Panic = routes, func(http.ResponseWriter, *http.Request) { t.Error("panic") }
	s := httptest.NewUnstartedServer(g)
	s.Listener = small{s.Listener}
	s.Config.WriteTimeout = most
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), log
}

// ask asks for the file on a connection of its own, and returns the answer
// whose body nobody reads yet.
func ask(t *testing.T, address string) (*http.Response, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err == nil {
		err = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	if err == nil {
		_, err = io.WriteString(c, "GET /file/hunter2 HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	r, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func passed(d time.Duration) {
	for began := time.Now(); time.Since(began) <= d; { //nolint:revive // until it has
		time.Sleep(time.Millisecond)
	}
}

func always(*http.Request) error { return nil }

var errMine = fault.New(fault.Unavailable, "test.mine")

const (
	rows = 30_000
	row  = "0123456789012345678901234567890\n"
)

func manyRows(w io.Writer) error {
	for range rows {
		if _, err := io.WriteString(w, row); err != nil {
			return err
		}
	}
	return nil
}

func TestALongAnswerOutlivesTheTimeOfOthers(t *testing.T) {
	t.Parallel()
	for _, long := range []bool{true, false} {
		later := func() time.Time { return time.Now().Add(time.Minute) } // a reader has that much longer for each piece
		address, log := serve(t, later, func(g *request.Guard) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				write := func(w http.ResponseWriter, r *http.Request) error {
					if _, bounded := r.Context().Deadline(); bounded == long {
						t.Errorf("long %v: the context has a deadline: %v", long, bounded)
					}
					if request.InfoOf(r).ID == "" {
						t.Error("the request has lost its id")
					}
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
					passed(2 * most) // what an answer has as a whole is over
					return manyRows(w)
				}
				if !long {
					_ = write(w, r)
				} else if err := g.Long(w, r, always, write); err != nil {
					t.Error(err)
				}
			}
		})
		r, _ := ask(t, address)
		b, err := io.ReadAll(r.Body)
		if whole := err == nil && len(b) == rows*len(row); whole != long {
			t.Errorf("long %v: %d bytes, %v", long, len(b), err)
		}
		if log.String() != "" {
			t.Errorf("long %v: the log says %s", long, log)
		}
	}
}

// HTTP/2 bounds a stream from its beginning, whether anything is written or not.
func TestALongAnswerOverHTTP2(t *testing.T) {
	if os.Getenv("COUNTERSIGN_TEST_FAULTS") == "" {
		t.Skip("it takes four seconds; make test-faults runs it")
	}
	t.Parallel()
	g := &request.Guard{Log: slog.New(slog.DiscardHandler), Machine: time.Now}
	g.Next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.Long(w, r, always, func(w http.ResponseWriter, _ *http.Request) error {
			passed(4 * time.Second)
			return manyRows(w)
		}); err != nil {
			t.Error(err)
		}
	})
	s := httptest.NewUnstartedServer(g)
	s.EnableHTTP2 = true
	s.Config.WriteTimeout = 2 * time.Second
	s.StartTLS()
	t.Cleanup(s.Close)
	r, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	if b, err := io.ReadAll(r.Body); err != nil || len(b) != rows*len(row) || r.ProtoMajor != 2 {
		t.Errorf("HTTP/%d: %d bytes, %v", r.ProtoMajor, len(b), err)
	}
}

func TestAReaderWhoTakesNothingIsCutOff(t *testing.T) {
	t.Parallel()
	over := make(chan any, 1)
	address, log := serve(t, time.Now, func(g *request.Guard) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				p := recover()
				over <- p
				panic(p)
			}()
			_ = g.Long(w, r, always, func(w http.ResponseWriter, _ *http.Request) error {
				for {
					if err := manyRows(w); err != nil {
						return err
					}
				}
			})
		}
	})
	r, _ := ask(t, address)
	select {
	case p := <-over:
		if p != http.ErrAbortHandler { //nolint:errorlint // the sentinel itself
			t.Errorf("it ended with %v", p)
		}
	case <-time.After(time.Minute):
		t.Fatal("it is waited for without end")
	}
	if _, err := io.ReadAll(r.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half an answer looks whole: %v", err)
	}
	if said := log.String(); !strings.Contains(said, "an answer was broken off") || !strings.Contains(said, `route="GET /file/{token}"`) || strings.Contains(said, "hunter2") || strings.Contains(said, "level=ERROR") {
		t.Errorf("the log says %s", said)
	}
}

func TestAnAnswerThatBreaksOffDoesNotLookWhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		still error
		ends  error
		said  string
	}{
		"our fault":            {nil, errMine, "level=ERROR"},
		"no longer the reader": {fault.New(fault.SignedOut, "test.gone"), nil, "test.gone"},
	} {
		var ticks time.Duration
		began := time.Now()
		clock := func() time.Time { ticks += time.Second; return began.Add(time.Minute + ticks) } // called by one request alone
		address, log := serve(t, clock, func(g *request.Guard) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				_ = g.Long(w, r, func(*http.Request) error { return c.still }, func(w http.ResponseWriter, _ *http.Request) error {
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
					if err := manyRows(w); err != nil {
						return err
					}
					return c.ends
				})
			}
		})
		r, _ := ask(t, address)
		if b, err := io.ReadAll(r.Body); !errors.Is(err, io.ErrUnexpectedEOF) || c.still != nil && len(b) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if !strings.Contains(log.String(), c.said) || c.still != nil && strings.Contains(log.String(), "ERROR") {
			t.Errorf("%s: the log says %s", name, log)
		}
	}
}

func TestWhatFailsBeforeTheFirstByteIsAnswered(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, time.Now, func(g *request.Guard) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			err := g.Long(w, r, always, func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Disposition", "attachment")
				passed(2 * most)
				return errMine
			})
			w.WriteHeader(request.Status(err))
			_, _ = fmt.Fprint(w, err)
		}
	})
	r, _ := ask(t, address)
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusServiceUnavailable || string(b) != errMine.Error() || r.Header.Get("Content-Disposition") != "" || r.Header.Get("X-Request-Id") == "" {
		t.Errorf("%d, %q, %v, %v", r.StatusCode, b, r.Header, err)
	}
}

func TestALongAnswerEndsWithItsReader(t *testing.T) {
	t.Parallel()
	over := make(chan error, 1)
	address, _ := serve(t, time.Now, func(g *request.Guard) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_ = g.Long(w, r, always, func(w http.ResponseWriter, r *http.Request) error {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(time.Minute):
				}
				over <- r.Context().Err()
				return r.Context().Err()
			})
		}
	})
	_, c := ask(t, address)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("nobody reads, and it goes on: %v", err)
	}
}
