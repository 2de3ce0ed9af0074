-- +goose Up
-- How many users of an account could sign in on a day (since 1970, UTC), and what protected them.
CREATE TABLE account_day (
  account_id TEXT NOT NULL,
  day INTEGER NOT NULL,
  users INTEGER NOT NULL,
  protected INTEGER NOT NULL,
  resistant INTEGER NOT NULL,
  PRIMARY KEY (account_id, day)
);
CREATE INDEX account_day_day ON account_day (day);

-- How sign-ins of a day ended, counted from the events up to the one in signin_counted.
CREATE TABLE signin_day (
  account_id TEXT NOT NULL,
  day INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  counted INTEGER NOT NULL,
  PRIMARY KEY (account_id, day, outcome)
);
CREATE INDEX signin_day_day ON signin_day (day);

CREATE TABLE signin_counted (
  account_id TEXT PRIMARY KEY,
  seq INTEGER NOT NULL
);

CREATE TABLE credential_report (
  account_id TEXT PRIMARY KEY,
  made_at INTEGER NOT NULL,
  made_by TEXT NOT NULL,
  line_count INTEGER NOT NULL,
  content BLOB NOT NULL
);
