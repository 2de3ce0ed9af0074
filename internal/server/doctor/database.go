package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/engine"
)

const (
	keyOld   = 400 * 24 * time.Hour
	dbSlow   = 10 * time.Millisecond
	pings    = 5
	freeFail = 100 << 20
	freeWarn = 1 << 30
	walWarn  = 256 << 20
)

var errNew = errors.New("there is none yet")

// open reads the keys and opens the database, and makes neither.
func (d *Doctor) open(ctx context.Context) {
	c := &d.Config
	if _, d.keysErr = os.Stat(c.Keys); d.keysErr == nil {
		d.keys, d.keysErr = secret.OpenKeyring(c.Keys, rand.Reader, d.Now())
		if d.keysErr != nil {
			d.keys = nil
		}
	}
	if c.Database == "" {
		if _, err := os.Stat(c.DatabaseURL()); errors.Is(err, fs.ErrNotExist) {
			d.dbErr = errNew
			return
		}
	}
	d.db, d.dbErr = store.Inspect(ctx, store.Config{URL: c.DatabaseURL(), Keys: d.keys, Now: d.Now, Random: rand.Reader, Suffix: c.RAMSuffix, Connections: 2})
	if d.dbErr == nil && d.db.Schema == 0 {
		d.dbErr = errNew
	}
}

func (d *Doctor) lookKeys(ctx context.Context) {
	path := d.Config.Keys
	isNew := errors.Is(d.dbErr, errNew)
	switch {
	case errors.Is(d.keysErr, fs.ErrNotExist) && isNew:
		d.say(Warn, "keys", "run `countersign serve` once, then give the same file to every node", "there are none yet at %s", path)
		return
	case errors.Is(d.keysErr, fs.ErrNotExist):
		d.say(Fail, "keys", "put the keys of this database there, from their backup: without them nobody's second factor can be read", "there are none at %s", path)
		return
	case d.keysErr != nil:
		do := "let the user that runs the server, and nobody else, read it: chmod 600 " + path
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 == 0 && !errors.Is(d.keysErr, fs.ErrPermission) {
			do = "put the keys of this database there, from their backup"
		}
		d.say(Fail, "keys", do, "%v", d.keysErr)
		return
	}
	if !isNew && d.db != nil {
		if err := d.db.Ready(ctx); errors.Is(err, secret.ErrSealed) {
			d.say(Fail, "keys", "put the keys of this database there: every node has the same file, and `countersign key rotate` changes it", "%s does not belong to the database", path)
			return
		} else if err != nil {
			d.say(Fail, "keys", "see the database", "nobody knows whether they belong to the database: %v", err)
			return
		}
	}
	if info, err := os.Stat(filepath.Dir(path)); err == nil && info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		d.say(Warn, "keys", "chmod go-w "+filepath.Dir(path), "others may put another file in the place of %s (mode %#o of its directory)", path, info.Mode().Perm())
		return
	}
	made := d.keys.NewestMade()
	if d.Now().Sub(made) > keyOld {
		d.say(Warn, "keys", "countersign key rotate", "key %d seals since %s", d.keys.Newest(), made.Format(time.DateOnly))
		return
	}
	d.ok("keys", "key %d of %s seals; nobody else reads %s", d.keys.Newest(), made.Format(time.DateOnly), path)
}

func (d *Doctor) lookDatabase(ctx context.Context) {
	switch {
	case errors.Is(d.dbErr, errNew):
		d.say(Warn, "database", "run `countersign serve`, which makes it", "there is none yet")
		return
	case d.dbErr != nil:
		d.say(Fail, "database", "see that it runs, that this machine may connect, and what user, password and name the URL has", "%v", d.dbErr)
		return
	}
	x := d.db
	var moved *engine.ErrMoved
	if err := x.Whole(ctx); errors.As(err, &moved) {
		d.say(Fail, "database", "set `database` to the URL of that one; what is done there does not come here. `countersign database reopen` if it is given up", "it was moved to %s at %s", moved.To, moved.At.UTC().Format("2006-01-02 15:04 MST"))
		return
	} else if err != nil {
		d.say(Fail, "database", "run `countersign database move` or `countersign restore` again, to its end", "%v", err)
		return
	}
	name := "SQLite"
	if d.Config.Database != "" {
		name = "PostgreSQL"
	}
	var took []time.Duration
	for range pings {
		begun := d.Now()
		if err := d.db.Answer(ctx); err != nil {
			d.say(Fail, "database", "see that it runs", "%s: %v", name, err)
			return
		}
		took = append(took, d.Now().Sub(begun))
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > dbSlow {
		d.say(Warn, "database", "bring nodes and database together: each request asks it several times", "%s %s answers in %s", name, x.Version, median.Round(time.Millisecond))
	} else {
		d.ok("database", "%s %s answers in %s", name, x.Version, median.Round(10*time.Microsecond))
	}
	switch {
	case x.Schema < x.Newest:
		d.say(Warn, "schema", "back up; the next start of `countersign serve` brings it up to date", "it is of version %d, this program makes %d", x.Schema, x.Newest)
	case x.Schema > x.Newest:
		d.say(Warn, "schema", "go on with the upgrade: a program one release older works with it, not one that is older still", "it is of version %d, this program knows %d", x.Schema, x.Newest)
	default:
		d.ok("schema", "version %d", x.Schema)
	}
	if d.Config.Database != "" {
		d.lookPostgres()
	}
}

func (d *Doctor) lookPostgres() {
	x := d.db
	d.clocks = append(d.clocks, other{"the database", x.Clock.Sub(d.Now()), dbSlow})
	switch {
	case x.ReadOnly:
		d.say(Fail, "durability", "name the primary in the URL, or several hosts with target_session_attrs=read-write", "nothing can be written: it is a standby, or read-only")
	case x.Fsync == "off":
		d.say(Fail, "durability", "set fsync = on in postgresql.conf", "fsync is off: a power cut may destroy the database")
	case x.Commit == "off":
		d.say(Fail, "durability", "set synchronous_commit = on for this database", "synchronous_commit is off: a used code may work again after a crash")
	case x.Pages == "off":
		d.say(Warn, "durability", "set full_page_writes = on, unless the file system never tears a page", "full_page_writes is off")
	case x.Isolation != "read committed" && x.Isolation != "serializable":
		d.say(Warn, "durability", "ALTER DATABASE … SET default_transaction_isolation = 'read committed'", "transactions begin at %q", x.Isolation)
	default:
		d.ok("durability", "synchronous_commit is %s, transactions are %s", x.Commit, x.Isolation)
	}
	each := d.Config.DatabaseConnections + 1 // one hears what other nodes say
	room, need := x.Connections-x.Reserved, d.Nodes*each
	switch {
	case x.Connections == 0: // it does not say
	case need > room:
		d.say(Fail, "connections", "raise max_connections, or lower database_connections", "%d are free for clients, and %d nodes of %d take %d", room, d.Nodes, each, need)
	default:
		d.ok("connections", "%d in use of %d; a node takes up to %d, so that there is room for %d nodes", x.InUse, room, each, room/each)
	}
	if u, err := url.Parse(d.Config.Database); err == nil && !x.TLS && u.Hostname() != "" && !d.Config.IsHere(u.Hostname()) {
		d.say(Warn, "connections", "add sslmode=verify-full to the URL", "password hashes cross the network in clear")
	}
}

// lookDisk is for a file: of a server's disk its own tools tell.
func (d *Doctor) lookDisk(context.Context) {
	dir := d.Config.Data
	if d.Config.Database != "" || d.dbErr != nil {
		return
	}
	free, network, err := disk(dir)
	if err != nil {
		d.say(Warn, "disk", "look yourself: df "+dir, "how much is free is not known: %v", err)
		return
	}
	state, do := OK, ""
	if free < freeWarn {
		state, do = Warn, "make room: nobody can sign in once it is full"
	}
	if free < freeFail {
		state = Fail
	}
	d.say(state, "disk", do, "%d MiB are free at %s", free>>20, dir)
	if network {
		d.say(Fail, "disk", "keep SQLite on a local disk, or use PostgreSQL", "%s is on a network file system, which breaks SQLite's locks", dir)
	}
	if info, err := os.Stat(d.Config.DatabaseURL() + "-wal"); err == nil && info.Size() > walWarn {
		d.say(Warn, "disk", "look for a program that keeps a read open; the server restarted alone takes it in", "the write-ahead log is %d MiB", info.Size()>>20)
	}
}

// lookAudit looks at where the chains end, not at every event.
func (d *Doctor) lookAudit(ctx context.Context) {
	if d.db == nil || d.dbErr != nil || d.keys == nil {
		return
	}
	if err := d.db.Ready(ctx); errors.Is(err, secret.ErrSealed) {
		d.say(Warn, "audit", "see the keys", "the chains cannot be checked without the keys of the database")
		return
	}
	r := d.db.Read(ctx)
	chains, err := r.Chains()
	if err != nil {
		d.say(Fail, "audit", "see the database", "the chains cannot be read: %v", err)
		return
	}
	looked, broken := 0, 0
	for _, a := range chains {
		_, err := r.HeadOf(a)
		if ctx.Err() != nil {
			break
		}
		looked++
		if audit.IsBroken(err) || errors.Is(err, store.ErrNoRow) {
			if broken++; broken <= 3 {
				d.say(Fail, "audit", "countersign audit verify", "the end of the chain of account %q is not what was written there", a)
			}
		} else if err != nil {
			d.say(Fail, "audit", "see the database", "the chains cannot be read: %v", err)
			return
		}
	}
	if broken == 0 {
		d.ok("audit", "the ends of %d of %d chains are right; `countersign audit verify` walks them", looked, len(chains))
	}
}
