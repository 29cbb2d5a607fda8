-- +goose Up
-- Who is signed in at the console. Of a session's id only the SHA-256 is here; what it may do is the token's to say, and it
-- ends with that.
CREATE TABLE console_sessions (
    hash       BLOB PRIMARY KEY,
    token_id   TEXT NOT NULL REFERENCES tokens ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX console_sessions_of_token ON console_sessions (token_id);
CREATE INDEX console_sessions_end ON console_sessions (expires_at);

-- Builds in the order in which they ended: what statistics are made of.
CREATE INDEX builds_ended ON builds (ended_at, id);
