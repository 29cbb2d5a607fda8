package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
)

// settings is what apps.settings holds.
type settings struct {
	Builder    string           `json:"builder,omitempty"`
	Buildpacks []string         `json:"buildpacks,omitempty"`
	Branch     string           `json:"branch"`
	Disconnect build.Disconnect `json:"disconnect"`
	Limits     build.Limits     `json:"limits"`
	Image      string           `json:"image,omitempty"`
}

const appColumns = `id, name, owner, settings, cache_epoch, created_at, updated_at`

func scanApp(r row) (a build.App, err error) {
	var text string
	if err = r.Scan(&a.ID, &a.Name, &a.Owner, &text, &a.CacheEpoch, instant{&a.CreatedAt}, instant{&a.UpdatedAt}); err != nil {
		return a, err
	}
	var s settings
	if err = json.Unmarshal([]byte(text), &s); err != nil {
		return a, fmt.Errorf("settings of app %s: %w", a.Name, err)
	}
	a.Builder, a.Buildpacks, a.Branch, a.Disconnect, a.Limits, a.Image = s.Builder, s.Buildpacks, s.Branch, s.Disconnect, s.Limits, s.Image
	return a, nil
}

func settingsOf(a build.App) string {
	return build.JSON(settings{a.Builder, a.Buildpacks, a.Branch, a.Disconnect, a.Limits, a.Image})
}

// CreateApp records an app; ID and times are set here. ErrConflict tells that the name is taken.
func (s *Store) CreateApp(ctx context.Context, a build.App) (build.App, error) {
	err := s.change(ctx, func(tx *sql.Tx) (err error) {
		a, err = s.createApp(ctx, tx, a)
		return err
	})
	if err != nil {
		return build.App{}, err
	}
	return s.AppByID(ctx, a.ID)
}

func (s *Store) createApp(ctx context.Context, tx *sql.Tx, a build.App) (build.App, error) {
	a.ID, a.CreatedAt = build.NewID(), s.now().UTC()
	a.UpdatedAt = a.CreatedAt
	_, err := tx.ExecContext(ctx, `INSERT INTO apps (id, name, owner, settings, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)`,
		a.ID, a.Name, a.Owner, settingsOf(a), micros(a.CreatedAt), micros(a.UpdatedAt))
	if err != nil {
		return build.App{}, fmt.Errorf("create app %s: %w", a.Name, wrap(err))
	}
	return a, nil
}

// App finds an app by id or name, for an actor. What the actor does not see is ErrNotFound.
func (s *Store) App(ctx context.Context, who build.Actor, idOrName string) (build.App, error) {
	a, err := scanApp(s.r.QueryRowContext(ctx, `SELECT `+appColumns+` FROM apps WHERE id = ? OR name = ?`, idOrName, idOrName))
	if err == nil && !who.Sees(a) {
		err = sql.ErrNoRows
	}
	if err != nil {
		return build.App{}, fmt.Errorf("app %.80q: %w", idOrName, wrap(err))
	}
	return a, nil
}

const appOfID = `SELECT ` + appColumns + ` FROM apps WHERE id = ?`

// AppByID is the service's own look at an app.
func (s *Store) AppByID(ctx context.Context, id build.ID) (build.App, error) {
	a, err := scanApp(s.reads[appOfID].QueryRowContext(ctx, id))
	if err != nil {
		return a, fmt.Errorf("app %s: %w", id, wrap(err))
	}
	return a, nil
}

// Apps lists the apps that an actor sees, by name.
func (s *Store) Apps(ctx context.Context, who build.Actor) ([]build.App, error) {
	all, err := collect(ctx, s.r, scanApp, `SELECT `+appColumns+` FROM apps WHERE (owner = ? OR ?) AND (id = ? OR ? = '') ORDER BY name`,
		who.User.ID, who.User.Admin, who.Token.App, who.Token.App)
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	return all, nil
}

// AllApps lists every app, for the service itself.
func (s *Store) AllApps(ctx context.Context) ([]build.App, error) {
	return collect(ctx, s.r, scanApp, `SELECT `+appColumns+` FROM apps ORDER BY name`)
}

// UpdateApp changes an app's name and settings by f, in one transaction.
func (s *Store) UpdateApp(ctx context.Context, id build.ID, f func(*build.App) error) (a build.App, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if a, err = scanApp(tx.QueryRowContext(ctx, `SELECT `+appColumns+` FROM apps WHERE id = ?`, id)); err != nil {
			return wrap(err)
		}
		if err := f(&a); err != nil {
			return err
		}
		a.UpdatedAt = s.now().UTC()
		_, err = tx.ExecContext(ctx, `UPDATE apps SET name = ?, owner = ?, settings = ?, updated_at = ? WHERE id = ?`,
			a.Name, a.Owner, settingsOf(a), micros(a.UpdatedAt), id)
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return a, fmt.Errorf("change app: %w", err)
	}
	return a, nil
}

// PurgeCache makes all layers that earlier builds kept for an app unfindable.
func (s *Store) PurgeCache(ctx context.Context, id build.ID) error {
	n, err := s.exec(ctx, `UPDATE apps SET cache_epoch = cache_epoch + 1, updated_at = ? WHERE id = ?`, micros(s.now()), id)
	if err == nil && n == 0 {
		err = build.ErrNotFound
	}
	return err
}

// ErrBusy tells that an app has a running build.
var ErrBusy = errors.New("a build of it is running: cancel it first")

// DeleteApp removes an app with its builds, releases and secrets, and returns the builds that still waited, cancelled.
// Logs, images and repositories are the caller's. An app with a running build is ErrBusy.
func (s *Store) DeleteApp(ctx context.Context, id build.ID) (waited []build.Build, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		var running int
		if err := tx.QueryRowContext(ctx, `SELECT running FROM apps WHERE id = ?`, id).Scan(&running); err != nil {
			return wrap(err)
		}
		if running > 0 {
			return fmt.Errorf("%w: %w", build.ErrConflict, ErrBusy)
		}
		if waited, err = collect(ctx, tx, scanBuild, `SELECT `+buildColumns+` FROM builds WHERE app_id = ? AND state = 'queued' ORDER BY number`, id); err != nil {
			return err
		}
		for i := range waited {
			waited[i].State, waited[i].CancelReason, waited[i].EndedAt = build.Cancelled, "its app was deleted", s.now().UTC()
		}
		s.deployed.Store(true)
		for _, q := range []string{`DELETE FROM secrets WHERE app_id = ?`, `UPDATE tokens SET revoked_at = created_at WHERE app_id = ?`, `DELETE FROM apps WHERE id = ?`} {
			if _, err := tx.ExecContext(ctx, q, id); err != nil {
				return wrap(err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("delete app: %w", err)
	}
	return waited, nil
}
