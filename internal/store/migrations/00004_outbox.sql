-- +goose Up
-- What the service tells others. A webhook has its URL, secret and authorization sealed for app_id/webhook/id only; host is
-- that of the URL, without what is secret. include is JSON.
CREATE TABLE webhooks (
    id         TEXT PRIMARY KEY,
    app_id     TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    user_id    TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    host       TEXT NOT NULL,
    include    TEXT NOT NULL,
    level      TEXT NOT NULL,
    disabled   TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX webhooks_of_app ON webhooks (app_id, id);

-- Where the commits of an app's builds get statuses. The token is sealed for app_id/forge/token only.
CREATE TABLE forges (
    app_id     TEXT PRIMARY KEY REFERENCES apps ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    repository TEXT NOT NULL,
    api        TEXT NOT NULL,
    context    TEXT NOT NULL,
    token      BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

-- What happened, where a webhook is told of it.
CREATE TABLE events (
    app_id     TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    id         TEXT NOT NULL UNIQUE,
    include    TEXT NOT NULL,
    action     TEXT NOT NULL,
    resource   TEXT NOT NULL,
    actor      TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    data       TEXT NOT NULL,
    previous   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, number)
) WITHOUT ROWID;

-- The outbox. Rows are written with the change that they tell of; next_at is when one is to be sent, 0: not any more. Of a
-- lane one is sent at a time. webhook_id is NULL for statuses.
CREATE TABLE messages (
    app_id       TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    id           TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    webhook_id   TEXT REFERENCES webhooks ON DELETE CASCADE,
    event_id     TEXT NOT NULL,
    include      TEXT NOT NULL,
    level        TEXT NOT NULL,
    lane         TEXT NOT NULL,
    host         TEXT NOT NULL,
    status       TEXT NOT NULL,
    build_id     TEXT NOT NULL,
    build_no     INTEGER NOT NULL,
    state        TEXT NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      INTEGER NOT NULL,
    attempt_id   TEXT NOT NULL DEFAULT '',
    attempted_at INTEGER NOT NULL DEFAULT 0,
    code         INTEGER NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    answer       TEXT NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (app_id, number)
) WITHOUT ROWID;
CREATE INDEX messages_due ON messages (lane, host, next_at) WHERE next_at > 0;
CREATE INDEX messages_of_webhook ON messages (webhook_id);
ALTER TABLE apps ADD COLUMN message_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN event_seq INTEGER NOT NULL DEFAULT 0;
