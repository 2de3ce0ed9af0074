-- +goose Up
CREATE TABLE account (
  id TEXT PRIMARY KEY,
  alias TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);

CREATE TABLE identity (
  account_id TEXT NOT NULL REFERENCES account (id),
  id TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  email TEXT NOT NULL,
  email_key TEXT NOT NULL UNIQUE,
  email_confirmed_at BIGINT NOT NULL,
  password_hash TEXT NOT NULL,
  password_changed_at BIGINT NOT NULL,
  password_alone BIGINT NOT NULL,
  locale TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, id)
);

CREATE TABLE setup_link (
  token_hash BYTEA PRIMARY KEY,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT NOT NULL
);

CREATE TABLE virtual_mfa (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  seed BYTEA NOT NULL,
  drift BIGINT NOT NULL,
  last_step BIGINT NOT NULL,
  bound_at BIGINT NOT NULL,
  bound_from TEXT NOT NULL,
  last_used_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id)
);

CREATE TABLE recovery_code (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  code_hash BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  used_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id, code_hash)
);

CREATE TABLE guess_budget (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  tries_left BIGINT NOT NULL,
  refilled_at BIGINT NOT NULL,
  fails BIGINT NOT NULL,
  fails_since BIGINT NOT NULL,
  password_refill_at BIGINT NOT NULL,
  version BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id)
);

CREATE TABLE throttle_window (
  scope TEXT PRIMARY KEY,
  started_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  counted BIGINT NOT NULL
);
CREATE INDEX throttle_window_ends ON throttle_window (ends_at);

CREATE TABLE known_device (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT NOT NULL UNIQUE,
  token_hash BYTEA NOT NULL UNIQUE,
  previous_hash BYTEA,
  fails BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  last_used_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id, id)
);
CREATE INDEX known_device_previous ON known_device (previous_hash);

CREATE TABLE ceremony (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  token_hash BYTEA UNIQUE,
  session_id TEXT NOT NULL,
  proofs TEXT NOT NULL,
  tries_left BIGINT NOT NULL,
  return_to TEXT NOT NULL,
  action TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  private BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX ceremony_session ON ceremony (session_id);
CREATE INDEX ceremony_identity ON ceremony (identity_id);
CREATE INDEX ceremony_expires ON ceremony (expires_at);

CREATE TABLE sent_code (
  id TEXT PRIMARY KEY,
  ceremony_id TEXT NOT NULL REFERENCES ceremony (id) ON DELETE CASCADE,
  method TEXT NOT NULL,
  digits BIGINT NOT NULL,
  key_id BIGINT NOT NULL,
  mac BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX sent_code_ceremony ON sent_code (ceremony_id);

CREATE TABLE session (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  token_hash BYTEA NOT NULL UNIQUE,
  proofs TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  last_seen_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  address TEXT NOT NULL,
  user_agent TEXT NOT NULL
);
CREATE INDEX session_identity ON session (account_id, identity_id);
CREATE INDEX session_expires ON session (expires_at);

CREATE TABLE verification (
  id TEXT PRIMARY KEY,
  session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
  scenario TEXT NOT NULL,
  target TEXT NOT NULL,
  method TEXT NOT NULL,
  given_at BIGINT NOT NULL
);
CREATE INDEX verification_session ON verification (session_id);

CREATE TABLE audit_event (
  account_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  identity_id TEXT NOT NULL,
  name TEXT NOT NULL,
  at BIGINT NOT NULL,
  content BYTEA NOT NULL,
  hash BYTEA NOT NULL,
  PRIMARY KEY (account_id, seq)
);
CREATE INDEX audit_event_identity ON audit_event (account_id, identity_id, seq);

CREATE TABLE audit_head (
  account_id TEXT PRIMARY KEY,
  seq BIGINT NOT NULL,
  hash BYTEA NOT NULL,
  key_id BIGINT NOT NULL,
  mac BYTEA NOT NULL
);

CREATE TABLE outbox (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  channel TEXT NOT NULL,
  kind TEXT NOT NULL,
  key_id BIGINT NOT NULL,
  sealed BYTEA NOT NULL,
  state TEXT NOT NULL,
  attempts BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  next_at BIGINT NOT NULL,
  sent_at BIGINT NOT NULL,
  last_error TEXT NOT NULL
);
CREATE INDEX outbox_due ON outbox (state, next_at);

CREATE TABLE keyring_check (
  name TEXT PRIMARY KEY,
  key_id BIGINT NOT NULL,
  sealed BYTEA NOT NULL
);
