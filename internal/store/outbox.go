package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/secret"
)

// letter is the sealed part of a message: all that is private.
type letter struct {
	To, Subject, Text, HTML, Locale string
	Params                          map[string]string `json:",omitempty"`
	Charges                         []string          `json:",omitempty"`
}

func letterPlace(id string) secret.Place {
	return secret.Place{Table: "outbox", Row: id, Column: "sealed"}
}

// AddMessage puts a message into the outbox, under its own id if it has one;
// it is sent after the commit.
func (tx *Tx) AddMessage(m message.Message) (err error) {
	id := m.ID
	if id == "" {
		if id, err = tx.db.NewID(); err != nil {
			return err
		}
	}
	m.ID = id
	s, err := tx.db.seal(m)
	if err != nil {
		return err
	}
	tx.OnDone(tx.db.wake)
	return tx.later(`INSERT INTO outbox (id, account_id, channel, kind, key_id, sealed, state, attempts, created_at, expires_at, next_at, sent_at, last_error)
		VALUES ($1, $2, $3, $4, $5, $6, 'queued', 0, $7, $8, $7, 0, '')`,
		id, m.Account, m.Channel, m.Kind, s.KeyID, s.Box, micros(tx.Now), micros(m.ExpiresAt))
}

// DropMessage takes out a message that nobody is to get.
func (tx *Tx) DropMessage(id string) error {
	return tx.later("DELETE FROM outbox WHERE id = $1 AND state = 'queued' AND attempts = 0", id)
}

// seal closes the letter of a message.
func (db *DB) seal(m message.Message) (secret.Sealed, error) {
	b, err := json.Marshal(letter{m.To, m.Subject, m.Text, m.HTML, m.Locale, m.Params, m.Charges})
	if err != nil {
		return secret.Sealed{}, err
	}
	return db.config.Keys.Seal(letterPlace(m.ID), b), nil
}

func (db *DB) wake() {
	select {
	case db.woken <- struct{}{}:
	default:
	}
}

// Woken receives whenever messages may have come into the outbox.
func (db *DB) Woken() <-chan struct{} { return db.woken }

const messageColumns = "id, account_id, channel, kind, key_id, sealed, state, attempts, created_at, expires_at, next_at, sent_at, last_error"

func (r *Reader) scanMessage(scan func(...any) error) (m message.Message, err error) {
	var s secret.Sealed
	var created, expires, next, sent int64
	if err = scan(&m.ID, &m.Account, &m.Channel, &m.Kind, &s.KeyID, &s.Box, &m.State, &m.Attempts, &created, &expires, &next, &sent, &m.LastError); err != nil {
		return m, err
	}
	m.CreatedAt, m.ExpiresAt, m.NextAt, m.SentAt = instant(created), instant(expires), instant(next), instant(sent)
	b, err := r.db.config.Keys.Open(letterPlace(m.ID), s)
	if err != nil {
		return m, err
	}
	var l letter
	err = json.Unmarshal(b, &l)
	m.To, m.Subject, m.Text, m.HTML, m.Locale, m.Params, m.Charges = l.To, l.Subject, l.Text, l.HTML, l.Locale, l.Params, l.Charges
	return m, err
}

// ClaimMessage takes one due message of channel, for the length of lease: if
// nothing is heard of it by then, another worker takes it. One statement
// decides.
func (db *DB) ClaimMessage(ctx context.Context, lease time.Duration, channel message.Channel) (m message.Message, found bool, err error) {
	err = db.Write(ctx, audit.Housekeeping("delivery"), func(tx *Tx) error {
		skip := ""
		if db.engine.Postgres() {
			skip = " FOR UPDATE SKIP LOCKED"
		}
		m, err = tx.scanMessage(func(into ...any) error {
			return tx.row(`UPDATE outbox SET attempts = attempts + 1, next_at = $2 WHERE id =
				(SELECT id FROM outbox WHERE state = 'queued' AND next_at <= $1 AND channel = $3 ORDER BY next_at, id LIMIT 1`+skip+`) RETURNING `+messageColumns,
				[]any{micros(tx.Now), micros(tx.Now.Add(lease)), channel}, into...)
		})
		if errors.Is(err, secret.ErrSealed) { // lost for good: it must not stand in the way of the others
			_, err := tx.exec("UPDATE outbox SET state = 'dead', last_error = 'cannot be opened with the present keys' WHERE id = $1", m.ID)
			return err
		}
		found, err = HasRow(err)
		return err
	})
	return m, found && err == nil, err
}

func (db *DB) setMessage(ctx context.Context, id string, state message.State, reason string, next time.Time) error {
	return db.Write(ctx, audit.Housekeeping("delivery"), func(tx *Tx) error {
		var sent time.Time
		switch state {
		case message.Sent:
			sent = tx.Now
		case message.Dead:
			if err := tx.refund(id); err != nil {
				return err
			}
		}
		return tx.one(ErrNoRow, "UPDATE outbox SET state = $2, last_error = $3, next_at = $4, sent_at = $5 WHERE id = $1 AND state = 'queued'",
			id, state, audit.Clip(reason, 500), micros(next), micros(sent))
	})
}

// refund gives back what a message was counted for: whoever asked for it did
// not get it.
func (tx *Tx) refund(id string) error {
	m, err := tx.scanMessage(func(into ...any) error {
		return tx.row("SELECT "+messageColumns+" FROM outbox WHERE id = $1 AND state = 'queued'", []any{id}, into...)
	})
	if errors.Is(err, secret.ErrSealed) {
		return nil // nobody can say what it was counted for
	}
	if err != nil {
		return err
	}
	for _, scope := range m.Charges {
		if err := tx.UncountSince(scope, m.CreatedAt); err != nil {
			return err
		}
	}
	m.Charges = nil // given back once, even if the message is sent again by hand
	sealed, err := tx.db.seal(m)
	if err != nil {
		return err
	}
	return tx.later("UPDATE outbox SET key_id = $2, sealed = $3 WHERE id = $1", id, sealed.KeyID, sealed.Box)
}

// Outcome says how far a message has come, and how often it was tried.
func (r *Reader) Outcome(id string) (state message.State, attempts int, reason string, err error) {
	err = r.row("SELECT state, attempts, last_error FROM outbox WHERE id = $1", []any{id}, &state, &attempts, &reason)
	return state, attempts, reason, err
}

// MessageSent says that the message is on its way.
func (db *DB) MessageSent(ctx context.Context, id string) error {
	return db.setMessage(ctx, id, message.Sent, "", time.Time{})
}

// MessageFailed says that the message is to be tried again at retryAt.
func (db *DB) MessageFailed(ctx context.Context, id, reason string, retryAt time.Time) error {
	return db.setMessage(ctx, id, message.Queued, reason, retryAt)
}

// MessageDead gives the message up.
func (db *DB) MessageDead(ctx context.Context, id, reason string) error {
	return db.setMessage(ctx, id, message.Dead, reason, time.Time{})
}

// RetryMessage puts a dead message back into the queue.
func (db *DB) RetryMessage(ctx context.Context, actor audit.Actor, id string) error {
	return db.Write(ctx, actor, func(tx *Tx) error {
		if err := tx.one(ErrNoRow, "UPDATE outbox SET state = 'queued', attempts = 0, next_at = $2 WHERE id = $1 AND state = 'dead'", id, micros(tx.Now)); err != nil {
			return err
		}
		return tx.Record(audit.Event{Name: audit.MessageRetry, Target: id})
	})
}

// Messages returns messages in the outbox, newest first, at most n; an empty
// state means all of them.
func (r *Reader) Messages(state message.State, n int) (list []message.Message, err error) {
	err = r.each("SELECT "+messageColumns+" FROM outbox WHERE ($1 = '' OR state = $1) ORDER BY id DESC LIMIT $2", []any{string(state), n},
		func(scan func(...any) error) error {
			m, err := r.scanMessage(scan)
			if errors.Is(err, secret.ErrSealed) { // shown by its outside
				err = nil
			}
			list = append(list, m)
			return err
		})
	return list, err
}
