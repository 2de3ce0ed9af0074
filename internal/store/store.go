// Package store remembers: SQLite or PostgreSQL behind one set of nouns.
package store

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/fault"
	"countersign/internal/secret"
	"countersign/internal/store/belief"
	"countersign/internal/store/engine"
	"countersign/internal/trace"
)

//go:embed migrations
var migrations embed.FS

// ErrUnavailable says that the database does not do its part.
var ErrUnavailable = fault.New(fault.Unavailable, "store.unavailable").After(5 * time.Second)

// ErrNoRow says that there is no such row. It is no fault: what it means is
// the flow's to say.
var ErrNoRow = errors.New("store: no such row")

// errUnaudited says that a write left no event.
var errUnaudited = errors.New("store: write without an audit event")

// errEvents says that a charge is more than that.
var errEvents = errors.New("store: a charge with an event")

// errLost says that another transaction was first; Write tries again.
var errLost = errors.New("store: row changed meanwhile")

// A Config says where the database is and what the store needs from outside.
type Config struct {
	URL       string // postgres://…, or the path of an SQLite file
	Keys      *secret.Keyring
	Now       func() time.Time
	Random    io.Reader
	Log       *slog.Logger
	Isolation sql.IsolationLevel // of writes on PostgreSQL; zero: READ COMMITTED
	Suffix    string             // of user principal names, after the alias; empty: DefaultSuffix

	Connections int               // to PostgreSQL at most; zero: engine.DefaultConnections
	Patience    time.Duration     // how long PostgreSQL may take for a statement; zero: engine.DefaultPatience
	Recorded    func(audit.Event) // is told of every event once it is committed; nil: nobody is

	Unfinished bool // open it although a move or a restore into it has not ended, or it was moved
}

// DefaultSuffix is that of a server that has no name of its own.
const DefaultSuffix = "ram.localhost"

// A DB is an open store.
type DB struct {
	Reader
	config Config
	engine *engine.Engine

	woken chan struct{}

	sessions *belief.Cache
	counts   counts

	lastMu sync.Mutex
	lastID [26]byte
}

// Open opens the database, brings its schema up to date, and checks that the
// keys are the ones its secrets were sealed with.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Suffix == "" {
		c.Suffix = DefaultSuffix
	}
	db := &DB{config: c, woken: make(chan struct{}, 1), sessions: belief.New()}
	if err := db.open(ctx); err != nil {
		return nil, err
	}
	db.Reader = Reader{db: db, ctx: nil, q: db.engine.Reader}
	var err error
	if !c.Unfinished {
		err = db.engine.Whole(ctx)
	}
	if err == nil {
		err = db.migrate(ctx, 0)
	}
	if err == nil {
		err = db.checkKeys(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (db *DB) open(ctx context.Context) (err error) {
	db.engine, err = engine.Open(ctx, engine.Config{URL: db.config.URL, Isolation: db.config.Isolation, Connections: db.config.Connections, Patience: db.config.Patience, Log: db.config.Log})
	return err
}

// migrate brings the schema up to the version numbered; 0: the newest.
func (db *DB) migrate(ctx context.Context, version int64) error {
	return db.engine.Migrate(ctx, Migrations(), version)
}

// Migrations make the schema, in a folder for each engine.
func Migrations() fs.FS {
	files, _ := fs.Sub(migrations, "migrations") // it is embedded
	return files
}

// Statements are the texts that were asked of SQLite until now: a plan of each
// says what it will cost when there is more.
func (db *DB) Statements() []string { return db.engine.Statements() }

// Close closes the database.
func (db *DB) Close() error {
	db.sessions.Close()
	return db.engine.Close()
}

// Ready reports whether the database answers, and its secrets open: another
// node may have brought in a key that this one was not given.
func (db *DB) Ready(ctx context.Context) error {
	s, err := KeyCheck(ctx, db.engine.Reader)
	if err != nil {
		return db.fault(err)
	}
	_, err = db.config.Keys.Open(keysAt, s)
	return err
}

var keysAt = secret.Place{Table: "keyring_check", Row: "database", Column: "sealed"}

func (db *DB) checkKeys(ctx context.Context) error {
	s, err := KeyCheck(ctx, db.engine.Read)
	if errors.Is(err, ErrNoRow) {
		if err := db.config.Keys.Keep(); err != nil {
			return err
		}
		s = db.config.Keys.Seal(keysAt, []byte("countersign"))
		if _, err := db.engine.Write.ExecContext(ctx, "INSERT INTO keyring_check (name, key_id, sealed) VALUES ('database', $1, $2) ON CONFLICT (name) DO NOTHING", s.KeyID, s.Box); err != nil {
			return err
		}
		s, err = KeyCheck(ctx, db.engine.Read) // of whoever was first
	}
	if err != nil {
		return err
	}
	err = CheckKeys(db.config.Keys, s)
	if err != nil && db.config.Keys.Refresh() == nil { // a node that was first has written its own down meanwhile
		err = CheckKeys(db.config.Keys, s)
	}
	return err
}

// KeyCheck is the value by which a database knows its keys.
func KeyCheck(ctx context.Context, q engine.Queryer) (s secret.Sealed, err error) {
	err = q.QueryRowContext(ctx, "SELECT key_id, sealed FROM keyring_check WHERE name = 'database'").Scan(&s.KeyID, &s.Box)
	if errors.Is(err, sql.ErrNoRows) {
		return s, ErrNoRow
	}
	if err != nil {
		return s, fmt.Errorf("check the keys: %w", err)
	}
	return s, nil
}

// CheckKeys refuses keys that a database does not know.
func CheckKeys(keys *secret.Keyring, known secret.Sealed) error {
	if _, err := keys.Open(keysAt, known); err != nil {
		return fmt.Errorf("the keys do not belong to this database: %w", err)
	}
	return nil
}

// fault turns what the driver says into what the fronts can show, and keeps
// the driver's words for the log.
func (db *DB) fault(err error) error {
	var f *fault.Fault
	switch {
	case err == nil, errors.As(err, &f), errors.Is(err, ErrNoRow), errors.Is(err, errLost), errors.Is(err, errEvents), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return ErrNoRow
	}
	db.counts.unavailable.Add(1)
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, db.engine.Name(), err)
}

// A Tx is one write under way. Its time stands still.
type Tx struct {
	Reader
	Now    time.Time
	Actor  audit.Actor
	events []audit.Event // in their order
	onDone []func()

	revocations []string // what other nodes are told of
}

// OnDone has f called once the write is committed.
func (tx *Tx) OnDone(f func()) { tx.onDone = append(tx.onDone, f) }

// attempts bounds how often a write is tried again after it lost a race, and
// reconnections after it lost its connection before the COMMIT.
const (
	attempts      = 200
	reconnections = 2
)

// Write runs f in one transaction, by the actor's hand. It commits when f
// returns nil; a refusal that must be remembered is a value of f's, returned
// after the commit. f may run several times and must not touch anything else.
func (db *DB) Write(ctx context.Context, actor audit.Actor, f func(tx *Tx) error) error {
	return db.write(ctx, actor, db.engine.Begin, f)
}

// Charge is the Write of what a try costs that is compared later. Every node
// sees it at once; the disk has it with the Write that says what became of the
// try, before which nobody is told. One that records an event is a Write. It
// serves as well for what nobody is told of at all.
func (db *DB) Charge(ctx context.Context, actor audit.Actor, f func(tx *Tx) error) error {
	err := db.write(ctx, actor, db.engine.BeginLight, func(tx *Tx) error {
		if err := f(tx); err != nil || len(tx.events) == 0 {
			return err
		}
		return errEvents
	})
	if errors.Is(err, errEvents) {
		err = db.Write(ctx, actor, f)
	}
	return err
}

type begin func(context.Context) (engine.Transaction, error)

func (db *DB) write(ctx context.Context, actor audit.Actor, begin begin, f func(tx *Tx) error) (err error) {
	ctx, write := trace.Start(ctx, "store.write")
	defer func() { end(write, err) }()
	broken := 0
	for try := 1; ; try++ {
		err := db.writeOnce(ctx, actor, begin, f)
		if try <= db.engine.Most() && db.engine.NotBegun(err) {
			continue
		}
		if broken < reconnections && db.engine.Broken(err) {
			broken++
			continue
		}
		if err == nil || try == attempts || !(errors.Is(err, errLost) || db.engine.Again(err)) {
			write.Note(trace.Number("tries", int64(try)))
			return db.fault(err)
		}
		db.counts.retries.Add(1)
		pause := time.Duration(rand.Int64N(int64(time.Millisecond) * int64(min(try, 20)))) //nolint:gosec // spreads retries, no secret
		select {
		case <-ctx.Done():
			return db.fault(ctx.Err())
		case <-time.After(pause):
		}
	}
}

func (db *DB) writeOnce(ctx context.Context, actor audit.Actor, begin begin, f func(tx *Tx) error) (err error) {
	ctx, whole := trace.Start(ctx, "store.transaction")
	defer func() { end(whole, err) }()
	_, wait := trace.Start(ctx, "store.begin")
	t, err := begin(ctx)
	wait.End(err)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }()
	now := db.config.Now()
	tx := &Tx{Reader: Reader{db: db, ctx: ctx, q: t, at: now, epochs: map[account.ID]int64{}}, Now: now, Actor: actor}
	if err := f(tx); err != nil {
		return err
	}
	if len(tx.events) == 0 && tx.Actor.NeedsEvent() {
		return errUnaudited
	}
	if err := tx.chain(); err != nil {
		return err
	}
	if err := tx.commit(ctx, t); err != nil {
		return err
	}
	for _, done := range tx.onDone {
		done()
	}
	return nil
}

// A Reader reads: within a transaction as Tx, outside one through DB.Read.
type Reader struct {
	db  *DB
	ctx context.Context // lives exactly as long as one call
	q   engine.Queryer

	peek bool

	at     time.Time            // of the write; zero outside one
	epochs map[account.ID]int64 // of the settings that the write decided by
}

func (r *Reader) now() time.Time {
	if r.at.IsZero() {
		return r.db.config.Now()
	}
	return r.at
}

// Peek returns a reader within the write that locks nothing: for what is only
// shown. Locks are for what the write decides by, lest two writes wait for
// each other.
func (tx *Tx) Peek() *Reader {
	r := tx.Reader
	r.peek = true
	return &r
}

// Read returns a reader outside any transaction.
func (db *DB) Read(ctx context.Context) *Reader {
	return &Reader{db: db, ctx: ctx, q: db.engine.Reader}
}

func (r *Reader) row(query string, args []any, into ...any) error {
	ctx, patience := r.db.engine.Patient(r.ctx)
	return r.db.fault(patience.End(r.q.QueryRowContext(ctx, query, args...).Scan(into...)))
}

// each calls f for every row, which may take its time.
func (r *Reader) each(query string, args []any, f func(scan func(into ...any) error) error) error {
	ctx, patience := r.db.engine.Patient(r.ctx)
	return r.db.fault(patience.End(func() error {
		rows, err := r.q.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			patience.Rest()
			if err := f(rows.Scan); err != nil {
				return err
			}
			patience.GoOn()
		}
		return rows.Err()
	}()))
}

// exec runs a statement and returns how many rows it changed.
func (tx *Tx) exec(query string, args ...any) (int64, error) {
	ctx, patience := tx.db.engine.Patient(tx.ctx)
	res, err := tx.q.ExecContext(ctx, query, args...)
	if err = patience.End(err); err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// later runs a statement of which the write waits to hear nothing.
func (tx *Tx) later(query string, args ...any) error { return tx.oneLater(nil, query, args...) }

// oneLater is one, where refused need not be known before the next statement.
func (tx *Tx) oneLater(refused error, query string, args ...any) error {
	ctx, patience := tx.db.engine.Patient(tx.ctx)
	return patience.End(engine.Later(ctx, tx.q, refused, query, args...))
}

// one runs a statement that must change exactly one row; refused is returned
// when it changed none, because another was first.
func (tx *Tx) one(refused error, query string, args ...any) error {
	n, err := tx.exec(query, args...)
	if err == nil && n == 0 {
		return refused
	}
	return err
}

// forUpdate locks the rows of a SELECT where the dialect needs it said.
func (r *Reader) forUpdate() string {
	if _, inTx := r.q.(engine.Transaction); inTx && !r.peek && r.db.engine.Postgres() {
		return " FOR UPDATE"
	}
	return ""
}

// Instants are stored as microseconds since 1970, UTC; zero stands for the zero time.

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Now returns the store's time.
func (db *DB) Now() time.Time { return db.config.Now() }

// NewID returns an identifier: 26 letters, the first ten of which grow with
// time, the rest random. Those that one process makes in a millisecond grow
// too. It is no secret.
func (db *DB) NewID() (string, error) {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	var random [16]byte
	if _, err := io.ReadFull(db.config.Random, random[:]); err != nil {
		return "", fmt.Errorf("draw an id: %w", err)
	}
	var id [26]byte // of five bits each
	ms := db.config.Now().UnixMilli()
	for i := 9; i >= 0; i-- {
		id[i] = byte(ms & 31)
		ms >>= 5
	}
	for i, b := range random {
		id[10+i] = b & 31
	}
	db.lastMu.Lock()
	if bytes.Equal(id[:10], db.lastID[:10]) { // the one before, and one
		id = db.lastID
		for i := 25; i >= 10; i-- {
			if id[i] = (id[i] + 1) & 31; id[i] != 0 {
				break
			}
		}
	}
	db.lastID = id
	db.lastMu.Unlock()
	for i, five := range id {
		id[i] = alphabet[five]
	}
	return string(id[:]), nil
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
