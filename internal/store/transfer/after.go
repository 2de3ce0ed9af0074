package transfer

import (
	"context"
	"fmt"
	"time"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/store/engine"
)

// What an old copy holds may have been ended since: whoever was signed out
// must not be signed in again, and no link or ticket works a second time.
// All of that ends with a restore; the rest is as it was.

// ended are the tables that are emptied, in this order: other tables' rows go
// with some of them.
var ended = []string{
	"verification", "session", "sent_code", "passkey_challenge", "ceremony", "remembered_device", "known_device",
	"mail_link", "setup_link", "enrolment", "activation", "notice_digest",
}

// kept are all others, so that a new table is thought of.
var kept = []string{
	"account", "identity", "virtual_mfa", "recovery_code", "guess_budget", "throttle_window", "audit_event", "audit_head", "outbox", "keyring_check",
	"phone", "account_protection", "login_profile", "account_settings", "domain_alias", "seen_network", "password_history", "passkey", "passkey_user",
	"security_email", "audit_check", "account_day", "signin_day", "signin_counted", "credential_report",
}

// stepsAhead is how far ahead of now a code is accepted: one that was may
// have been used.
const stepsAhead = 1

// endWhatLived runs in the newest schema.
func endWhatLived(ctx context.Context, e *engine.Engine, now time.Time) error {
	return within(ctx, e, func(q engine.Queryer) error {
		for _, name := range ended {
			if _, err := q.ExecContext(ctx, "DELETE FROM "+name); err != nil {
				return fmt.Errorf("empty %s: %w", name, err)
			}
		}
		// What waited has been sent since, or holds a link that is void.
		if _, err := q.ExecContext(ctx, "DELETE FROM outbox WHERE state = $1", message.Queued); err != nil {
			return fmt.Errorf("empty the outbox: %w", err)
		}
		// No code that was shown until now works, used or not.
		_, err := q.ExecContext(ctx, "UPDATE virtual_mfa SET last_step = CAST($1 AS BIGINT) + drift WHERE last_step < CAST($1 AS BIGINT) + drift", factor.StepAt(now)+stepsAhead)
		if err != nil {
			return fmt.Errorf("void the codes that were shown: %w", err)
		}
		return nil
	})
}
