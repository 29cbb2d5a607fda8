package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

const namespaceColumns = `name, owner, created_at`

func scanNamespace(r row) (n build.Namespace, err error) {
	err = r.Scan(&n.Name, &n.Owner, instant{&n.CreatedAt})
	return n, err
}

// Namespace finds a namespace of the service's index; ErrNotFound tells that it is nobody's.
func (s *Store) Namespace(ctx context.Context, name string) (build.Namespace, error) {
	n, err := scanNamespace(s.r.QueryRowContext(ctx, `SELECT `+namespaceColumns+` FROM namespaces WHERE name = ?`, name))
	if err != nil {
		return n, fmt.Errorf("namespace %.80q: %w", name, wrap(err))
	}
	return n, nil
}

// Namespaces lists all namespaces by name.
func (s *Store) Namespaces(ctx context.Context) ([]build.Namespace, error) {
	return collect(ctx, s.r, scanNamespace, `SELECT `+namespaceColumns+` FROM namespaces ORDER BY name`)
}

// ClaimNamespace makes a namespace a user's where it is nobody's, and returns whose it is then.
func (s *Store) ClaimNamespace(ctx context.Context, name string, owner build.ID) (n build.Namespace, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO namespaces (`+namespaceColumns+`) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, name, owner, micros(s.now())); err != nil {
			return wrap(err)
		}
		n, err = scanNamespace(tx.QueryRowContext(ctx, `SELECT `+namespaceColumns+` FROM namespaces WHERE name = ?`, name))
		return err
	})
	if err != nil {
		return n, fmt.Errorf("claim namespace %.80q: %w", name, err)
	}
	return n, nil
}

// GiveNamespace makes a namespace a user's, whoever's it was.
func (s *Store) GiveNamespace(ctx context.Context, name string, owner build.ID) (build.Namespace, error) {
	n := build.Namespace{Name: name, Owner: owner, CreatedAt: s.now().UTC().Truncate(time.Microsecond)}
	_, err := s.exec(ctx, `INSERT INTO namespaces (`+namespaceColumns+`) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET owner = excluded.owner`, n.Name, n.Owner, micros(n.CreatedAt))
	if err != nil {
		return n, fmt.Errorf("give namespace %.80q: %w", name, err)
	}
	return s.Namespace(ctx, name)
}

// PutBuildpackImage records what a registered image says of itself. What is known of it already stays.
func (s *Store) PutBuildpackImage(ctx context.Context, b build.BuildpackImage) error {
	now := micros(s.now())
	_, err := s.exec(ctx, `INSERT INTO buildpack_images (buildpack, version, address, id, user_id, facts, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		b.Buildpack, b.Version, b.Address, build.NewID(), b.User, build.JSON(b.Facts), now, now)
	if err != nil {
		return fmt.Errorf("record image %.200s: %w", b.Address, err)
	}
	return nil
}

// TouchBuildpackImage notes that an image was yanked, or not any more.
func (s *Store) TouchBuildpackImage(ctx context.Context, buildpack, version string) error {
	_, err := s.exec(ctx, `UPDATE buildpack_images SET updated_at = ? WHERE buildpack = ? AND version = ?`, micros(s.now()), buildpack, version)
	return err
}

// BuildpackImages lists what is known of the images of a buildpack.
func (s *Store) BuildpackImages(ctx context.Context, buildpack string) ([]build.BuildpackImage, error) {
	return collect(ctx, s.r, scanBuildpackImage, `SELECT `+buildpackImageColumns+` FROM buildpack_images WHERE buildpack = ? ORDER BY created_at`, buildpack)
}

// AllBuildpackImages lists what is known of all images.
func (s *Store) AllBuildpackImages(ctx context.Context) ([]build.BuildpackImage, error) {
	return collect(ctx, s.r, scanBuildpackImage, `SELECT `+buildpackImageColumns+` FROM buildpack_images ORDER BY buildpack, created_at`)
}

const buildpackImageColumns = `buildpack, version, address, id, user_id, facts, created_at, updated_at`

func scanBuildpackImage(r row) (b build.BuildpackImage, err error) {
	var facts string
	if err = r.Scan(&b.Buildpack, &b.Version, &b.Address, &b.ID, &b.User, &facts, instant{&b.CreatedAt}, instant{&b.UpdatedAt}); err != nil {
		return b, err
	}
	return b, json.Unmarshal([]byte(facts), &b.Facts)
}

// The ways in which a commit comes into the index.
const (
	ViaAPI  = "api"
	ViaPush = "push"
)

// NoteCommit records who made a commit of the index. One that is noted already stays.
func (s *Store) NoteCommit(ctx context.Context, commit string, by build.Actor, via string) error {
	_, err := s.exec(ctx, `INSERT INTO index_commits (commit_id, user_id, token_id, via, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, commit, by.User.ID, by.Token.ID, via, micros(s.now()))
	if err != nil {
		return fmt.Errorf("record commit %.40s of the index: %w", commit, err)
	}
	return nil
}
