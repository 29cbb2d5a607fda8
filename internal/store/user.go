package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

const userColumns = `id, name, admin, created_at`

func scanUser(r row) (u build.User, err error) {
	err = r.Scan(&u.ID, &u.Name, &u.Admin, instant{&u.CreatedAt})
	return u, err
}

// CreateUser records a user. ErrConflict tells that the name is taken.
func (s *Store) CreateUser(ctx context.Context, name string, admin bool) (build.User, error) {
	u := build.User{ID: build.NewID(), Name: name, Admin: admin, CreatedAt: s.now().UTC().Truncate(time.Microsecond)}
	_, err := s.exec(ctx, `INSERT INTO users (`+userColumns+`) VALUES (?, ?, ?, ?)`, u.ID, u.Name, u.Admin, micros(u.CreatedAt))
	if err != nil {
		return build.User{}, fmt.Errorf("create user %.80q: %w", name, err)
	}
	return u, nil
}

// Users lists all users by name.
func (s *Store) Users(ctx context.Context) ([]build.User, error) {
	return collect(ctx, s.r, scanUser, `SELECT `+userColumns+` FROM users ORDER BY name`)
}

// User finds a user by id or name.
func (s *Store) User(ctx context.Context, idOrName string) (build.User, error) {
	u, err := scanUser(s.r.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users WHERE id = ? OR name = ?`, idOrName, idOrName))
	if err != nil {
		return u, fmt.Errorf("user %.80q: %w", idOrName, wrap(err))
	}
	return u, nil
}

// ErrLastAdmin and ErrOwner tell why a user cannot be deleted.
var (
	ErrLastAdmin = errors.New("they are the last administrator: make another first")
	ErrOwner     = errors.New("they own apps: delete those first")
)

// DeleteUser removes a user by id with all their tokens, and with the sources that they put and no build took. What
// they asked for stays, without their name. ErrLastAdmin and ErrOwner, which are ErrConflict, tell that they stay.
func (s *Store) DeleteUser(ctx context.Context, id build.ID) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		var last, owner bool
		err := tx.QueryRowContext(ctx, `SELECT admin AND (SELECT count(*) FROM users WHERE admin) = 1, EXISTS (SELECT 1 FROM apps WHERE owner = users.id)
			FROM users WHERE id = ?`, id).Scan(&last, &owner)
		switch {
		case err != nil:
			return wrap(err)
		case last:
			return fmt.Errorf("%w: %w", build.ErrConflict, ErrLastAdmin)
		case owner:
			return fmt.Errorf("%w: %w", build.ErrConflict, ErrOwner)
		}
		for _, q := range []string{`DELETE FROM secrets WHERE app_id = ?`, `DELETE FROM users WHERE id = ?`} { // and tokens and sources with it
			if _, err := tx.ExecContext(ctx, q, id); err != nil {
				return wrap(err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete user: %w", err)
	}
	return nil
}

// tokenPrefix lets secret scanners know our tokens; the form is slw_<id><52 characters of secret><7 of checksum>.
const tokenPrefix = "slw_"

var base = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	idChars     = 36 // a UUID with its dashes
	secretChars = 52 // 256 bits
	sumChars    = 7  // CRC-32 of what stands before
)

func checksum(s string) string {
	c := crc32.ChecksumIEEE([]byte(s))
	return base.EncodeToString([]byte{byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)})
}

// CreateToken makes a token and returns its text, which is kept nowhere: the database has its SHA-256.
func (s *Store) CreateToken(ctx context.Context, t build.Token) (build.Token, string, error) {
	t.ID, t.CreatedAt = build.NewID(), s.now().UTC().Truncate(time.Microsecond)
	var random [32]byte
	rand.Read(random[:])
	text := tokenPrefix + string(t.ID) + base.EncodeToString(random[:])
	text += checksum(text)
	hash := sha256.Sum256([]byte(text))
	_, err := s.exec(ctx, `INSERT INTO tokens (id, user_id, hash, description, verbs, app_id, created_at, expires_at, last_used_at, revoked_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)`,
		t.ID, t.User, hash[:], t.Description, build.JSON(t.Verbs), t.App, micros(t.CreatedAt), micros(t.ExpiresAt))
	if err != nil {
		return build.Token{}, "", fmt.Errorf("create token: %w", err)
	}
	return t, text, nil
}

const tokenColumns = `t.id, t.user_id, t.description, t.verbs, t.app_id, t.public_key, t.created_at, t.expires_at, t.last_used_at, t.revoked_at`

func tokenDest(t *build.Token, verbs *string) []any {
	return []any{&t.ID, &t.User, &t.Description, verbs, &t.App, &t.PublicKey, instant{&t.CreatedAt}, instant{&t.ExpiresAt}, instant{&t.LastUsedAt}, instant{&t.RevokedAt}}
}

func scanToken(r row) (t build.Token, err error) {
	var verbs string
	if err = r.Scan(tokenDest(&t, &verbs)...); err == nil {
		err = json.Unmarshal([]byte(verbs), &t.Verbs)
	}
	return t, err
}

// Tokens lists the tokens of a user that are texts, oldest first.
func (s *Store) Tokens(ctx context.Context, user build.ID) ([]build.Token, error) {
	return collect(ctx, s.r, scanToken, `SELECT `+tokenColumns+` FROM tokens t WHERE t.user_id = ? AND t.public_key = '' ORDER BY t.created_at, t.id`, user)
}

// RevokeToken ends a token of a user for ever.
func (s *Store) RevokeToken(ctx context.Context, user, id build.ID) error {
	n, err := s.exec(ctx, `UPDATE tokens SET revoked_at = ? WHERE id = ? AND user_id = ? AND revoked_at = 0`, micros(s.now()), id, user)
	if err == nil && n == 0 {
		err = build.ErrNotFound
	}
	return err
}

// Authenticate finds who bears a token, and remembers to the minute that it was used. Whatever is wrong with it is
// ErrNotFound: a caller learns nothing else.
func (s *Store) Authenticate(ctx context.Context, text string) (build.Actor, error) {
	none := build.Actor{}
	if len(text) != len(tokenPrefix)+idChars+secretChars+sumChars || !strings.HasPrefix(text, tokenPrefix) || checksum(text[:len(text)-sumChars]) != text[len(text)-sumChars:] {
		return none, build.ErrNotFound
	}
	a, hash, err := s.actor(ctx, `t.id = ?`, text[len(tokenPrefix):len(tokenPrefix)+idChars])
	if err != nil {
		return none, err
	}
	sum := sha256.Sum256([]byte(text))
	if subtle.ConstantTimeCompare(sum[:], hash) != 1 || !a.Token.Valid(s.now()) {
		return none, build.ErrNotFound
	}
	return a, s.noteUse(ctx, &a.Token)
}

// actor is who has the token that a condition finds, and the hash of its text.
func (s *Store) actor(ctx context.Context, condition, value string) (a build.Actor, hash []byte, err error) {
	var verbs string
	dest := append(tokenDest(&a.Token, &verbs), &hash, &a.User.ID, &a.User.Name, &a.User.Admin, instant{&a.User.CreatedAt})
	err = s.r.QueryRowContext(ctx, `SELECT `+tokenColumns+`, t.hash, u.id, u.name, u.admin, u.created_at FROM tokens t JOIN users u ON u.id = t.user_id WHERE `+condition, value).Scan(dest...)
	if err != nil {
		return build.Actor{}, nil, wrap(err)
	}
	return a, hash, json.Unmarshal([]byte(verbs), &a.Token.Verbs)
}

// noteUse remembers to the minute that a token was used.
func (s *Store) noteUse(ctx context.Context, t *build.Token) error {
	minute := s.now().UTC().Truncate(time.Minute)
	if !t.LastUsedAt.Before(minute) {
		return nil
	}
	if _, err := s.exec(ctx, `UPDATE tokens SET last_used_at = ? WHERE id = ?`, micros(minute), t.ID); err != nil {
		return err
	}
	t.LastUsedAt = minute
	return nil
}

// First makes the first user, an administrator, and a token for everything, in a database that has no user yet.
// Otherwise text is empty.
func (s *Store) First(ctx context.Context, name string) (text string, err error) {
	var n int
	if err := s.r.QueryRowContext(ctx, `SELECT count(*) FROM tokens`).Scan(&n); err != nil || n > 0 {
		return "", err
	}
	u, err := s.User(ctx, name)
	if err != nil { // else a start before this one died between user and token
		if u, err = s.CreateUser(ctx, name, true); err != nil {
			return "", err
		}
	}
	_, text, err = s.CreateToken(ctx, build.Token{User: u.ID, Description: "made at the first start", Verbs: build.Verbs()})
	return text, err
}
