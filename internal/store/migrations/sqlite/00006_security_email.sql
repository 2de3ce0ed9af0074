-- +goose Up
-- The mailbox that a RAM user has shown to be its own; identity.email is what administrators write down.
CREATE TABLE security_email (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT NOT NULL,
  address TEXT NOT NULL,
  address_key TEXT NOT NULL,
  bound_at INTEGER NOT NULL,
  bound_from TEXT NOT NULL,
  last_used_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, identity_id)
);
CREATE INDEX security_email_address ON security_email (address_key);

-- A phone that an administrator has written down, and the link by which its holder makes it the security phone.
CREATE TABLE activation (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  id TEXT NOT NULL,
  number TEXT NOT NULL,
  token_hash BLOB NOT NULL UNIQUE,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, identity_id)
);
CREATE INDEX activation_expires ON activation (expires_at);
