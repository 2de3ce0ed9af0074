-- +goose Up
CREATE TABLE account (
  id TEXT PRIMARY KEY,
  alias TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
);

CREATE TABLE identity (
  account_id TEXT NOT NULL REFERENCES account (id),
  id TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  email TEXT NOT NULL,
  email_key TEXT NOT NULL UNIQUE,
  email_confirmed_at INTEGER NOT NULL,
  password_hash TEXT NOT NULL,
  password_changed_at INTEGER NOT NULL,
  password_alone INTEGER NOT NULL,
  locale TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, id)
);

CREATE TABLE setup_link (
  token_hash BLOB PRIMARY KEY,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at INTEGER NOT NULL
);

CREATE TABLE virtual_mfa (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  key_id INTEGER NOT NULL,
  seed BLOB NOT NULL,
  drift INTEGER NOT NULL,
  last_step INTEGER NOT NULL,
  bound_at INTEGER NOT NULL,
  bound_from TEXT NOT NULL,
  last_used_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, identity_id)
);

CREATE TABLE recovery_code (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  code_hash BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  used_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, identity_id, code_hash)
);

CREATE TABLE guess_budget (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  tries_left INTEGER NOT NULL,
  refilled_at INTEGER NOT NULL,
  fails INTEGER NOT NULL,
  fails_since INTEGER NOT NULL,
  password_refill_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (account_id, identity_id)
);

CREATE TABLE throttle_window (
  scope TEXT PRIMARY KEY,
  started_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  counted INTEGER NOT NULL
);
CREATE INDEX throttle_window_ends ON throttle_window (ends_at);

CREATE TABLE known_device (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT NOT NULL UNIQUE,
  token_hash BLOB NOT NULL UNIQUE,
  previous_hash BLOB,
  fails INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, identity_id, id)
);
CREATE INDEX known_device_previous ON known_device (previous_hash);

CREATE TABLE ceremony (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  token_hash BLOB UNIQUE,
  session_id TEXT NOT NULL,
  proofs TEXT NOT NULL,
  tries_left INTEGER NOT NULL,
  return_to TEXT NOT NULL,
  action TEXT NOT NULL,
  key_id INTEGER NOT NULL,
  private BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
);
CREATE INDEX ceremony_session ON ceremony (session_id);
CREATE INDEX ceremony_identity ON ceremony (identity_id);
CREATE INDEX ceremony_expires ON ceremony (expires_at);

CREATE TABLE sent_code (
  id TEXT PRIMARY KEY,
  ceremony_id TEXT NOT NULL REFERENCES ceremony (id) ON DELETE CASCADE,
  method TEXT NOT NULL,
  digits INTEGER NOT NULL,
  key_id INTEGER NOT NULL,
  mac BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
);
CREATE INDEX sent_code_ceremony ON sent_code (ceremony_id);

CREATE TABLE session (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  token_hash BLOB NOT NULL UNIQUE,
  proofs TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
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
  given_at INTEGER NOT NULL
);
CREATE INDEX verification_session ON verification (session_id);

CREATE TABLE audit_event (
  account_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  identity_id TEXT NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  content BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (account_id, seq)
);
CREATE INDEX audit_event_identity ON audit_event (account_id, identity_id, seq);

CREATE TABLE audit_head (
  account_id TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL,
  key_id INTEGER NOT NULL,
  mac BLOB NOT NULL
);

CREATE TABLE outbox (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  channel TEXT NOT NULL,
  kind TEXT NOT NULL,
  key_id INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  sent_at INTEGER NOT NULL,
  last_error TEXT NOT NULL
);
CREATE INDEX outbox_due ON outbox (state, next_at);

CREATE TABLE keyring_check (
  name TEXT PRIMARY KEY,
  key_id INTEGER NOT NULL,
  sealed BLOB NOT NULL
);
