package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// AddKey records an SSH key, t.PublicKey, as a token of its user. ErrConflict tells that it is somebody's already.
func (s *Store) AddKey(ctx context.Context, t build.Token) (build.Token, error) {
	t.ID, t.CreatedAt = build.NewID(), s.now().UTC().Truncate(time.Microsecond)
	var nothing [32]byte // is the hash of no text
	rand.Read(nothing[:])
	_, err := s.exec(ctx, `INSERT INTO tokens (id, user_id, hash, description, verbs, app_id, public_key, created_at, expires_at, last_used_at, revoked_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)`,
		t.ID, t.User, nothing[:], t.Description, build.JSON(t.Verbs), t.App, t.PublicKey, micros(t.CreatedAt), micros(t.ExpiresAt))
	if err != nil {
		return build.Token{}, fmt.Errorf("add key: %w", err)
	}
	return t, nil
}

// Keys lists the SSH keys of a user, oldest first.
func (s *Store) Keys(ctx context.Context, user build.ID) ([]build.Token, error) {
	return collect(ctx, s.r, scanToken, `SELECT `+tokenColumns+` FROM tokens t WHERE t.user_id = ? AND t.public_key != '' ORDER BY t.created_at, t.id`, user)
}

// RemoveKey forgets an SSH key of a user, who can add it again.
func (s *Store) RemoveKey(ctx context.Context, user, id build.ID) error {
	n, err := s.exec(ctx, `DELETE FROM tokens WHERE id = ? AND user_id = ? AND public_key != ''`, id, user)
	if err == nil && n == 0 {
		err = build.ErrNotFound
	}
	return err
}

// KnowsKey returns nil for a key that somebody has and that is valid, else ErrNotFound.
func (s *Store) KnowsKey(ctx context.Context, publicKey string) error {
	_, err := s.keyOf(ctx, publicKey)
	return err
}

// AuthenticateKey finds who has an SSH key, as Authenticate finds who bears a token. That the client has it was proved.
func (s *Store) AuthenticateKey(ctx context.Context, publicKey string) (build.Actor, error) {
	a, err := s.keyOf(ctx, publicKey)
	if err != nil {
		return build.Actor{}, err
	}
	return a, s.noteUse(ctx, &a.Token)
}

func (s *Store) keyOf(ctx context.Context, publicKey string) (a build.Actor, err error) {
	if publicKey == "" {
		return a, build.ErrNotFound
	}
	a, _, err = s.actor(ctx, `t.public_key = ?`, publicKey)
	if err != nil || !a.Token.Valid(s.now()) {
		return build.Actor{}, cmp.Or(err, build.ErrNotFound)
	}
	return a, nil
}
