-- +goose Up
-- What happens after a release of an app. settings is JSON.
CREATE TABLE deployers (
    app_id     TEXT PRIMARY KEY REFERENCES apps ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    settings   TEXT NOT NULL,
    port       INTEGER NOT NULL DEFAULT 0,
    webhook_id TEXT REFERENCES webhooks ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX deployers_port ON deployers (port) WHERE port > 0;
CREATE INDEX deployers_webhook ON deployers (webhook_id);

-- What became of it. A row is written with what it follows from; one that is pending is to be done.
CREATE TABLE deployments (
    id         TEXT PRIMARY KEY,
    app_id     TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    release_id TEXT NOT NULL,
    version    INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    state      TEXT NOT NULL,
    live       INTEGER NOT NULL DEFAULT 0,
    failure    TEXT NOT NULL DEFAULT '',
    url        TEXT NOT NULL DEFAULT '',
    restarts   INTEGER NOT NULL DEFAULT 0,
    event_id   TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (app_id, number)
) WITHOUT ROWID;
CREATE INDEX deployments_open ON deployments (app_id, number) WHERE state IN ('pending', 'starting', 'running');
CREATE INDEX deployments_told ON deployments (event_id) WHERE event_id <> '';
CREATE INDEX deployments_of_release ON deployments (release_id, number);
ALTER TABLE apps ADD COLUMN deployment_seq INTEGER NOT NULL DEFAULT 0;
