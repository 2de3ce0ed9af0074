// Package rewind keeps what is over from living again when the clock is set back.
package rewind

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/domain/session"
	"countersign/internal/store/engine"
)

const (
	apart     = time.Minute   // that the clocks of nodes may be without being wrong
	waitsMost = 2 * time.Hour // longer than a message waits for its next attempt
)

var (
	gone    = []string{"sent_code", "passkey_challenge", "ceremony", "remembered_device", "session"}
	expired = []string{"mail_link", "setup_link", "enrolment", "activation"} // they say so for a while
)

// To is for a clock that said was and now says now: what was over stays over;
// no proof counts as fresh once more; what waits for a time that comes again
// waits from now; and nothing that was counted or used up is forgotten. It
// returns how many sessions ended for the sake of their proofs.
func To(ctx context.Context, q engine.Queryer, now, was time.Time, idle time.Duration) (ended int, err error) {
	do := func(query string, args ...any) {
		if err != nil {
			return
		}
		for n, a := range args {
			args[n] = a.(time.Time).UnixMicro()
		}
		if _, err = q.ExecContext(ctx, query, args...); err != nil {
			err = fmt.Errorf("set back: %w", err)
		}
	}
	for _, table := range gone {
		do("DELETE FROM "+table+" WHERE expires_at <= $1", was)
	}
	for _, table := range expired {
		do("UPDATE "+table+" SET expires_at = $1 WHERE expires_at > $1 AND expires_at <= $2", now, was)
	}
	do("DELETE FROM session WHERE last_seen_at <= $1", was.Add(-idle-session.SeenEvery))
	do("DELETE FROM verification")
	do(`UPDATE throttle_window SET started_at = $1, ends_at = CASE WHEN substr(scope, 1, 4) = 'job:' THEN $1 ELSE ends_at - started_at + $1 END
		WHERE started_at > $2`, now, now.Add(apart))
	do("UPDATE outbox SET next_at = $1 WHERE state = 'queued' AND attempts = 0 AND next_at > $1", now)
	do("UPDATE outbox SET next_at = $1 WHERE state = 'queued' AND attempts > 0 AND next_at > $2", now.Add(message.Lease), now.Add(waitsMost)) // an attempt may be under way
	do("UPDATE notice_digest SET due_at = $1 WHERE last_at > $1", now)
	if err != nil {
		return 0, err
	}
	again, err := freshAgain(ctx, q, now, was)
	for n := 0; err == nil && n < len(again); n++ {
		_, err = q.ExecContext(ctx, "DELETE FROM session WHERE id = $1", again[n])
	}
	return len(again), err
}

// freshAgain are the sessions with a proof that counts as fresh by now and did
// not by was, or that will when its time comes again.
func freshAgain(ctx context.Context, q engine.Queryer, now, was time.Time) (ids []string, err error) {
	fresh := now.Add(-policy.Freshness)
	rows, err := q.QueryContext(ctx, "SELECT id, proofs FROM session WHERE last_seen_at > $1", fresh.Add(-session.SeenEvery).UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("read proofs: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, text string
		var proofs []factor.Proof
		if err := rows.Scan(&id, &text); err != nil {
			return nil, fmt.Errorf("read proofs: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &proofs); err != nil {
			return nil, fmt.Errorf("read proofs: %w", err)
		}
		for _, p := range proofs {
			if p.At.After(now) || p.At.After(fresh) && p.At.Before(was.Add(-policy.Freshness)) {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids, rows.Err()
}
