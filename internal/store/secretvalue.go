package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
)

// A SecretKind separates the names of secrets.
type SecretKind string

// The kinds of secret. Those of the service itself have no app, and credentials of a git host may be a user's, who stands in
// the app's place.
const (
	SecretVar      SecretKind = "var"      // a config var; the name is its EnvName
	SecretBinding  SecretKind = "binding"  // a service binding: JSON of its files
	SecretRegistry SecretKind = "registry" // credentials of a registry; the name is its host
	SecretGit      SecretKind = "git"      // credentials of a git host; the name is the host
)

// GitCredentials are what a git host wants: a name and a password by https, or a key by ssh.
type GitCredentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Key      string `json:"key,omitempty"` // PEM, without a passphrase
}

// GitCredentials are those for a host of the first of some owners that has any: an app, a user, or "", the service. Who that
// is comes too; found tells whether there are any.
func (s *Store) GitCredentials(ctx context.Context, host string, owners ...build.ID) (c GitCredentials, owner build.ID, found bool, err error) {
	for _, owner := range owners {
		all, err := s.Secrets(ctx, owner, SecretGit)
		if err != nil {
			return c, "", false, err
		}
		text, ok := all[host]
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return c, "", false, fmt.Errorf("credentials for git host %s: %w", host, err)
		}
		return c, owner, true, nil
	}
	return c, "", false, nil
}

func boundTo(app build.ID, kind SecretKind, name string) string {
	return string(app) + "\x00" + string(kind) + "\x00" + name
}

type sealedRow struct {
	name  string
	value []byte
}

// Secrets opens all secrets of a kind of an app (or of the service, with no app, or a user), by name.
func (s *Store) Secrets(ctx context.Context, app build.ID, kind SecretKind) (map[string]string, error) {
	return s.secrets(ctx, s.r, app, kind)
}

func (s *Store) secrets(ctx context.Context, q querier, app build.ID, kind SecretKind) (map[string]string, error) {
	rows, err := collect(ctx, q, func(r row) (v sealedRow, err error) { return v, r.Scan(&v.name, &v.value) },
		`SELECT name, value FROM secrets WHERE app_id = ? AND kind = ? ORDER BY name`, app, kind)
	if err != nil {
		return nil, err
	}
	all := make(map[string]string, len(rows))
	for _, v := range rows {
		plain, err := s.box.Open(boundTo(app, kind, v.name), v.value)
		if err != nil {
			return nil, fmt.Errorf("%s %s of app %s: %w", kind, v.name, app, err)
		}
		all[v.name] = string(plain)
	}
	return all, nil
}

// ChangeSecrets sets and, where the value is nil, removes secrets of a kind, all or none, and returns what there is
// afterwards. check, if not nil, may refuse that.
func (s *Store) ChangeSecrets(ctx context.Context, app build.ID, kind SecretKind, changes map[string]*string, check func(after map[string]string) error) (after map[string]string, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if app != "" {
			var n int
			if err := tx.QueryRowContext(ctx, `SELECT 1 FROM apps WHERE id = ? UNION ALL SELECT 1 FROM users WHERE id = ?`, app, app).Scan(&n); err != nil {
				return wrap(err)
			}
		}
		for name, v := range changes {
			if v == nil {
				if _, err := tx.ExecContext(ctx, `DELETE FROM secrets WHERE app_id = ? AND kind = ? AND name = ?`, app, kind, name); err != nil {
					return wrap(err)
				}
				continue
			}
			sealed, err := s.box.Seal(boundTo(app, kind, name), []byte(*v))
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO secrets (app_id, kind, name, value, updated_at) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`, app, kind, name, sealed, micros(s.now())); err != nil {
				return wrap(err)
			}
		}
		if after, err = s.secrets(ctx, tx, app, kind); err != nil {
			return err
		}
		if check != nil {
			if err := check(after); err != nil {
				return err
			}
		}
		if kind == SecretVar && len(changes) > 0 {
			return s.restart(ctx, tx, app)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return after, nil
}

// restart has what runs of an app on this machine started with its new config vars.
func (s *Store) restart(ctx context.Context, tx *sql.Tx, app build.ID) error {
	by, err := deployer(ctx, tx, app)
	if err == nil && by.Kind == build.DeployLocal {
		_, err = s.deployCurrent(ctx, tx, app, build.BecauseConfig)
	}
	if errors.Is(err, build.ErrNotFound) {
		return nil
	}
	return err
}
