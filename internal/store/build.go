package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

const buildColumns = `id, app_id, number, user_id, trigger, source, state, phase, buildpack, attempt, fence, worker, lease,
	cancel_asked, cancel_reason, failure, result, created_at, started_at, ended_at`

func scanBuild(r row) (b build.Build, err error) {
	var trigger, source, failure, result string
	err = r.Scan(&b.ID, &b.App, &b.Number, &b.User, &trigger, &source, &b.State, &b.Phase, &b.Buildpack, &b.Attempt, &b.Fence,
		&b.Worker, instant{&b.Lease}, &b.CancelAsked, &b.CancelReason, &failure, &result,
		instant{&b.CreatedAt}, instant{&b.StartedAt}, instant{&b.EndedAt})
	for _, c := range []struct {
		text string
		into any
	}{{trigger, &b.Trigger}, {source, &b.Source}, {failure, &b.Failure}, {result, &b.Result}} {
		if err == nil && c.text != "" {
			err = json.Unmarshal([]byte(c.text), c.into)
		}
	}
	return b, err
}

// CreateBuild queues a build of an app; Number, State and CreatedAt are set here, and ID where it is empty. When it returns, the build is
// durable. A build by webhook supersedes those of the same app and ref that still wait: they are returned, cancelled.
func (s *Store) CreateBuild(ctx context.Context, b build.Build) (made build.Build, superseded []build.Build, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		made, superseded, err = s.createBuild(ctx, tx, b)
		return err
	})
	if err != nil {
		return build.Build{}, nil, fmt.Errorf("queue a build: %w", err)
	}
	return made, superseded, nil
}

// What makes a build and ends it. waitingOf finds the builds by webhook that a newer one of their ref supersedes.
const (
	nextNumber = `UPDATE apps SET build_seq = build_seq + 1, queued = queued + 1 WHERE id = ? RETURNING build_seq`
	addBuild   = `INSERT INTO builds (id, app_id, number, user_id, trigger, trigger_kind, ref, session, source, state, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	endBuild     = `UPDATE builds SET state = ?, failure = ?, result = ?, cancel_reason = ?, lease = 0, ended_at = ? WHERE id = ?`
	oneWaitsLess = `UPDATE apps SET queued = queued - 1 WHERE id = ?`
	oneRunsLess  = `UPDATE apps SET running = running - 1 WHERE id = ?`
	waitingOf    = `SELECT ` + buildColumns + ` FROM builds WHERE app_id = ? AND ref = ? AND trigger_kind = 'webhook' AND state = 'queued' ORDER BY number`
)

func (s *Store) createBuild(ctx context.Context, tx changer, b build.Build) (made build.Build, superseded []build.Build, err error) {
	if b.ID == "" {
		b.ID = build.NewID()
	}
	b.State, b.CreatedAt = build.Queued, s.now().UTC()
	if err := s.sealQuery(&b); err != nil {
		return b, nil, err
	}
	err = tx.QueryRowContext(ctx, nextNumber, b.App).Scan(&b.Number)
	if err != nil {
		return b, nil, wrap(err)
	}
	if b.Trigger.Kind == build.TriggerWebhook {
		if superseded, err = collect(ctx, tx, scanBuild, waitingOf, b.App, b.Trigger.Ref); err != nil {
			return b, nil, err
		}
		for i := range superseded {
			reason := fmt.Sprintf("superseded by build %d of the same branch", b.Number)
			if err := s.end(ctx, tx, &superseded[i], build.Cancelled, nil, reason); err != nil {
				return b, nil, err
			}
		}
	}
	_, err = tx.ExecContext(ctx, addBuild, b.ID, b.App, b.Number, b.User, build.JSON(b.Trigger), b.Trigger.Kind, b.Trigger.Ref,
		b.Trigger.Session, build.JSON(b.Source), b.State, micros(b.CreatedAt))
	if err != nil {
		return b, nil, wrap(err)
	}
	return b, superseded, s.tellBuild(ctx, tx, "", b, nil)
}

// secretQuery is the kind of the queries of source URLs. They lie in their build's row.
const secretQuery SecretKind = "query"

// sealQuery takes the query out of the URL of a build's source. It is bound to the app, so that it opens for another
// build of the same source too, but for nobody else's.
func (s *Store) sealQuery(b *build.Build) (err error) {
	at, query, ok := strings.Cut(b.Source.URL, "?")
	if !ok {
		return nil
	}
	b.Source.URL = at
	b.Source.Query, err = s.box.Seal(boundTo(b.App, secretQuery, at), []byte(query))
	return err
}

// SourceURL is the URL of a build's source with its query.
func (s *Store) SourceURL(b build.Build) (string, error) {
	if b.Source.Query == nil {
		return b.Source.URL, nil
	}
	query, err := s.box.Open(boundTo(b.App, secretQuery, b.Source.URL), b.Source.Query)
	if err != nil {
		return "", fmt.Errorf("URL of the source of build %s: %w", b.ID, err)
	}
	return b.Source.URL + "?" + string(query), nil
}

// Build finds a build of an app by id or number; the caller found the app as its actor sees it.
func (s *Store) Build(ctx context.Context, app build.ID, idOrNumber string) (build.Build, error) {
	b, err := scanBuild(s.r.QueryRowContext(ctx, `SELECT `+buildColumns+` FROM builds WHERE app_id = ?1 AND (id = ?2 OR number = CAST(?2 AS INTEGER) AND ?2 NOT LIKE '%-%')`, app, idOrNumber))
	if err != nil {
		return b, fmt.Errorf("build %.80q: %w", idOrNumber, wrap(err))
	}
	return b, nil
}

// BuildByID is the service's own look at a build.
func (s *Store) BuildByID(ctx context.Context, id build.ID) (build.Build, error) {
	return buildByID(ctx, s.r, id)
}

func buildByID(ctx context.Context, q querier, id build.ID) (build.Build, error) {
	b, err := scanBuild(q.QueryRowContext(ctx, `SELECT `+buildColumns+` FROM builds WHERE id = ?`, id))
	if err != nil {
		return b, fmt.Errorf("build %s: %w", id, wrap(err))
	}
	return b, nil
}

// Builds lists builds of an app by number.
func (s *Store) Builds(ctx context.Context, app build.ID, p Page) ([]build.Build, error) {
	where, args := p.where("number")
	return collect(ctx, s.r, scanBuild, `SELECT `+buildColumns+` FROM builds WHERE app_id = ? AND `+where, append([]any{app}, args...)...)
}

// Place says how many builds of the same app must end before a queued build starts, and how many other apps have
// their turn before; 0, 0 when it is not queued.
func (s *Store) Place(ctx context.Context, b build.Build) (same, others int, err error) {
	err = s.r.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM builds WHERE app_id = ?1 AND state = 'queued' AND number < ?2) + (SELECT running FROM apps WHERE id = ?1),
		(SELECT count(*) FROM apps WHERE queued > 0 AND running = 0 AND (last_claim, id) < (SELECT last_claim, id FROM apps WHERE id = ?1))
		FROM builds WHERE id = ?3 AND state = 'queued'`, b.App, b.Number, b.ID).Scan(&same, &others)
	if err = ignoreNone(err); err != nil {
		return 0, 0, wrap(err)
	}
	return same, others, nil
}

func ignoreNone(err error) error {
	if err == sql.ErrNoRows {
		return nil
	}
	return err
}

// Counts says how many builds wait and run, and since when the oldest waits.
type Counts struct {
	Queued, Running int
}

// Counts counts over all apps.
func (s *Store) Counts(ctx context.Context) (c Counts, err error) {
	err = s.r.QueryRowContext(ctx, `SELECT coalesce(sum(queued), 0), coalesce(sum(running), 0) FROM apps`).Scan(&c.Queued, &c.Running)
	return c, err
}

// end makes a build terminal, in a transaction, and tells of it. Reason is why it was cancelled.
func (s *Store) end(ctx context.Context, tx changer, b *build.Build, state build.State, f *build.Failure, reason string) error {
	before := b.State
	if err := s.endQuietly(ctx, tx, b, state, f, reason); err != nil {
		return err
	}
	return s.tellBuild(ctx, tx, before, *b, nil)
}

// endQuietly is end for who tells of it later.
func (s *Store) endQuietly(ctx context.Context, tx changer, b *build.Build, state build.State, f *build.Failure, reason string) error {
	if !b.State.To(state) || !state.Terminal() {
		return fmt.Errorf("build %s is %s and cannot be %s: %w", b.ID, b.State, state, build.ErrConflict)
	}
	counted := oneWaitsLess
	if b.State == build.Running {
		counted = oneRunsLess
	}
	if reason != "" {
		b.CancelReason = reason
	}
	b.State, b.Failure, b.EndedAt, b.Lease = state, f, s.now().UTC(), time.Time{}
	failure := ""
	if f != nil {
		failure = build.JSON(f)
	}
	result := ""
	if b.Result != nil {
		result = build.JSON(b.Result)
	}
	if _, err := tx.ExecContext(ctx, endBuild,
		state, failure, result, b.CancelReason, micros(b.EndedAt), b.ID); err != nil {
		return wrap(err)
	}
	if _, err := tx.ExecContext(ctx, counted, b.App); err != nil {
		return wrap(err)
	}
	return nil
}
