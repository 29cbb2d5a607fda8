-- +goose Up

-- A key is a token whose secret the client keeps: public_key is empty for tokens that are texts.
ALTER TABLE tokens ADD COLUMN public_key TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX tokens_public_key ON tokens (public_key) WHERE public_key != '';
