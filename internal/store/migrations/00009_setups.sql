-- +goose Up
-- A setup outlives the app that it made. record is JSON of build.Setup; sealed is what it needs to go on and nobody may
-- read, and is there until it has ended.
CREATE TABLE setups (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL,
    app_id     TEXT NOT NULL,
    build_id   TEXT NOT NULL DEFAULT '',
    state      TEXT NOT NULL,
    record     TEXT NOT NULL,
    sealed     BLOB,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX setups_of_user ON setups (user_id, created_at);
CREATE INDEX setups_of_app ON setups (app_id);
CREATE INDEX setups_of_build ON setups (build_id) WHERE build_id <> '';
CREATE INDEX setups_open ON setups (created_at) WHERE ended_at = 0;
