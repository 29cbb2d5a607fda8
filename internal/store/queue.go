package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// What looks for work, which is done all the time: each is answered by an index over what waits or runs alone, however
// long the record is.
const (
	nextApp   = `SELECT id FROM apps WHERE queued > 0 AND running = 0 ORDER BY last_claim, id LIMIT 1`
	nextBuild = `SELECT ` + buildColumns + ` FROM builds WHERE app_id = ? AND state = 'queued' ORDER BY number LIMIT 1`
	expired   = `SELECT ` + buildColumns + ` FROM builds WHERE state = 'running' AND lease < ? ORDER BY lease, id`
)

// Claim gives a worker the next build: of the apps that have a build waiting and none running, the one whose turn was
// longest ago, and of that app the build that was accepted first. ok is false when there is none. The fence of the
// claim is new; what an earlier claim of the build still reports is refused.
func (s *Store) Claim(ctx context.Context, worker string, lease time.Duration) (b build.Build, ok bool, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		var app build.ID
		err := tx.QueryRowContext(ctx, nextApp).Scan(&app)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return wrap(err)
		}
		b, err = scanBuild(tx.QueryRowContext(ctx, nextBuild, app))
		if err != nil {
			return fmt.Errorf("app %s counts a waiting build that is not there: %w", app, wrap(err))
		}
		if err := tx.QueryRowContext(ctx, `UPDATE meta SET value = value + 1 WHERE name = 'fence' RETURNING value`).Scan(&b.Fence); err != nil {
			return wrap(err)
		}
		now := s.now().UTC()
		b.State, b.Worker, b.Attempt, b.StartedAt, b.Lease = build.Running, worker, b.Attempt+1, now, now.Add(lease)
		b.Phase, b.Buildpack = "", ""
		if _, err := tx.ExecContext(ctx, `UPDATE builds SET state = ?, worker = ?, attempt = ?, fence = ?, started_at = ?, lease = ?, phase = '', buildpack = '' WHERE id = ?`,
			b.State, worker, b.Attempt, b.Fence, micros(now), micros(b.Lease), b.ID); err != nil {
			return wrap(err)
		}
		// The fence is also the clock of turns: it never stands still or goes back.
		if _, err := tx.ExecContext(ctx, `UPDATE apps SET queued = queued - 1, running = running + 1, last_claim = ? WHERE id = ?`, b.Fence, app); err != nil {
			return wrap(err)
		}
		ok = true
		return s.tellBuild(ctx, tx, build.Queued, b, nil)
	})
	if err != nil {
		return build.Build{}, false, fmt.Errorf("claim a build: %w", err)
	}
	return b, ok, nil
}

// fenced reads a running build for one who claimed it, in a transaction; ErrStale when the claim is not the last one
// or the build is not running any more.
func fenced(ctx context.Context, tx *sql.Tx, id build.ID, fence int64) (build.Build, error) {
	b, err := buildByID(ctx, tx, id)
	if err == nil && (b.State != build.Running || b.Fence != fence) {
		err = fmt.Errorf("build %s: %w", id, build.ErrStale)
	}
	return b, err
}

// Heartbeat extends the lease of a claim and tells where the build is. The build that comes back says whether
// somebody asked to cancel it.
func (s *Store) Heartbeat(ctx context.Context, id build.ID, fence int64, phase, buildpack string, lease time.Duration) (b build.Build, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if b, err = fenced(ctx, tx, id, fence); err != nil {
			return err
		}
		b.Phase, b.Buildpack, b.Lease = phase, buildpack, s.now().UTC().Add(lease)
		_, err = tx.ExecContext(ctx, `UPDATE builds SET phase = ?, buildpack = ?, lease = ? WHERE id = ?`, phase, buildpack, micros(b.Lease), id)
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	return b, err
}

// An Outcome is how an attempt ended. Release, when the build succeeded, is recorded in the same transaction; its App,
// Build, User, Version, ID and times are set by Finish.
type Outcome struct {
	State   build.State
	Failure *build.Failure
	Result  *build.Result
	Release *build.Release
	// Requeue lets a failure of the platform be tried again while attempts are left.
	Requeue bool
}

// Finish ends an attempt: the build becomes terminal, or waits again where Outcome.Requeue lets it. ErrStale is for
// one whose claim is over, and nothing changed then.
func (s *Store) Finish(ctx context.Context, id build.ID, fence int64, o Outcome) (b build.Build, rel *build.Release, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if b, err = fenced(ctx, tx, id, fence); err != nil {
			return err
		}
		if o.Requeue && o.State == build.Failed && o.Failure != nil && o.Failure.Blame == build.BlamePlatform && s.again(b) {
			return s.requeue(ctx, tx, &b, o.Failure)
		}
		b.Result = o.Result
		if err := s.endQuietly(ctx, tx, &b, o.State, o.Failure, ""); err != nil {
			return err
		}
		if o.State == build.Succeeded && o.Release != nil {
			r := *o.Release
			r.App, r.Build, r.User = b.App, b.ID, b.User
			if rel, err = s.insertRelease(ctx, tx, r); err != nil {
				return err
			}
		}
		return s.tellBuild(ctx, tx, build.Running, b, rel)
	})
	if err != nil {
		return b, nil, fmt.Errorf("finish build %s: %w", id, err)
	}
	return b, rel, nil
}

// again tells whether a build may be tried once more.
func (s *Store) again(b build.Build) bool {
	return b.Attempt < build.MaxAttempts && !b.CancelAsked
}

func (s *Store) requeue(ctx context.Context, tx *sql.Tx, b *build.Build, why *build.Failure) error {
	b.State, b.Worker, b.Failure = build.Queued, "", why
	if _, err := tx.ExecContext(ctx, `UPDATE builds SET state = ?, worker = '', lease = 0, failure = ?, phase = '', buildpack = '' WHERE id = ?`, b.State, build.JSON(why), b.ID); err != nil {
		return wrap(err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE apps SET queued = queued + 1, running = running - 1 WHERE id = ?`, b.App); err != nil {
		return wrap(err)
	}
	return s.tellBuild(ctx, tx, build.Running, *b, nil)
}

// Cancel cancels a waiting build at once and asks the worker of a running one to stop. A build that ended is
// ErrConflict.
func (s *Store) Cancel(ctx context.Context, id build.ID, reason string) (b build.Build, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if b, err = buildByID(ctx, tx, id); err != nil {
			return err
		}
		switch b.State {
		case build.Queued:
			return s.end(ctx, tx, &b, build.Cancelled, nil, reason)
		case build.Running:
			if b.CancelAsked {
				return nil
			}
			b.CancelAsked, b.CancelReason = true, reason
			_, err := tx.ExecContext(ctx, `UPDATE builds SET cancel_asked = 1, cancel_reason = ? WHERE id = ?`, reason, id)
			return ignoreNone(err)
		default:
			return fmt.Errorf("build %d has ended: it %s: %w", b.Number, b.State, build.ErrConflict)
		}
	})
	return b, err
}

// Lost is the failure of a build whose worker went away.
func Lost(b build.Build) *build.Failure {
	return &build.Failure{Blame: build.BlamePlatform, Code: "worker-lost", Phase: b.Phase, Buildpack: b.Buildpack,
		Reason: "the worker that ran this build went away", Next: "start the build again"}
}

// Reap takes running builds from workers whose lease ran out, or, with all, from every worker: at the start of a
// service whose workers live in it none can be alive. Those that may be tried again wait again; the others failed, or
// are cancelled where that was asked. It returns what it changed.
func (s *Store) Reap(ctx context.Context, all bool) (reaped []build.Build, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		before := micros(s.now())
		if all {
			before = 1<<63 - 1
		}
		lost, err := collect(ctx, tx, scanBuild, expired, before)
		if err != nil {
			return err
		}
		for _, b := range lost {
			switch {
			case b.CancelAsked:
				err = s.end(ctx, tx, &b, build.Cancelled, nil, "")
			case s.again(b) && !b.Trigger.Session:
				err = s.requeue(ctx, tx, &b, Lost(b))
			default:
				err = s.end(ctx, tx, &b, build.Failed, Lost(b), "")
			}
			if err != nil {
				return err
			}
			reaped = append(reaped, b)
		}
		return nil
	})
	return reaped, err
}

// EndSessions fails the builds that wait for a push whose connection the service lost when it stopped: nobody would
// move their ref. It is called once, at the start.
func (s *Store) EndSessions(ctx context.Context) (ended []build.Build, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		waiting, err := collect(ctx, tx, scanBuild, `SELECT `+buildColumns+` FROM builds WHERE state = 'queued' AND session = 1 ORDER BY id`)
		if err != nil {
			return err
		}
		for _, b := range waiting {
			f := &build.Failure{Blame: build.BlamePlatform, Code: "interrupted", Reason: "the service was restarted while the push waited", Next: "push again"}
			if err := s.end(ctx, tx, &b, build.Failed, f, ""); err != nil {
				return err
			}
			ended = append(ended, b)
		}
		return nil
	})
	return ended, err
}
