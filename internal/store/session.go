package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// sessionChars is how long the id of a session is: 256 bits.
const sessionChars = 52

// CreateSession signs the bearer of a token in until a time, and returns the id of the session, which is kept nowhere: the
// database has its SHA-256. Sessions that are over are forgotten with it.
func (s *Store) CreateSession(ctx context.Context, token build.ID, until time.Time) (id string, err error) {
	var random [32]byte
	rand.Read(random[:])
	id = base.EncodeToString(random[:])
	hash := sha256.Sum256([]byte(id))
	now := s.now()
	err = s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM console_sessions WHERE expires_at <= ?`, micros(now)); err != nil {
			return wrap(err)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO console_sessions (hash, token_id, created_at, expires_at) VALUES (?, ?, ?, ?)`, hash[:], token, micros(now), micros(until))
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("begin a session: %w", err)
	}
	return id, nil
}

// OpenSession finds who is signed in, by a session's id. That it is over, unknown, or its token not good any more is
// ErrNotFound: a caller learns nothing else.
func (s *Store) OpenSession(ctx context.Context, id string) (build.Actor, error) {
	if len(id) != sessionChars {
		return build.Actor{}, build.ErrNotFound
	}
	hash := sha256.Sum256([]byte(id))
	var token string
	err := s.r.QueryRowContext(ctx, `SELECT token_id FROM console_sessions WHERE hash = ? AND expires_at > ?`, hash[:], micros(s.now())).Scan(&token)
	if err != nil {
		return build.Actor{}, wrap(err)
	}
	a, _, err := s.actor(ctx, `t.id = ?`, token)
	if err != nil {
		return build.Actor{}, err
	}
	if !a.Token.Valid(s.now()) {
		return build.Actor{}, build.ErrNotFound
	}
	return a, s.noteUse(ctx, &a.Token)
}

// EndSession signs out. That there is no such session is no error.
func (s *Store) EndSession(ctx context.Context, id string) error {
	hash := sha256.Sum256([]byte(id))
	_, err := s.exec(ctx, `DELETE FROM console_sessions WHERE hash = ?`, hash[:])
	return err
}
