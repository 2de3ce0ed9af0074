package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/flow/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/server"
	"countersign/internal/store"
)

// turns lets two things take turns and returns how long their runs took.
func (o Options) turns(ctx context.Context, ours, theirs func(d time.Duration) ([]time.Duration, error)) (a, b []time.Duration, err error) {
	for range o.Rounds {
		for _, one := range []struct {
			do   func(d time.Duration) ([]time.Duration, error)
			into *[]time.Duration
		}{{ours, &a}, {theirs, &b}} {
			took, err := one.do(o.Slice)
			if err != nil {
				return nil, nil, errors.Join(err, ctx.Err())
			}
			*one.into = append(*one.into, took...)
		}
	}
	slices.Sort(a)
	slices.Sort(b)
	return a, b, nil
}

func mean(took []time.Duration) time.Duration {
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	return sum / time.Duration(len(took))
}

// againstEngine compares a check of a code with the same rows by plain SQL.
func (o Options) againstEngine(ctx context.Context, p *population, r *Report) error {
	o.Say("%s: TOTP check beside the bare database", p.engine)
	ours, bare, err := o.turns(ctx, func(d time.Duration) ([]time.Duration, error) {
		took, _, err := during(ctx, d, func() (func() error, error) { return checkTOTP(ctx, p) })
		return took, err
	}, func(d time.Duration) ([]time.Duration, error) {
		took, _, err := during(ctx, d, func() (func() error, error) { return checkPlain(ctx, p) })
		return took, err
	})
	if err != nil {
		return err
	}
	r.Comparisons = append(r.Comparisons, Comparison{What: "TOTP check with its replay row and event: rate of the bare database's, one at a time", Engine: p.engine,
		Ratio: float64(mean(bare)) / float64(mean(ours)), Target: .7, Note: fmt.Sprintf("%s against %s, means", rounded(mean(ours)), rounded(mean(bare)))})
	return nil
}

// serve runs the server on a population, and returns its URL.
func (p *population) serve(ctx context.Context) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	url = "http://localhost:" + l.Addr().(*net.TCPAddr).AddrPort().String()[len("127.0.0.1:"):]
	c := config.Config{Listen: l.Addr().String(), Data: p.dir, PublicURL: url, ServiceName: "Countersign", SignUp: "closed", RAMSuffix: store.DefaultSuffix, SessionLength: 6 * time.Hour, SessionIdle: time.Hour,
		FleetAlarm: 1 << 30, SendCeiling: 10_000, LogFormat: "text", Quota: config.Quota(account.DefaultQuotas), SMS: config.SMS{Ceiling: 5000, CountryCeiling: 1000},
		Argon2: config.Argon2{Memory: secret.DefaultArgon2.MemoryKiB, Passes: secret.DefaultArgon2.Passes, Waiting: 64}}
	if p.engine == "postgres" {
		c.Database = p.url
	}
	if err := c.Check(); err != nil {
		return "", nil, errors.Join(err, l.Close())
	}
	s, err := server.Open(ctx, c, slog.New(slog.DiscardHandler))
	if err == nil {
		err = s.Build(io.Discard)
	}
	if err != nil {
		return "", nil, errors.Join(err, l.Close())
	}
	serving, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(serving, l) })
	return url, func() {
		cancel()
		running.Wait()
		_ = s.Close()
	}, nil
}

// againstHandler compares the session check over HTTP with a handler that
// answers as many bytes and does nothing else.
func (o Options) againstHandler(ctx context.Context, p *population, r *Report) error {
	o.Say("%s: session check over HTTP, %d connections, beside a bare handler", p.engine, o.Clients)
	url, stop, err := p.serve(ctx)
	if err != nil {
		return err
	}
	defer stop()
	i, err := p.identity(ctx, p.somebody())
	if err != nil {
		return err
	}
	_, token, err := p.signed(ctx, i)
	if err != nil {
		return err
	}
	client := o.client()
	body, err := checkSession(ctx, client, url+sessionPath, token)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	bare := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})}
	go func() { _ = bare.Serve(l) }()
	defer func() { _ = bare.Close() }()
	at := func(url string) func(d time.Duration) ([]time.Duration, error) {
		return func(d time.Duration) ([]time.Duration, error) {
			return o.together(d, func() error {
				_, err := checkSession(ctx, client, url, token)
				return err
			})
		}
	}
	ours, theirs, err := o.turns(ctx, at(url+sessionPath), at("http://"+l.Addr().String()))
	if err != nil {
		return err
	}
	r.Comparisons = append(r.Comparisons,
		Comparison{What: "session check over HTTP: rate of a bare handler's", Engine: p.engine, Ratio: float64(len(ours)) / float64(len(theirs)), Target: .6,
			Note: fmt.Sprintf("%.0f/s against %.0f/s, the client on the same cores", o.rate(ours), o.rate(theirs))},
		Comparison{What: "session check over HTTP: p99 of a bare handler's", Engine: p.engine, Ratio: float64(quantile(ours, .99)) / float64(quantile(theirs, .99)), AtMost: true, Target: 2,
			Note: fmt.Sprintf("%s against %s", rounded(quantile(ours, .99)), rounded(quantile(theirs, .99)))})
	return nil
}

func (o Options) rate(took []time.Duration) float64 {
	return float64(len(took)) / (o.Slice.Seconds() * float64(o.Rounds))
}

func (o Options) client() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: o.Clients, MaxConnsPerHost: o.Clients}}
}

// sessionPath answers whether a session is live.
const sessionPath = "/api/v1/session"

// checkSession asks a URL as a service does that was shown a token.
func checkSession(ctx context.Context, client *http.Client, url string, token secret.Token) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+token.Reveal())
	return fetch(client, q)
}

// fetch returns the body of a good answer.
func fetch(client *http.Client, q *http.Request) ([]byte, error) {
	res, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("bench: %s answers %s", q.URL.Path, res.Status)
	}
	return body, err
}

// together has every client do the same for as long as given.
func (o Options) together(d time.Duration, do func() error) (took []time.Duration, err error) {
	var mu sync.Mutex
	var running sync.WaitGroup
	end := time.Now().Add(d)
	for range o.Clients {
		running.Go(func() {
			var own []time.Duration
			var failed error
			for failed == nil && time.Now().Before(end) {
				start := time.Now()
				failed = do()
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			took, err = append(took, own...), errors.Join(err, failed)
		})
	}
	running.Wait()
	return took, err
}

// cpu is the time that this process has had of the processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// againstHash compares the processor time of a whole sign-in, at the real cost
// of a password hash, with that of the hash alone.
func (o Options) againstHash(ctx context.Context, p *population, r *Report) error {
	o.Say("%s: sign-in beside its password hash", p.engine)
	hasher, err := secret.NewHasher(secret.DefaultArgon2, rand.Reader, 1, 1)
	if err != nil {
		return err
	}
	prover := *p.prover
	prover.Hasher = hasher
	flow := &signin.Flow{Prover: &prover, Lifetimes: session.Default}
	hash, err := hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	people := min(10, p.size) // several, so that collections of garbage fall evenly
	err = p.db.Write(ctx, audit.Housekeeping("bench"), func(tx *store.Tx) error {
		for n := range people {
			i, err := prover.Find(&tx.Reader, prove.Door{RAM: true}, name(n))
			if err == nil {
				err = tx.SetPasswordHash(i.ID, i.PasswordHash, hash, true)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var whole, alone time.Duration
	for end := time.Now().Add(o.Slice * time.Duration(2*o.Rounds)); whole == 0 || time.Now().Before(end); {
		p.moved.Add(int64(2 * factor.TOTPStep))
		start := cpu()
		for n := range people {
			v := visitor()
			at, err := flow.Begin(ctx, v, prove.Door{RAM: true}, name(n), password, "")
			if err != nil {
				return err
			}
			if _, err := flow.Answer(ctx, v, at.Token, prove.Answer{Method: factor.VirtualMFA, Codes: []string{p.code()}}); err != nil {
				return err
			}
		}
		middle := cpu()
		for range people {
			if _, _, err := hasher.Verify(ctx, hash, password); err != nil {
				return err
			}
		}
		whole, alone = whole+middle-start, alone+cpu()-middle
	}
	r.Comparisons = append(r.Comparisons, Comparison{What: "sign-in with password and code: processor time of its hash's", Engine: p.engine, Ratio: float64(whole) / float64(alone), AtMost: true, Target: 1.05,
		Note: "the database's own processes not counted"})
	return nil
}

func rounded(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}
