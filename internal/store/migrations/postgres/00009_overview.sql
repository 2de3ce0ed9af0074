-- +goose Up
-- How many users of an account could sign in on a day (since 1970, UTC), and what protected them.
CREATE TABLE account_day (
  account_id TEXT NOT NULL,
  day BIGINT NOT NULL,
  users BIGINT NOT NULL,
  protected BIGINT NOT NULL,
  resistant BIGINT NOT NULL,
  PRIMARY KEY (account_id, day)
);
CREATE INDEX account_day_day ON account_day (day);

-- How sign-ins of a day ended, counted from the events up to the one in signin_counted.
CREATE TABLE signin_day (
  account_id TEXT NOT NULL,
  day BIGINT NOT NULL,
  outcome TEXT NOT NULL,
  counted BIGINT NOT NULL,
  PRIMARY KEY (account_id, day, outcome)
);
CREATE INDEX signin_day_day ON signin_day (day);

CREATE TABLE signin_counted (
  account_id TEXT PRIMARY KEY,
  seq BIGINT NOT NULL
);

CREATE TABLE credential_report (
  account_id TEXT PRIMARY KEY,
  made_at BIGINT NOT NULL,
  made_by TEXT NOT NULL,
  line_count BIGINT NOT NULL,
  content BYTEA NOT NULL
);
