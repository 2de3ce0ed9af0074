-- +goose Up
-- Browsers in which a RAM user need not take the second step for a while. series_hash finds the row, token_hash is that of its present secret.
CREATE TABLE remembered_device (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  series_hash BLOB NOT NULL UNIQUE,
  token_hash BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  session_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  address TEXT NOT NULL,
  user_agent TEXT NOT NULL
);
CREATE INDEX remembered_device_identity ON remembered_device (identity_id);
CREATE INDEX remembered_device_account ON remembered_device (account_id);
CREATE INDEX remembered_device_expires ON remembered_device (expires_at);

-- The row that stood in for the second step.
ALTER TABLE session ADD COLUMN remembered TEXT NOT NULL DEFAULT '';
