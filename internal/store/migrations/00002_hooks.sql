-- +goose Up
-- A hook is where a forge tells of pushes. Its URL has a token, of which hash is the SHA-256; secrets are sealed for
-- app_id/hook/id only: the one there is, and the one before it, which is taken until previous_until.
CREATE TABLE hooks (
    id             TEXT PRIMARY KEY,
    app_id         TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    user_id        TEXT NOT NULL,
    hash           BLOB NOT NULL UNIQUE,
    secrets        BLOB NOT NULL,
    settings       TEXT NOT NULL,
    previous_until INTEGER NOT NULL DEFAULT 0,
    delivery_seq   INTEGER NOT NULL DEFAULT 0,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX hooks_of_app ON hooks (app_id, id);

-- The journal. Of what is refused only the claim is known, so that it stands for nothing that comes later.
CREATE TABLE deliveries (
    hook_id     TEXT NOT NULL REFERENCES hooks ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    id          TEXT NOT NULL,
    forge       TEXT NOT NULL,
    event       TEXT NOT NULL,
    delivery    TEXT NOT NULL,
    replay      TEXT NOT NULL,
    ref         TEXT NOT NULL,
    commit_id   TEXT NOT NULL,
    before_id   TEXT NOT NULL,
    result      TEXT NOT NULL,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    build_id    TEXT NOT NULL,
    build_no    INTEGER NOT NULL,
    times       INTEGER NOT NULL,
    kept        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    PRIMARY KEY (hook_id, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX deliveries_once ON deliveries (hook_id, delivery, ref) WHERE result <> 'refused';
CREATE INDEX deliveries_replay ON deliveries (hook_id, replay, ref) WHERE result <> 'refused';
CREATE INDEX deliveries_refused ON deliveries (hook_id, number) WHERE result = 'refused';

-- What the newest build of a ref by webhook is, and which of them wait.
CREATE INDEX builds_hooked ON builds (app_id, ref, number) WHERE trigger_kind = 'webhook';
CREATE INDEX builds_superseded ON builds (app_id, ref, number) WHERE trigger_kind = 'webhook' AND state = 'queued';
