-- +goose Up
-- What events are looked up by, beside their content; `audit verify` compares the two.
ALTER TABLE audit_event ADD COLUMN actor TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN actor_name TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN refused TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_event ADD COLUMN method TEXT NOT NULL DEFAULT '';
-- NUL, which no column holds, is left out.
UPDATE audit_event SET
  actor = COALESCE(NULLIF(json_extract(e.content, '$.actor.id'), ''), json_extract(e.content, '$.actor.kind'), ''),
  actor_name = COALESCE(json_extract(e.content, '$.actor.name'), ''),
  address = COALESCE(json_extract(e.content, '$.actor.address'), ''),
  request = COALESCE(json_extract(e.content, '$.actor.request'), ''),
  refused = COALESCE(json_extract(e.content, '$.refused'), ''),
  method = COALESCE(json_extract(e.content, '$.details.method'), '')
FROM (SELECT account_id, seq, replace(replace(CAST(content AS TEXT), '\\', '\u005c'), '\u0000', '') AS content FROM audit_event) e
WHERE e.account_id = audit_event.account_id AND e.seq = audit_event.seq AND json_valid(e.content);
CREATE INDEX audit_event_actor ON audit_event (account_id, actor, seq);
CREATE INDEX audit_event_name ON audit_event (account_id, name, at);
CREATE INDEX audit_event_at ON audit_event (account_id, at);
CREATE INDEX audit_event_request ON audit_event (account_id, request) WHERE request <> '';

-- What the last look at a chain found. It is for people: whoever needs to know looks anew.
CREATE TABLE audit_check (
  account_id TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  broken TEXT NOT NULL,
  checked_at INTEGER NOT NULL
);
