// Package expiry removes the rows of what is over.
package expiry

import (
	"context"
	"fmt"
	"time"

	"countersign/internal/store/engine"
)

// An Ending says which rows are over.
type Ending struct {
	From, Where string
	until       func(now time.Time, idle time.Duration) int64 // $1
}

func ago(d time.Duration) func(now time.Time, _ time.Duration) int64 {
	return func(now time.Time, _ time.Duration) int64 { return now.Add(-d).UnixMicro() }
}

// Often is what an index finds, so that it can be asked for every minute however
// much there is.
var Often = []Ending{
	{"ceremony", "expires_at < $1", ago(0)},
	{"passkey_challenge", "expires_at < $1", ago(0)},
	{"session", "expires_at < $1", ago(0)},
	{"throttle_window", "ends_at < $1", ago(0)},
	{"remembered_device", "expires_at < $1", ago(0)},
	{"activation", "expires_at < $1", ago(7 * 24 * time.Hour)}, // till then its link says that it has expired
	{"mail_link", "expires_at < $1", ago(24 * time.Hour)},
	{"seen_network", "last_at < $1", ago(90 * 24 * time.Hour)},
}

// Rarely is what is looked for in whole tables.
var Rarely = []Ending{
	{"session", "last_seen_at < $1", func(now time.Time, idle time.Duration) int64 { return now.Add(-idle - time.Hour).UnixMicro() }},
	{"known_device", "last_used_at < $1", ago(180 * 24 * time.Hour)},
	{"setup_link", "expires_at < $1", ago(30 * 24 * time.Hour)},
	{"enrolment", "kind = 'recover' AND expires_at < $1", ago(7 * 24 * time.Hour)},
	{"domain_alias", "verified_at = 0 AND created_at < $1", ago(30 * 24 * time.Hour)},
	{"outbox", "state = 'sent' AND sent_at < $1", ago(24 * time.Hour)},
	{"outbox", "state = 'dead' AND created_at < $1", ago(30 * 24 * time.Hour)},
}

// Remove removes what the list says. A session is over that nobody used for
// idle and an hour.
func Remove(ctx context.Context, q engine.Queryer, list []Ending, now time.Time, idle time.Duration) error {
	for _, e := range list {
		if _, err := q.ExecContext(ctx, "DELETE FROM "+e.From+" WHERE "+e.Where, e.until(now, idle)); err != nil { // after a standstill it takes its time
			return fmt.Errorf("expire %s: %w", e.From, err)
		}
	}
	return nil
}
