-- +goose Up
-- Links in mails: the token itself is only ever in the mail.
CREATE TABLE mail_link (
  token_hash BYTEA PRIMARY KEY,
  kind TEXT NOT NULL,
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  event TEXT NOT NULL,
  address TEXT NOT NULL,
  user_agent TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT NOT NULL
);
CREATE INDEX mail_link_identity ON mail_link (identity_id, kind, used_at);
CREATE INDEX mail_link_expires ON mail_link (expires_at);

-- What a notice told of once, and has since happened again: it goes out as one digest.
CREATE TABLE notice_digest (
  account_id TEXT NOT NULL,
  identity_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  address TEXT NOT NULL,
  counted BIGINT NOT NULL,
  first_at BIGINT NOT NULL,
  last_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  PRIMARY KEY (account_id, identity_id, kind, address)
);
CREATE INDEX notice_digest_due ON notice_digest (due_at);

ALTER TABLE identity ADD COLUMN distrusted_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity ADD COLUMN check_due BIGINT NOT NULL DEFAULT 0;
