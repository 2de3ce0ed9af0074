// Package server puts the parts together, runs them, and stops them.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"countersign/internal/config"
	"countersign/internal/delivery"
	"countersign/internal/domain/message"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/selfservice"
	"countersign/internal/flow/signin"
	"countersign/internal/flow/signup"
	"countersign/internal/flow/verify"
	"countersign/internal/front/api"
	"countersign/internal/front/request"
	"countersign/internal/front/web/console"
	"countersign/internal/front/web/page"
	"countersign/internal/front/web/security"
	websignin "countersign/internal/front/web/signin"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A Server is the running product.
type Server struct {
	DB     *store.DB
	SignUp *signup.Flow
	SignIn *signin.Flow
	Admin  *admin.Flow
	Routes *request.Router

	observed observation

	config  config.Config
	keys    *secret.Keyring
	clock   *Clock
	log     *slog.Logger
	out     io.Writer
	handler http.Handler
	worker  *delivery.Worker
	closers []func(ctx context.Context) error // of senders

	draining atomic.Bool
	after    func(d time.Duration) <-chan time.Time
}

// Open prepares the data directory, the keys and the store: what every
// command needs.
func Open(ctx context.Context, c config.Config, log *slog.Logger) (*Server, error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the data directory: %w", err)
	}
	s := &Server{config: c, log: log, after: time.After}
	s.observed = observe(&s.config, log)
	var err error
	if s.clock, err = newClock(c.Data, c.Dev); err != nil {
		return nil, err
	}
	if s.keys, err = secret.OpenKeyring(c.Keys, rand.Reader, s.clock.Now()); err != nil {
		return nil, err
	}
	s.DB, err = store.Open(ctx, store.Config{URL: c.DatabaseURL(), Keys: s.keys, Now: s.clock.Now, Random: rand.Reader, Log: log, Suffix: c.RAMSuffix, Recorded: s.observed.recorded(), Connections: c.DatabaseConnections, Patience: c.DatabasePatience})
	if err != nil {
		return nil, err
	}
	hasher, err := secret.NewHasher(c.HashCost(), rand.Reader, c.Argon2.AtOnce, c.Argon2.Waiting)
	if err != nil {
		return nil, errors.Join(err, s.DB.Close())
	}
	prover := &prove.Prover{DB: s.DB, Hasher: hasher, Random: rand.Reader, FleetAlarm: c.FleetAlarm, Fleet: &prove.Fleet{}, Sending: s.sending(), Quotas: c.Quotas(), Suffix: c.RAMSuffix, Passkeys: relyingParty(&c),
		Service: message.Service{Name: c.ServiceName, URL: c.PublicURL, Contact: c.Contact}}
	s.SignUp = &signup.Flow{Prover: prover, Open: c.SignUp == "open"}
	s.SignIn = &signin.Flow{Prover: prover, Lifetimes: c.Lifetimes()}
	s.Admin = &admin.Flow{Prover: prover, Lifetimes: c.Lifetimes(), TXT: net.DefaultResolver.LookupTXT}
	s.watchFlows(hasher)
	return s, nil
}

// Close closes the store.
func (s *Server) Close() error { return s.DB.Close() }

// Now is the server's time.
func (s *Server) Now() time.Time { return s.clock.Now() }

// Clock is where the server's time comes from.
func (s *Server) Clock() *Clock { return s.clock }

// Keys are the server's keys.
func (s *Server) Keys() *secret.Keyring { return s.keys }

// Build mounts the fronts and prepares delivery. What development mode prints
// goes to out.
func (s *Server) Build(out io.Writer) error {
	c := s.config
	s.out = out
	proxies, err := c.Proxies()
	if err != nil {
		return err
	}
	secure := strings.HasPrefix(c.PublicURL, "https:")
	guard := &request.Guard{Trusted: proxies, Log: s.log, HSTS: secure, Machine: time.Now}
	if c.Dev {
		guard.Now = s.clock.Now
	}
	kit := &page.Kit{Service: c.ServiceName, Contact: c.Contact, Secure: secure, Dev: c.Dev, Keys: s.keys, Now: s.clock.Now, Log: s.log, Guard: guard, Idle: c.SessionIdle}
	kit.Who = func(r *http.Request, token secret.Token) (prove.Signed, error) {
		return s.SignIn.Who(r.Context(), token)
	}
	kit.Init()

	routes := &request.Router{}
	s.Routes = routes
	self := &selfservice.Flow{Prover: s.SignIn.Prover, Lifetimes: c.Lifetimes()}
	signedOut := websignin.New(kit, s.SignIn, s.SignUp)
	signedOut.KeepLocale = func(r *http.Request, who prove.Signed, tag string) error {
		return self.SetLocale(r.Context(), kit.Visitor(r), who, tag)
	}
	signedOut.Mount(routes)
	verifying := &verify.Flow{Prover: s.SignIn.Prover}
	own := security.New(kit, self, verifying)
	own.Mount(routes)
	administration := console.New(kit, s.Admin, verifying)
	administration.Mount(routes)
	own.OnVerified("/console/resume", administration.Resume)
	routes.Handle("GET /assets/{hash}/{name}", kit.Handle(kit.ServeAsset))
	routes.Handle("GET /.well-known/change-password", http.RedirectHandler("/security/password", http.StatusFound))
	if err := errors.Join(s.mountPasskeys(routes), s.loadMetadata()); err != nil {
		return err
	}
	json := &api.API{Flow: s.SignIn, Guard: guard, Log: s.log, SessionCookie: kit.CookieName(page.CookieSession), Secure: secure}
	json.Mount(routes)
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { health(w, http.StatusOK, "ok") })
	routes.HandleFunc("GET /readyz", s.ready)
	routes.Handle("GET "+request.ProbePath, &request.Probe{Keys: s.keys, Trusted: proxies, Now: s.clock.Now, Hidden: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kit.Fail(w, r, request.ErrNotFound)
	})})
	if c.Dev {
		(&development{server: s, kit: kit, page: page.New[outboxPage](kit, page.Files{FS: developmentFS}, "templates/outbox.html")}).mount(routes)
	}
	routes.Refuse = func(w http.ResponseWriter, r *http.Request, err error) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			json.Refuse(w, r, err)
			return
		}
		kit.Fail(w, r, err)
	}
	guard.Next = routes
	guard.Panic = func(w http.ResponseWriter, r *http.Request) { routes.Refuse(w, r, errPanic) }
	s.handler = guard

	senders, err := s.senders()
	if err != nil {
		return err
	}
	s.worker = &delivery.Worker{DB: s.DB, Senders: senders, Development: c.Dev, Terminal: out, Log: s.log, Now: s.clock.Now, Wake: s.DB.Woken()}
	s.watchFronts(guard, s.worker)
	return nil
}

var errPanic = errors.New("panic")

// Handler answers requests.
func (s *Server) Handler() http.Handler { return s.handler }

func health(w http.ResponseWriter, status int, what string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"status":%q}`+"\n", what)
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		health(w, http.StatusServiceUnavailable, "draining")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 3*time.Second) // a statement that is broken off costs its connection
	defer cancel()
	if err := s.DB.Ready(ctx); errors.Is(err, secret.ErrSealed) {
		s.log.Error("not ready", "part", "keys", "error", err.Error())
		health(w, http.StatusServiceUnavailable, "keys do not belong to the database")
		return
	} else if err != nil {
		s.log.Error("not ready", "part", "database", "error", err.Error())
		w.Header().Set("Retry-After", "5")
		health(w, http.StatusServiceUnavailable, "database unavailable")
		return
	}
	health(w, http.StatusOK, "ready")
}

// Listen takes the address, and says what to do when another program has it.
func (s *Server) Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", s.config.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(s.config.Listen)
		return nil, fmt.Errorf("port %s is taken by another program; choose another one: --listen localhost:8081 (make run LISTEN=localhost:8081)", port)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := s.listenAside(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Serve serves on l until ctx ends, then drains.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{Handler: s.leaving(s.handler), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	jobs, stop := context.WithCancel(s.observed.tracer.Into(context.WithoutCancel(ctx)))
	var running sync.WaitGroup
	s.SignIn.Sending.Patience = patience // from now on somebody delivers
	running.Go(func() { s.worker.Run(jobs) })
	running.Go(func() { s.janitor(jobs) })
	dial := newDial(s.clock.Now)
	running.Go(func() { s.watchClock(jobs, dial) })
	running.Go(func() { s.serveAside(jobs) })
	running.Go(func() { s.sendTraces(jobs) })
	running.Go(func() { s.watch(jobs) })
	failed := make(chan error, 1)
	go func() {
		if s.config.TLSCert != "" {
			failed <- h.ServeTLS(l, s.config.TLSCert, s.config.TLSKey)
		} else {
			failed <- h.Serve(l)
		}
	}()
	s.tell("READY=1")
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = s.drain(h, failed)
	}
	stop()
	running.Wait()
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, c := range s.closers {
		if err := c(ending); err != nil {
			s.log.Warn("a sender did not end well", "error", err.Error())
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// janitor removes what is over and picks up new keys, once a minute.
func (s *Server) janitor(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		err := s.expire(ctx)
		if err == nil {
			err = s.keys.Refresh()
		}
		if err == nil {
			err = errors.Join(s.sweep(ctx), s.daily(ctx), s.days(ctx), s.digests(ctx))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("housekeeping", "error", err.Error())
		}
		s.SignIn.Hasher.Release()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// SetupURL is the one-time link that creates the first account, or empty
// where there is one.
func (s *Server) SetupURL(ctx context.Context) (string, error) {
	token, ok, err := s.SignUp.SetupLink(ctx)
	if err != nil || !ok {
		return "", err
	}
	return s.config.PublicURL + "/setup/" + token.Reveal(), nil
}
