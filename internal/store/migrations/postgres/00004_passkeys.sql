-- +goose Up
-- Keys bound under U2F are here too, until they are updated to passkeys: they have an app_id.
CREATE TABLE passkey (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT PRIMARY KEY,
  credential_id BYTEA NOT NULL UNIQUE,
  public_key BYTEA NOT NULL,
  app_id TEXT NOT NULL,
  name TEXT NOT NULL,
  name_key TEXT NOT NULL,
  aaguid TEXT NOT NULL,
  transports TEXT NOT NULL,
  backup_eligible BIGINT NOT NULL,
  backed_up BIGINT NOT NULL,
  verified BIGINT NOT NULL,
  sign_count BIGINT NOT NULL,
  format TEXT NOT NULL,
  copied_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  created_from TEXT NOT NULL,
  last_used_at BIGINT NOT NULL,
  last_used_from TEXT NOT NULL,
  last_used_agent TEXT NOT NULL,
  UNIQUE (account_id, identity_id, name_key)
);

CREATE TABLE passkey_user (
  account_id TEXT NOT NULL,
  identity_id TEXT PRIMARY KEY,
  handle BYTEA NOT NULL UNIQUE
);

CREATE TABLE passkey_challenge (
  hash BYTEA PRIMARY KEY,
  ceremony_id TEXT NOT NULL REFERENCES ceremony (id) ON DELETE CASCADE,
  purpose TEXT NOT NULL,
  seq BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX passkey_challenge_ceremony ON passkey_challenge (ceremony_id, purpose, seq);
CREATE INDEX passkey_challenge_expires ON passkey_challenge (expires_at);
