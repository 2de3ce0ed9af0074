package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	channel = "countersign"
	hello   = "hello " // begins what a listener says to itself

	beat   = 250 * time.Millisecond // between an answer and the next question
	answer = 700 * time.Millisecond // how long one may take

	// Lease is how long an answer is good for: counted from its question, since
	// whatever was announced before that had been heard when it came.
	Lease = time.Second

	firstPause, lastPause = 100 * time.Millisecond, 5 * time.Second
)

// Whether the database takes announcements.
const (
	announcesUnknown int32 = iota
	announcesYes
	announcesNo
)

// foreign reports whether a database says that it knows no announcements.
func foreign(err error) bool { return said(err, "0A000", "42601", "42883") } // not supported, no syntax, no function

// Announce has what other nodes must know go out with the COMMIT of t, each
// once. On SQLite, and on databases that know no announcements, it does nothing.
func (e *Engine) Announce(ctx context.Context, t Transaction, what []string) error {
	known := e.announces.Load()
	if !e.dialect.postgres || known == announcesNo || len(what) == 0 {
		return nil
	}
	const notify = "SELECT pg_notify('" + channel + "', w) FROM unnest(CAST($1 AS TEXT[])) w"
	if known == announcesYes {
		return Later(ctx, t, nil, notify, what)
	}
	if _, err := t.ExecContext(ctx, "SAVEPOINT announce"); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, notify, what); foreign(err) {
		_, err = t.ExecContext(ctx, "ROLLBACK TO SAVEPOINT announce")
		if err == nil {
			e.announces.Store(announcesNo)
		}
		return err
	} else if err != nil {
		return err
	}
	e.announces.Store(announcesYes)
	return nil
}

// A Listener hears what the writes of all nodes announce, and knows how long
// it may be sure of having heard everything.
type Listener struct {
	engine *Engine
	now    func() time.Time
	log    *slog.Logger
	fresh  func()
	hear   func(what string)

	answered atomic.Pointer[time.Time] // when the last question that was answered was asked; nil: the channel is lost
	deaf     atomic.Bool

	stop  context.CancelFunc
	ended chan struct{}
}

// Listen begins to listen. fresh is called whenever nothing known until then
// may be relied on, before Holds says that it holds.
func (e *Engine) Listen(now func() time.Time, log *slog.Logger, fresh func(), hear func(what string)) *Listener {
	l := &Listener{engine: e, now: now, log: log, fresh: fresh, hear: hear, ended: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.deaf.Store(!e.dialect.postgres)
	go l.run(ctx)
	return l
}

// Holds reports whether everything announced up to a second before now has
// been heard. Both the time that passed and the time of day have to say so: a
// machine that was asleep has not heard anything.
func (l *Listener) Holds(now time.Time) bool {
	at := l.answered.Load()
	return at != nil && within(now.Sub(*at)) && within(now.Round(0).Sub(at.Round(0)))
}

func within(d time.Duration) bool { return 0 <= d && d <= Lease }

// Deaf reports whether there is nothing to listen to: SQLite, and databases
// without LISTEN.
func (l *Listener) Deaf() bool { return l.deaf.Load() }

// Close stops listening.
func (l *Listener) Close() {
	l.stop()
	<-l.ended
}

func (l *Listener) run(ctx context.Context) {
	defer close(l.ended)
	told := false
	for pause := firstPause; !l.Deaf(); pause = min(2*pause, lastPause) {
		err := l.attend(ctx, told)
		if l.answered.Swap(nil) != nil {
			told, pause = false, firstPause
		}
		if ctx.Err() != nil {
			return
		}
		if foreign(err) {
			l.deaf.Store(true)
			l.log.Info("this database has no LISTEN: sessions are trusted for a second", "part", "database")
			return
		}
		if !told {
			told = true
			l.log.Warn("the channel between nodes is lost: every check reads the database", "part", "database", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause/2)): //nolint:gosec // spreads nodes, no secret
		}
	}
}

// attend listens on one connection until that is lost.
func (l *Listener) attend(ctx context.Context, again bool) error {
	c := l.engine.connect.Copy()
	c.RuntimeParams["application_name"] += " listener"
	proof, proved := "", false
	c.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		switch {
		case n.Channel != channel:
		case n.Payload == proof:
			proved = true
		case !strings.HasPrefix(n.Payload, hello):
			l.hear(n.Payload)
		}
	}
	joining, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	conn, err := pgx.ConnectConfig(joining, c)
	if err != nil {
		return fmt.Errorf("connect to listen: %w", err)
	}
	defer func() {
		leaving, cancel := context.WithTimeout(context.Background(), answer)
		defer cancel()
		_ = conn.Close(leaving)
	}()
	if _, err := conn.Exec(joining, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// A pooler between may hand the connection to somebody else, and a database
	// may take the word for nothing: what comes back has taken the whole way.
	asked := l.now()
	proof = fmt.Sprintf("%s%d", hello, conn.PgConn().PID())
	if _, err := conn.Exec(joining, "SELECT pg_notify($1, $2)", channel, proof); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	proving, cancelProof := context.WithTimeout(ctx, answer)
	defer cancelProof()
	for !proved {
		if err := conn.PgConn().WaitForNotification(proving); err != nil {
			return errors.New("listen: what is announced does not arrive")
		}
	}
	l.fresh()
	l.answered.Store(&asked)
	if again {
		l.log.Info("the channel between nodes is back", "part", "database")
	}
	for {
		if err := l.await(ctx, conn); err != nil {
			return err
		}
		asked := l.now()
		question, cancel := context.WithTimeout(ctx, answer)
		err := conn.PgConn().Ping(question)
		cancel()
		if err != nil {
			return fmt.Errorf("ask whether the channel is there: %w", err)
		}
		l.answered.Store(&asked)
	}
}

// await hears what comes until it is time to ask again.
func (l *Listener) await(ctx context.Context, conn *pgx.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, beat)
	defer cancel()
	for {
		if err := conn.PgConn().WaitForNotification(waiting); err != nil {
			if waiting.Err() != nil && ctx.Err() == nil && !conn.IsClosed() {
				return nil
			}
			return err
		}
	}
}
