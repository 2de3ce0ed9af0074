package engine

import (
	"database/sql"
	"time"
)

// A Pool is how busy a set of connections is.
type Pool struct {
	Most, Open, Busy int
	Waits            int64 // for a connection, so far
	Waited           time.Duration
}

// Pools are those of the engine: on SQLite one reads and one writes, on
// PostgreSQL one does both.
func (e *Engine) Pools() map[string]Pool {
	pools := map[string]Pool{"write": pool(e.Write)}
	if e.Read != e.Write {
		pools["read"] = pool(e.Read)
	}
	return pools
}

func pool(d *sql.DB) Pool {
	s := d.Stats()
	return Pool{s.MaxOpenConnections, s.OpenConnections, s.InUse, s.WaitCount, s.WaitDuration}
}

// Most is how many connections there may be to write on.
func (e *Engine) Most() int { return e.Write.Stats().MaxOpenConnections }
