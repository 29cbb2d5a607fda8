-- +goose Up
-- The index of buildpacks that the service keeps is a git repository; here is what that cannot say.

-- A namespace is whose it is, also when that user is gone: nobody else comes into it by that.
CREATE TABLE namespaces (
    name       TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- What an image that was registered says of itself, and who registered it. Only what the index names counts.
CREATE TABLE buildpack_images (
    buildpack  TEXT NOT NULL,
    version    TEXT NOT NULL,
    address    TEXT NOT NULL,
    id         TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    facts      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (buildpack, version, address)
) WITHOUT ROWID;

-- Who made each commit of the index, whatever the commit says of its author.
CREATE TABLE index_commits (
    commit_id TEXT PRIMARY KEY,
    user_id   TEXT NOT NULL,
    token_id  TEXT NOT NULL,
    via       TEXT NOT NULL,
    at        INTEGER NOT NULL
) WITHOUT ROWID;
