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

// Newest finds the newest build of each of some apps, without its result; an app that was never built has none.
func (s *Store) Newest(ctx context.Context, apps []build.App) (map[build.ID]build.Build, error) {
	ids := make([]build.ID, len(apps))
	for i, a := range apps {
		ids[i] = a.ID
	}
	// CROSS keeps the order: each app, and of it one row by index.
	all, err := collect(ctx, s.r, scanBuild, `SELECT `+plainColumns+` FROM json_each(?) one CROSS JOIN apps ON apps.id = one.value
		CROSS JOIN builds b ON b.app_id = apps.id AND b.number = apps.build_seq`, build.JSON(ids))
	if err != nil {
		return nil, fmt.Errorf("newest builds: %w", err)
	}
	of := make(map[build.ID]build.Build, len(all))
	for _, b := range all {
		of[b.App] = b
	}
	return of, nil
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
	return collect(ctx, s.r, scanBuild, `SELECT `+buildColumns+` FROM builds INDEXED BY builds_ended
		WHERE ended_at >= ?1 AND (ended_at > ?1 OR id > ?2) ORDER BY ended_at, id LIMIT ?3`, max(micros(at), 1), id, most)
}

// Going lists builds that run, and then those that wait, the oldest first.
func (s *Store) Going(ctx context.Context, most int) ([]build.Build, error) {
	all, err := collect(ctx, s.r, scanBuild, `SELECT `+plainColumns+` FROM builds b INDEXED BY builds_leased WHERE state = 'running' ORDER BY lease LIMIT ?`, most)
	if err != nil || len(all) == most {
		return all, err
	}
	waiting, err := collect(ctx, s.r, scanBuild, `SELECT `+plainColumns+` FROM builds b INDEXED BY builds_queued WHERE state = 'queued' ORDER BY id LIMIT ?`, most-len(all))
	return append(all, waiting...), err
}
