package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
)

const setupColumns = `id, user_id, app_id, state, record, created_at, updated_at, ended_at`

func scanSetup(r row) (s build.Setup, err error) {
	var text string
	if err = r.Scan(&s.ID, &s.User, &s.App, &s.State, &text, instant{&s.CreatedAt}, instant{&s.UpdatedAt}, instant{&s.EndedAt}); err != nil {
		return s, err
	}
	if err = json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("setup %s: %w", s.ID, err)
	}
	return s, nil
}

// secretSetup is the kind of what a setup needs and nobody may read. It lies in the setup's row.
const secretSetup SecretKind = "setup"

// CreateSetup records a setup with the app that it makes, both or none; their IDs and times are set here. ErrConflict tells
// that the name is taken. input is kept sealed until the setup ends. Setups of the user beyond build.MaxSetups are forgotten.
func (s *Store) CreateSetup(ctx context.Context, v build.Setup, a build.App, input string) (build.Setup, build.App, error) {
	v.ID, v.State, v.CreatedAt = build.NewID(), build.SetupPending, s.now().UTC()
	v.UpdatedAt, v.User, v.AppName = v.CreatedAt, a.Owner, a.Name
	err := s.change(ctx, func(tx *sql.Tx) (err error) {
		if a, err = s.createApp(ctx, tx, a); err != nil {
			return err
		}
		v.App = a.ID
		sealed, err := s.box.Seal(boundTo(v.ID, secretSetup, ""), []byte(input))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO setups (id, user_id, app_id, state, record, sealed, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			v.ID, v.User, v.App, v.State, build.JSON(v), sealed, micros(v.CreatedAt), micros(v.UpdatedAt))
		if err == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM setups WHERE user_id = ?1 AND ended_at > 0 AND id IN
				(SELECT id FROM setups WHERE user_id = ?1 ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?2)`, v.User, build.MaxSetups)
		}
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return v, a, fmt.Errorf("record a setup: %w", err)
	}
	return v, a, nil
}

// Setup finds a setup as an actor sees it.
func (s *Store) Setup(ctx context.Context, who build.Actor, id build.ID) (build.Setup, error) {
	v, err := s.SetupByID(ctx, id)
	if err == nil && !who.SeesSetup(v) {
		err = fmt.Errorf("setup %.80q: %w", id, build.ErrNotFound)
	}
	if err != nil {
		return build.Setup{}, err
	}
	return v, nil
}

// SetupByID is the service's own look at a setup.
func (s *Store) SetupByID(ctx context.Context, id build.ID) (build.Setup, error) {
	return setupBy(ctx, s.r, `id = ?`, id)
}

// SetupOfApp is the setup that made an app; ErrNotFound where the app was made in another way.
func (s *Store) SetupOfApp(ctx context.Context, app build.ID) (build.Setup, error) {
	return setupBy(ctx, s.r, `app_id = ?`, app)
}

// SetupOfBuild is the setup that a build belongs to, or did before its app was removed.
func (s *Store) SetupOfBuild(ctx context.Context, id build.ID) (build.Setup, error) {
	return setupBy(ctx, s.r, `build_id = ? AND build_id <> ''`, id)
}

func setupBy(ctx context.Context, q querier, where string, id build.ID) (build.Setup, error) {
	v, err := scanSetup(q.QueryRowContext(ctx, `SELECT `+setupColumns+` FROM setups WHERE `+where, id))
	if err != nil {
		return v, fmt.Errorf("setup %.80q: %w", id, wrap(err))
	}
	return v, nil
}

// Setups lists the setups of an actor, the newest first.
func (s *Store) Setups(ctx context.Context, who build.Actor, most int) ([]build.Setup, error) {
	return collect(ctx, s.r, scanSetup, `SELECT `+setupColumns+` FROM setups WHERE user_id = ?1 AND (app_id = ?2 OR ?2 = '') ORDER BY created_at DESC, id DESC LIMIT ?3`,
		who.User.ID, who.Token.App, most)
}

// OpenSetups lists the setups that have not ended, the oldest first.
func (s *Store) OpenSetups(ctx context.Context) ([]build.Setup, error) {
	return collect(ctx, s.r, scanSetup, `SELECT `+setupColumns+` FROM setups WHERE ended_at = 0 ORDER BY created_at, id`)
}

// SetupInput opens what a setup that has not ended was given.
func (s *Store) SetupInput(ctx context.Context, id build.ID) (string, error) {
	var sealed []byte
	err := s.r.QueryRowContext(ctx, `SELECT sealed FROM setups WHERE id = ? AND sealed IS NOT NULL`, id).Scan(&sealed)
	if err != nil {
		return "", fmt.Errorf("setup %s: %w", id, wrap(err))
	}
	plain, err := s.box.Open(boundTo(id, secretSetup, ""), sealed)
	if err != nil {
		return "", fmt.Errorf("setup %s: %w", id, err)
	}
	return string(plain), nil
}

// PutSetupInput replaces what SetupInput has.
func (s *Store) PutSetupInput(ctx context.Context, id build.ID, input string) error {
	sealed, err := s.box.Seal(boundTo(id, secretSetup, ""), []byte(input))
	if err == nil {
		_, err = s.exec(ctx, `UPDATE setups SET sealed = ? WHERE id = ? AND ended_at = 0`, sealed, id)
	}
	if err != nil {
		return fmt.Errorf("setup %s: %w", id, err)
	}
	return nil
}

// UpdateSetup changes a setup by f, in one transaction. One that has a terminal state afterwards has ended: nothing changes
// it any more, and what it was given is forgotten. ErrConflict tells that it had ended before.
func (s *Store) UpdateSetup(ctx context.Context, id build.ID, f func(*build.Setup)) (v build.Setup, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if v, err = setupBy(ctx, tx, `id = ?`, id); err != nil {
			return err
		}
		if !v.EndedAt.IsZero() {
			return fmt.Errorf("setup %s has ended: %w", id, build.ErrConflict)
		}
		f(&v)
		v.UpdatedAt = s.now().UTC()
		if v.State != build.SetupPending {
			v.EndedAt = v.UpdatedAt
		}
		_, err := tx.ExecContext(ctx, `UPDATE setups SET build_id = ?1, state = ?2, record = ?3, updated_at = ?4, ended_at = ?5, sealed = CASE WHEN ?5 > 0 THEN NULL ELSE sealed END WHERE id = ?6`,
			v.Build, v.State, build.JSON(v), micros(v.UpdatedAt), micros(v.EndedAt), id)
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	return v, err
}

// RunningBuild is the build of an app that runs; ErrNotFound where none does.
func (s *Store) RunningBuild(ctx context.Context, app build.ID) (build.Build, error) {
	b, err := scanBuild(s.r.QueryRowContext(ctx, `SELECT `+buildColumns+` FROM builds WHERE app_id = ? AND state = 'running'`, app))
	if err != nil {
		return b, fmt.Errorf("running build: %w", wrap(err))
	}
	return b, nil
}
