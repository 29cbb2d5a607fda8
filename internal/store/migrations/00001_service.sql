-- +goose Up
-- Times are microseconds since 1970, 0 where there is none. Values of package build are JSON.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES ('fence', 0), ('claim', 0);

CREATE TABLE users (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    admin      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    hash         BLOB NOT NULL,
    description  TEXT NOT NULL,
    verbs        TEXT NOT NULL,
    app_id       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    revoked_at   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tokens_of_user ON tokens (user_id, created_at);

-- queued and running count the app's builds; last_claim orders apps by whose turn it is.
CREATE TABLE apps (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    owner       TEXT NOT NULL REFERENCES users,
    settings    TEXT NOT NULL,
    cache_epoch INTEGER NOT NULL DEFAULT 0,
    build_seq   INTEGER NOT NULL DEFAULT 0,
    release_seq INTEGER NOT NULL DEFAULT 0,
    queued      INTEGER NOT NULL DEFAULT 0,
    running     INTEGER NOT NULL DEFAULT 0,
    last_claim  INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX apps_of_owner ON apps (owner, name);
CREATE INDEX apps_turn ON apps (last_claim, id) WHERE queued > 0 AND running = 0;

CREATE TABLE builds (
    id            TEXT PRIMARY KEY,
    app_id        TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    user_id       TEXT NOT NULL,
    trigger       TEXT NOT NULL,
    trigger_kind  TEXT NOT NULL,
    ref           TEXT NOT NULL,
    session       INTEGER NOT NULL,
    source        TEXT NOT NULL,
    state         TEXT NOT NULL,
    phase         TEXT NOT NULL DEFAULT '',
    buildpack     TEXT NOT NULL DEFAULT '',
    attempt       INTEGER NOT NULL DEFAULT 0,
    fence         INTEGER NOT NULL DEFAULT 0,
    worker        TEXT NOT NULL DEFAULT '',
    lease         INTEGER NOT NULL DEFAULT 0,
    cancel_asked  INTEGER NOT NULL DEFAULT 0,
    cancel_reason TEXT NOT NULL DEFAULT '',
    failure       TEXT NOT NULL DEFAULT '',
    result        TEXT NOT NULL DEFAULT '',
    created_at    INTEGER NOT NULL,
    started_at    INTEGER NOT NULL DEFAULT 0,
    ended_at      INTEGER NOT NULL DEFAULT 0,
    UNIQUE (app_id, number)
) WITHOUT ROWID;
CREATE INDEX builds_queued ON builds (app_id, number) WHERE state = 'queued';
CREATE INDEX builds_leased ON builds (lease) WHERE state = 'running';

CREATE TABLE releases (
    id          TEXT PRIMARY KEY,
    app_id      TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    version     INTEGER NOT NULL,
    build_id    TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    description TEXT NOT NULL,
    repository  TEXT NOT NULL,
    digest      TEXT NOT NULL,
    processes   TEXT NOT NULL,
    state       TEXT NOT NULL,
    failure     TEXT NOT NULL DEFAULT '',
    ref         TEXT NOT NULL DEFAULT '',
    old         TEXT NOT NULL DEFAULT '',
    new         TEXT NOT NULL DEFAULT '',
    ref_moved   INTEGER NOT NULL,
    tagged      INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (app_id, version)
) WITHOUT ROWID;
CREATE UNIQUE INDEX releases_of_build ON releases (build_id) WHERE build_id <> '';
CREATE INDEX releases_unfinished ON releases (app_id, version) WHERE ref_moved = 0 OR (tagged = 0 AND state = 'succeeded') OR state = 'pending';

-- sealed values open with the service's key, for app_id/kind/name only.
CREATE TABLE secrets (
    app_id     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    value      BLOB NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, kind, name)
) WITHOUT ROWID;

-- An upload is a place that a source may be put to, once.
CREATE TABLE uploads (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    source     TEXT NOT NULL DEFAULT '',
    checksum   TEXT NOT NULL DEFAULT '',
    size       INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
