package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/slipway-build/slipway/internal/build"
)

const releaseColumns = `id, app_id, version, build_id, user_id, description, repository, digest, processes, state, failure, ref, old, new,
	ref_moved, tagged, created_at, updated_at`

func scanRelease(r row) (v build.Release, err error) {
	var processes string
	err = r.Scan(&v.ID, &v.App, &v.Version, &v.Build, &v.User, &v.Description, &v.Repository, &v.Digest, &processes, &v.State, &v.Failure,
		&v.Ref, &v.Old, &v.New, &v.RefMoved, &v.Tagged, instant{&v.CreatedAt}, instant{&v.UpdatedAt})
	if err == nil {
		err = json.Unmarshal([]byte(processes), &v.Processes)
	}
	return v, err
}

func (s *Store) insertRelease(ctx context.Context, tx *sql.Tx, v build.Release) (*build.Release, error) {
	v.ID, v.CreatedAt = build.NewID(), s.now().UTC()
	v.UpdatedAt, v.RefMoved, v.Tagged = v.CreatedAt, v.Ref == "", false
	if v.Processes == nil {
		v.Processes = []build.Process{}
	}
	if err := tx.QueryRowContext(ctx, `UPDATE apps SET release_seq = release_seq + 1, updated_at = ? WHERE id = ? RETURNING release_seq`, micros(v.CreatedAt), v.App).Scan(&v.Version); err != nil {
		return nil, wrap(err)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO releases (`+releaseColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.ID, v.App, v.Version, v.Build, v.User, v.Description, v.Repository, v.Digest, build.JSON(v.Processes), v.State, v.Failure,
		v.Ref, v.Old, v.New, v.RefMoved, v.Tagged, micros(v.CreatedAt), micros(v.UpdatedAt))
	if err != nil {
		return nil, wrap(err)
	}
	return &v, s.tellRelease(ctx, tx, "", v, false)
}

// CreateRelease records a release that no build made, such as a rollback.
func (s *Store) CreateRelease(ctx context.Context, v build.Release) (rel build.Release, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		r, err := s.insertRelease(ctx, tx, v)
		if err == nil {
			rel = *r
		}
		return err
	})
	return rel, err
}

// Release finds a release of an app by id or version ("3" or "v3").
func (s *Store) Release(ctx context.Context, app build.ID, idOrVersion string) (build.Release, error) {
	version := int64(-1)
	text := idOrVersion
	if len(text) > 1 && text[0] == 'v' {
		text = text[1:]
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		version = n
	}
	v, err := scanRelease(s.r.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ? AND (id = ? OR version = ?)`, app, idOrVersion, version))
	if err != nil {
		return v, fmt.Errorf("release %.80q: %w", idOrVersion, wrap(err))
	}
	return v, nil
}

// ReleaseByID is the service's own look at a release.
func (s *Store) ReleaseByID(ctx context.Context, id build.ID) (build.Release, error) {
	v, err := scanRelease(s.r.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE id = ?`, id))
	if err != nil {
		return v, fmt.Errorf("release %.80q: %w", id, wrap(err))
	}
	return v, nil
}

// ReleaseOf finds the release that a build made; ErrNotFound when it made none.
func (s *Store) ReleaseOf(ctx context.Context, b build.ID) (build.Release, error) {
	v, err := scanRelease(s.r.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE build_id = ?`, b))
	if err != nil {
		return v, fmt.Errorf("release of build %s: %w", b, wrap(err))
	}
	return v, nil
}

// ReleaseOfImage finds the release that first published an image of an app, by its digest.
func (s *Store) ReleaseOfImage(ctx context.Context, app build.ID, digest string) (build.Release, error) {
	v, err := scanRelease(s.r.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ? AND digest = ? ORDER BY version LIMIT 1`, app, digest))
	if err != nil {
		return v, fmt.Errorf("image %.80q: %w", digest, wrap(err))
	}
	return v, nil
}

// HoldsName tells whether an app may not give its name away: a build of it is running, which makes an image of that name,
// or a release of it is in the repository, which whoever has the name next would have.
func (s *Store) HoldsName(ctx context.Context, app build.ID, repository string) (holds bool, err error) {
	err = s.r.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM apps WHERE id = ?1 AND running > 0) OR EXISTS (SELECT 1 FROM releases WHERE app_id = ?1 AND repository = ?2)`,
		app, repository).Scan(&holds)
	if err != nil {
		return false, wrap(err)
	}
	return holds, nil
}

// Releases lists the releases of an app by version.
func (s *Store) Releases(ctx context.Context, app build.ID, p Page) ([]build.Release, error) {
	where, args := p.where("version")
	return collect(ctx, s.r, scanRelease, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ? AND `+where, append([]any{app}, args...)...)
}

// Unfinished lists releases whose ref or tag has still to move or whose release command has not ended, oldest first.
func (s *Store) Unfinished(ctx context.Context) ([]build.Release, error) {
	return collect(ctx, s.r, scanRelease, `SELECT `+releaseColumns+` FROM releases WHERE ref_moved = 0 OR (tagged = 0 AND state = 'succeeded') OR state = 'pending' ORDER BY app_id, version`)
}

// Latest is the newest release of an app; ErrNotFound when it has none.
func (s *Store) Latest(ctx context.Context, app build.ID) (build.Release, error) {
	v, err := scanRelease(s.r.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ? ORDER BY version DESC LIMIT 1`, app))
	if err != nil {
		return v, fmt.Errorf("latest release: %w", wrap(err))
	}
	return v, nil
}

// Current is the newest release of an app that succeeded: what the app's tag means. ErrNotFound when it has none.
func (s *Store) Current(ctx context.Context, app build.ID) (build.Release, error) {
	v, err := scanRelease(s.r.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ? AND state = 'succeeded' ORDER BY version DESC LIMIT 1`, app))
	if err != nil {
		return v, fmt.Errorf("current release: %w", wrap(err))
	}
	return v, nil
}

// Tagged records that the app's tag names this release or a newer one, and with it that this one is to be deployed.
func (s *Store) Tagged(ctx context.Context, id build.ID) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		v, err := scanRelease(tx.QueryRowContext(ctx, `UPDATE releases SET tagged = 1, updated_at = ? WHERE id = ? AND tagged = 0 RETURNING `+releaseColumns, micros(s.now()), id))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		var current bool
		if err == nil {
			err = tx.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM releases WHERE app_id = ? AND state = 'succeeded' AND version > ?)`, v.App, v.Version).Scan(&current)
		}
		if err != nil {
			return wrap(err)
		}
		if current {
			if _, err := s.deployRelease(ctx, tx, v, build.BecauseRelease); err != nil {
				return err
			}
		}
		return s.tellRelease(ctx, tx, v.State, v, current)
	})
}

// RefMoved records that the pushed ref of a release has moved, or cannot move any more.
func (s *Store) RefMoved(ctx context.Context, id build.ID) error {
	_, err := s.exec(ctx, `UPDATE releases SET ref_moved = 1, updated_at = ? WHERE id = ?`, micros(s.now()), id)
	return err
}

// EndRelease records how the release command of a pending release ended.
func (s *Store) EndRelease(ctx context.Context, id build.ID, state build.ReleaseState, failure string) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		v, err := scanRelease(tx.QueryRowContext(ctx, `UPDATE releases SET state = ?, failure = ?, updated_at = ? WHERE id = ? AND state = 'pending' RETURNING `+releaseColumns,
			state, failure, micros(s.now()), id))
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("release %s: %w", id, build.ErrConflict)
		}
		if err != nil {
			return wrap(err)
		}
		return s.tellRelease(ctx, tx, build.ReleasePending, v, false)
	})
}
