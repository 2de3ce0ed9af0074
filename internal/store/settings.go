package store

import (
	"encoding/json"
	"errors"

	"countersign/internal/domain/account"
)

// readSettings gives what was never saved, or is newer than what was, its default.
func readSettings(content string) (account.Settings, error) {
	s := account.DefaultSettings()
	if content == "" {
		return s, nil
	}
	err := json.Unmarshal([]byte(content), &s)
	return s, err
}

// Settings returns what the administrators of an account decided.
func (r *Reader) Settings(a account.ID) (account.Settings, error) {
	var content string
	if err := r.row("SELECT content FROM account_settings WHERE account_id = $1", []any{a}, &content); err != nil && !errors.Is(err, ErrNoRow) {
		return account.Settings{}, err
	}
	return readSettings(content)
}

// SetSettings keeps what the administrators of an account decided, and has
// every session of the account checked anew against it.
func (tx *Tx) SetSettings(a account.ID, s account.Settings) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := tx.one(ErrNoRow, "UPDATE account SET policy_epoch = policy_epoch + 1 WHERE id = $1", a); err != nil {
		return err
	}
	tx.revokedAll(a)
	return tx.later(`INSERT INTO account_settings (account_id, content, idle_users, changed_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account_id) DO UPDATE SET content = $2, idle_users = $3, changed_at = $4`, a, string(content), s.IdleUsers, micros(tx.Now))
}
