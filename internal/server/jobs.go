package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/store"
)

// expire removes what is over, once a minute on one of the nodes.
func (s *Server) expire(ctx context.Context) error {
	return s.once(ctx, "job:expire", 50*time.Second, func(ctx context.Context) error {
		return s.DB.Write(ctx, audit.Housekeeping("expire"), (*store.Tx).Expire)
	})
}

// sweep removes what is looked for in whole tables.
func (s *Server) sweep(ctx context.Context) error {
	return s.once(ctx, "job:sweep", time.Hour, func(ctx context.Context) error {
		return s.DB.Write(ctx, audit.Housekeeping("sweep"), func(tx *store.Tx) error { return tx.Sweep(s.config.SessionIdle) })
	})
}

// daily runs what is due once a day, on one of the nodes that share the store.
func (s *Server) daily(ctx context.Context) error {
	return s.once(ctx, "job:idle", 24*time.Hour, func(ctx context.Context) error {
		n, err := s.Admin.DisableIdle(ctx)
		if n > 0 {
			s.log.Info("idle users were disabled", "users", n)
		}
		return err
	})
}

// days keeps what overviews show of a day, every hour: the last count of a day
// stays.
func (s *Server) days(ctx context.Context) error {
	return s.once(ctx, "job:days", time.Hour, s.Admin.CountDays)
}

// digests sends what was counted since a notice told of it, every few minutes.
func (s *Server) digests(ctx context.Context) error {
	return s.once(ctx, "job:digests", 5*time.Minute, func(ctx context.Context) error {
		_, err := s.SignIn.SendDigests(ctx)
		return err
	})
}

// once runs a job unless a node has run it within the time given. One that
// fails is run again by whoever asks next.
func (s *Server) once(ctx context.Context, scope string, in time.Duration, job func(ctx context.Context) error) error {
	var mine bool
	actor := audit.Housekeeping(scope)
	err := s.DB.Write(ctx, actor, func(tx *store.Tx) (err error) {
		mine, _, err = tx.Count(scope, 1, in)
		return err
	})
	if err != nil || !mine {
		return err
	}
	failed := job(ctx)
	if failed == nil {
		s.done(strings.TrimPrefix(scope, "job:"))
		return nil
	}
	// The context may be what ended the job.
	if err := s.DB.Write(context.WithoutCancel(ctx), actor, func(tx *store.Tx) error { return tx.Uncount(scope) }); err != nil {
		return fmt.Errorf("%s: %w; and it will not run again for a while: %w", scope, failed, err)
	}
	return fmt.Errorf("%s: %w", scope, failed)
}
