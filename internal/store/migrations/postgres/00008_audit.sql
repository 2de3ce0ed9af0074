-- +goose Up
-- What events are looked up by, beside their content; `audit verify` compares the two.
ALTER TABLE audit_event ADD COLUMN actor TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN actor_name TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN refused TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN method TEXT NOT NULL DEFAULT '';

-- NUL, which no column holds, is left out. One that was changed and cannot be read must not keep the server from starting.
-- +goose StatementBegin
CREATE FUNCTION audit_text(content BYTEA, VARIADIC path TEXT[]) RETURNS TEXT LANGUAGE plpgsql AS $$
BEGIN
  RETURN COALESCE(replace(replace(convert_from(content, 'UTF8'), '\\', '\u005c'), '\u0000', '')::json #>> path, '');
EXCEPTION WHEN others THEN
  RETURN '';
END $$;
-- +goose StatementEnd
UPDATE audit_event SET
  actor = COALESCE(NULLIF(audit_text(content, 'actor', 'id'), ''), audit_text(content, 'actor', 'kind')),
  actor_name = audit_text(content, 'actor', 'name'),
  address = audit_text(content, 'actor', 'address'),
  request = audit_text(content, 'actor', 'request'),
  refused = audit_text(content, 'refused'),
  method = audit_text(content, 'details', 'method');
DROP FUNCTION audit_text;
CREATE INDEX audit_event_actor ON audit_event (account_id, actor, seq);
CREATE INDEX audit_event_name ON audit_event (account_id, name, at);
CREATE INDEX audit_event_at ON audit_event (account_id, at);
CREATE INDEX audit_event_request ON audit_event (account_id, request) WHERE request <> '';

-- What the last look at a chain found. It is for people: whoever needs to know looks anew.
CREATE TABLE audit_check (
  account_id TEXT PRIMARY KEY,
  seq BIGINT NOT NULL,
  broken TEXT NOT NULL,
  checked_at BIGINT NOT NULL
);
