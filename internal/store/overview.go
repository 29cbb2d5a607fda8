package store

import (
	"context"
	"fmt"
	"time"

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

// EndedSince lists builds in the order in which they ended, with their results: those that ended at a time or later, but
// not those that it was told of before, which ended at that time up to an id.
func (s *Store) EndedSince(ctx context.Context, at time.Time, id build.ID, most int) ([]build.Build, error) {
	return collect(ctx, s.r, scanBuild, `SELECT `+buildColumns+` FROM builds WHERE ended_at > 0 AND (ended_at, id) > (?, ?) ORDER BY ended_at, id LIMIT ?`, micros(at), id, most)
}

// Going lists builds that run, and then those that wait, the oldest first.
func (s *Store) Going(ctx context.Context, most int) ([]build.Build, error) {
	all, err := collect(ctx, s.r, scanBuild, `SELECT `+plainColumns+` FROM builds b WHERE state = 'running' ORDER BY lease LIMIT ?`, most)
	if err != nil || len(all) == most {
		return all, err
	}
	waiting, err := collect(ctx, s.r, scanBuild, `SELECT `+plainColumns+` FROM builds b WHERE state = 'queued' ORDER BY id LIMIT ?`, most-len(all))
	return append(all, waiting...), err
}
