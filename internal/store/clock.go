package store

import (
	"time"

	"countersign/internal/store/rewind"
)

// NewestJob is when the job that began last began; zero: none did.
func (r *Reader) NewestJob() (time.Time, error) {
	var at int64
	err := r.row("SELECT COALESCE(max(started_at), 0) FROM throttle_window WHERE substr(scope, 1, 4) = 'job:'", nil, &at)
	return instant(at), err
}

// SetBack is rewind.To for this write.
func (tx *Tx) SetBack(was time.Time, idle time.Duration) (ended int, err error) {
	tx.revoke("all: the clock was set back") // what nobody understands is a revocation of everything
	return rewind.To(tx.ctx, tx.q, tx.Now, was, idle)
}
