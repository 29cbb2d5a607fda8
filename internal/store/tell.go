package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/slipway-build/slipway/internal/build"
)

// What is told of a change is written with it, in its transaction: no crash tells of what did not happen, or loses what did.

// listeners finds who is told of an app's builds, for most apps that nobody is.
const listeners = `SELECT a.name, coalesce((SELECT name FROM users WHERE id = ?2), ''), EXISTS (SELECT 1 FROM webhooks WHERE app_id = a.id AND disabled = ''),
	coalesce(f.kind, ''), coalesce(f.repository, ''), coalesce(f.api, ''), coalesce(f.context, '')
	FROM apps a LEFT JOIN forges f ON f.app_id = a.id WHERE a.id = ?1`

// An audience is who is told, and how the app and the user are called.
type audience struct {
	app      build.ToldApp
	user     build.ToldUser
	webhooks bool
	forge    build.Forge // without a Kind: none
}

func (a audience) empty() bool { return !a.webhooks && a.forge.Kind == "" }

func audienceOf(ctx context.Context, tx changer, app, user build.ID) (a audience, err error) {
	a.app.ID, a.user.ID, a.forge.App = app, user, app
	err = tx.QueryRowContext(ctx, listeners, app, user).Scan(&a.app.Name, &a.user.Email, &a.webhooks, &a.forge.Kind, &a.forge.Repository, &a.forge.API, &a.forge.Context)
	if err != nil {
		err = wrap(err)
	}
	return a, err
}

// tellBuild writes what is told of a build that was just changed: before is the state that it had, "" for a new one, and v
// the release that it made, nil where it made none.
func (s *Store) tellBuild(ctx context.Context, tx changer, before build.State, b build.Build, v *build.Release) error {
	a, err := audienceOf(ctx, tx, b.App, b.User)
	if err != nil || a.empty() {
		return err
	}
	if a.forge.Kind != "" && a.forge.Marks(b) {
		if err := s.addStatus(ctx, tx, a.forge, b, v); err != nil {
			return err
		}
	}
	e := build.Event{Include: build.IncludeBuild, Resource: "build", Action: "create", Data: build.JSON(build.TellBuild(b, a.app, a.user, v)), Previous: "{}"}
	if before != "" {
		e.Action, e.Previous = "update", build.JSON(map[string]string{"state": string(before), "status": before.Status()})
	}
	return s.addEvent(ctx, tx, a, e, b)
}

// tellRelease writes what is told of a release that was just changed; before is the state that it had, "" for a new one.
func (s *Store) tellRelease(ctx context.Context, tx changer, before build.ReleaseState, v build.Release, current bool) error {
	a, err := audienceOf(ctx, tx, v.App, v.User)
	if err != nil || a.empty() {
		return err
	}
	e := build.Event{Include: build.IncludeRelease, Resource: "release", Action: "create", Data: build.JSON(build.TellRelease(v, a.app, a.user, current)), Previous: "{}"}
	if before != "" {
		e.Action, e.Previous = "update", build.JSON(map[string]string{"status": string(before)})
	}
	var b build.Build
	if v.Build != "" {
		if b, err = buildByID(ctx, tx, v.Build); err != nil {
			return err
		}
	}
	if before == build.ReleasePending && a.forge.Kind != "" && a.forge.Marks(b) {
		if err := s.addStatus(ctx, tx, a.forge, b, &v); err != nil {
			return err
		}
	}
	return s.addEvent(ctx, tx, a, e, b)
}

const addEvent = `INSERT INTO events (app_id, number, id, include, action, resource, actor, actor_name, data, previous, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// addEvent writes an event, and a message of it for each webhook that wants it. b is the build that it is about.
func (s *Store) addEvent(ctx context.Context, tx changer, a audience, e build.Event, b build.Build) error {
	if !a.webhooks {
		return nil
	}
	type subscriber struct {
		id, include, host string
		level             build.Level
	}
	all, err := collect(ctx, tx, func(r row) (v subscriber, err error) { return v, r.Scan(&v.id, &v.include, &v.host, &v.level) },
		`SELECT id, include, host, level FROM webhooks WHERE app_id = ? AND disabled = '' ORDER BY id`, a.app.ID)
	if err != nil {
		return err
	}
	for _, w := range all {
		var include []string
		if err := json.Unmarshal([]byte(w.include), &include); err != nil {
			return fmt.Errorf("webhook %s: %w", w.id, err)
		}
		if !slices.Contains(include, e.Include) {
			continue
		}
		if e.ID == "" {
			if err := s.insertEvent(ctx, tx, a, &e); err != nil {
				return err
			}
		}
		m := build.Message{App: a.app.ID, Kind: build.MessageWebhook, Webhook: build.ID(w.id), Event: e.ID, Include: e.Include, Level: w.level, Lane: w.id, Host: w.host, Build: b.ID, BuildNumber: b.Number}
		if err := s.insertMessage(ctx, tx, m); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) insertEvent(ctx context.Context, tx changer, a audience, e *build.Event) error {
	e.ID, e.App, e.Actor, e.ActorName, e.CreatedAt = build.NewID(), a.app.ID, a.user.ID, a.user.Email, s.now().UTC()
	if err := tx.QueryRowContext(ctx, `UPDATE apps SET event_seq = event_seq + 1 WHERE id = ? RETURNING event_seq`, e.App).Scan(&e.Number); err != nil {
		return wrap(err)
	}
	_, err := tx.ExecContext(ctx, addEvent, e.App, e.Number, e.ID, e.Include, e.Action, e.Resource, e.Actor, e.ActorName, e.Data, e.Previous, micros(e.CreatedAt))
	if err == nil && e.Number%trimEvery == 0 {
		_, err = tx.ExecContext(ctx, `DELETE FROM events WHERE app_id = ? AND number <= ?`, e.App, e.Number-build.MaxEvents)
	}
	if err != nil {
		return wrap(err)
	}
	return nil
}

const (
	replaceStatus = `UPDATE messages SET state = 'replaced', next_at = 0, updated_at = ? WHERE lane = ? AND next_at > 0`
	addMessage    = `INSERT INTO messages (app_id, number, id, kind, webhook_id, event_id, include, level, lane, host, status, build_id, build_no, state, next_at, created_at, updated_at)
		VALUES (?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// addStatus writes what a forge is told of a build's commit. What it was to be told before and was not is not told any
// more: the last state is what counts, and an older one must not come after it.
func (s *Store) addStatus(ctx context.Context, tx changer, f build.Forge, b build.Build, v *build.Release) error {
	lane := string(f.App) + " " + b.Source.Commit + " " + f.Context
	if _, err := tx.ExecContext(ctx, replaceStatus, micros(s.now()), lane); err != nil {
		return wrap(err)
	}
	return s.insertMessage(ctx, tx, build.Message{
		App: f.App, Kind: build.MessageStatus, Level: build.LevelSync, Lane: lane, Host: hostOf(f.API), Status: build.StatusOf(b, v), Build: b.ID, BuildNumber: b.Number,
	})
}

// insertMessage puts a message into the outbox, and now and then drops the oldest ones.
func (s *Store) insertMessage(ctx context.Context, tx changer, m build.Message) error {
	if err := tx.QueryRowContext(ctx, `UPDATE apps SET message_seq = message_seq + 1 WHERE id = ? RETURNING message_seq`, m.App).Scan(&m.Number); err != nil {
		return wrap(err)
	}
	now := micros(s.now())
	_, err := tx.ExecContext(ctx, addMessage, m.App, m.Number, build.NewID(), m.Kind, m.Webhook, m.Event, m.Include, m.Level, m.Lane, m.Host, build.JSON(m.Status),
		m.Build, m.BuildNumber, build.MessageWaiting, now, now, now)
	if err == nil && m.Number%trimEvery == 0 {
		_, err = tx.ExecContext(ctx, `DELETE FROM messages WHERE app_id = ? AND number <= ?`, m.App, m.Number-build.MaxMessages)
	}
	if err != nil {
		return wrap(err)
	}
	s.posted.Store(true)
	return nil
}

// delivered has whoever sends or deploys look, after a transaction in which there was something for them.
func (s *Store) delivered() {
	tell(&s.posted, s.mail)
	tell(&s.deployed, s.deploys)
}

func tell(is *atomic.Bool, whom chan<- struct{}) {
	if !is.Swap(false) {
		return
	}
	select {
	case whom <- struct{}{}:
	default:
	}
}

// Mail has something when something new is in the outbox.
func (s *Store) Mail() <-chan struct{} { return s.mail }
