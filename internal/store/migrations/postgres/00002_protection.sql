-- +goose Up
CREATE TABLE phone (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT NOT NULL,
  number TEXT NOT NULL,
  bound_at BIGINT NOT NULL,
  bound_from TEXT NOT NULL,
  last_used_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id)
);
CREATE INDEX phone_number ON phone (number);

CREATE TABLE account_protection (
  account_id TEXT PRIMARY KEY,
  scenarios TEXT NOT NULL,
  method TEXT NOT NULL,
  since BIGINT NOT NULL,
  changed_at BIGINT NOT NULL
);

ALTER TABLE sent_code ADD COLUMN message_id TEXT NOT NULL DEFAULT '';

ALTER TABLE verification ADD COLUMN action TEXT NOT NULL DEFAULT '';

ALTER TABLE recovery_code ADD COLUMN saved_at BIGINT NOT NULL DEFAULT 0;
UPDATE recovery_code SET saved_at = created_at;
