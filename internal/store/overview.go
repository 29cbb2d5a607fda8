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

// LastSucceeded is the newest build of an app that succeeded, with its result; ErrNotFound when there is none.
func (s *Store) LastSucceeded(ctx context.Context, app build.ID) (build.Build, error) {
	b, err := scanBuild(s.r.QueryRowContext(ctx, `SELECT `+buildColumns+` FROM builds WHERE app_id = ? AND state = 'succeeded' ORDER BY number DESC LIMIT 1`, app))
	if err != nil {
		return b, fmt.Errorf("last build that succeeded: %w", wrap(err))
	}
	return b, nil
}
