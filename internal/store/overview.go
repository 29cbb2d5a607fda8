package store

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
)

// What pages show of many apps and builds at once: everything of a build but its result, which is the most of a row.

const plainColumns = `b.id, b.app_id, b.number, b.user_id, b.trigger, b.source, b.state, b.phase, b.buildpack, b.attempt, b.fence, b.worker, b.lease,
	b.cancel_asked, b.cancel_reason, b.failure, '', b.created_at, b.started_at, b.ended_at`

// An Overview is an app with its newest build.
type Overview struct {
	App  build.App
	Last *build.Build // without its result; nil: it has none
}

// Overviews lists the apps that an actor sees, by name, each with its newest build.
func (s *Store) Overviews(ctx context.Context, who build.Actor) ([]Overview, error) {
	apps, err := s.Apps(ctx, who)
	if err != nil {
		return nil, err
	}
	last, err := collect(ctx, s.r, scanBuild, `SELECT `+plainColumns+` FROM apps JOIN builds b ON b.app_id = apps.id AND b.number = apps.build_seq
		WHERE (owner = ? OR ?) AND (apps.id = ? OR ? = '')`, who.User.ID, who.User.Admin, who.Token.App, who.Token.App)
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	of := make(map[build.ID]*build.Build, len(last))
	for i := range last {
		of[last[i].App] = &last[i]
	}
	all := make([]Overview, len(apps))
	for i, a := range apps {
		all[i] = Overview{a, of[a.ID]}
	}
	return all, nil
}

// PlainBuilds is Builds without results.
func (s *Store) PlainBuilds(ctx context.Context, app build.ID, p Page) ([]build.Build, error) {
	where, args := p.where("number")
	return collect(ctx, s.r, scanBuild, `SELECT `+plainColumns+` FROM builds b WHERE app_id = ? AND `+where, append([]any{app}, args...)...)
}

// SecretNames lists the names of an app's secrets of a kind; none is opened.
func (s *Store) SecretNames(ctx context.Context, app build.ID, kind SecretKind) ([]string, error) {
	return collect(ctx, s.r, func(r row) (name string, err error) { return name, r.Scan(&name) },
		`SELECT name FROM secrets WHERE app_id = ? AND kind = ? ORDER BY name`, app, kind)
}

// AppByName is the service's own look at an app, by its name.
func (s *Store) AppByName(ctx context.Context, name string) (build.App, error) {
	a, err := scanApp(s.r.QueryRowContext(ctx, `SELECT `+appColumns+` FROM apps WHERE name = ?`, name))
	if err != nil {
		return a, fmt.Errorf("app %.80q: %w", name, wrap(err))
	}
	return a, nil
}
