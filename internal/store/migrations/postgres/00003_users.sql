-- +goose Up
-- RAM users are identities too. Their email_key is 'ram:' account '/' name_key, which is no address.
ALTER TABLE identity ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE identity ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
ALTER TABLE identity ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
ALTER TABLE identity ADD COLUMN comments TEXT NOT NULL DEFAULT '';
ALTER TABLE identity ADD COLUMN last_signin_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX identity_name ON identity (account_id, name_key);
CREATE INDEX identity_created ON identity (account_id, created_at, id);
CREATE INDEX identity_signin ON identity (account_id, last_signin_at, id);
CREATE INDEX identity_role ON identity (account_id, role);

ALTER TABLE account ADD COLUMN policy_epoch BIGINT NOT NULL DEFAULT 0;

ALTER TABLE session ADD COLUMN policy_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN unusual TEXT NOT NULL DEFAULT '';
CREATE INDEX session_by_identity ON session (identity_id);

CREATE INDEX known_device_identity ON known_device (identity_id);

CREATE TABLE login_profile (
  account_id TEXT NOT NULL,
  identity_id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  mfa_required BIGINT NOT NULL,
  password_reset BIGINT NOT NULL,
  initial_until BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE account_settings (
  account_id TEXT PRIMARY KEY,
  content TEXT NOT NULL,
  idle_users BIGINT NOT NULL,
  changed_at BIGINT NOT NULL
);

CREATE TABLE domain_alias (
  account_id TEXT NOT NULL,
  domain TEXT NOT NULL,
  code TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  verified_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, domain)
);
CREATE UNIQUE INDEX domain_alias_verified ON domain_alias (domain) WHERE verified_at > 0;

CREATE TABLE enrolment (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  ticket_hash BYTEA NOT NULL,
  cancel_hash BYTEA,
  created_at BIGINT NOT NULL,
  opens_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id, kind)
);
CREATE INDEX enrolment_cancel ON enrolment (cancel_hash);

CREATE TABLE seen_network (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  network TEXT NOT NULL,
  last_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id, network)
);
CREATE INDEX seen_network_last ON seen_network (last_at);

CREATE TABLE password_history (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  hash TEXT NOT NULL,
  set_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id, seq)
);
