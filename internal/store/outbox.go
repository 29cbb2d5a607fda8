package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

const messageColumns = `app_id, number, id, kind, coalesce(webhook_id, ''), event_id, include, level, lane, host, status, build_id, build_no, state, attempts, next_at,
	attempt_id, attempted_at, code, error, answer, created_at, updated_at`

func scanMessage(r row) (m build.Message, err error) {
	var status string
	err = r.Scan(&m.App, &m.Number, &m.ID, &m.Kind, &m.Webhook, &m.Event, &m.Include, &m.Level, &m.Lane, &m.Host, &status, &m.Build, &m.BuildNumber, &m.State, &m.Attempts,
		instant{&m.NextAt}, &m.Attempt, instant{&m.AttemptedAt}, &m.Code, &m.Error, &m.Answer, instant{&m.CreatedAt}, instant{&m.UpdatedAt})
	if err == nil {
		err = json.Unmarshal([]byte(status), &m.Status)
	}
	return m, err
}

const eventColumns = `app_id, number, id, include, action, resource, actor, actor_name, data, previous, created_at`

func scanEvent(r row) (e build.Event, err error) {
	err = r.Scan(&e.App, &e.Number, &e.ID, &e.Include, &e.Action, &e.Resource, &e.Actor, &e.ActorName, &e.Data, &e.Previous, instant{&e.CreatedAt})
	return e, err
}

// hostOf is the host of a URL, with the port where it has one.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// A Lane has messages that wait: one of them is sent at a time.
type Lane struct {
	Name, Host string
	NextAt     time.Time // when the first of them is to be sent
}

// Lanes lists those that have something to send, the earliest first.
func (s *Store) Lanes(ctx context.Context) ([]Lane, error) {
	return collect(ctx, s.r, func(r row) (l Lane, err error) { return l, r.Scan(&l.Name, &l.Host, instant{&l.NextAt}) },
		`SELECT lane, host, min(next_at) AS at FROM messages WHERE next_at > 0 GROUP BY lane, host ORDER BY at, lane`)
}

// Due is the oldest message of a lane that is to be sent at a time; ErrNotFound where there is none.
func (s *Store) Due(ctx context.Context, lane Lane, at time.Time) (build.Message, error) {
	m, err := scanMessage(s.r.QueryRowContext(ctx, `SELECT `+messageColumns+` FROM messages WHERE lane = ? AND host = ? AND next_at > 0 AND next_at <= ? ORDER BY number LIMIT 1`,
		lane.Name, lane.Host, micros(at)))
	if err != nil {
		return m, fmt.Errorf("outbox: %w", wrap(err))
	}
	return m, nil
}

// A Try is an attempt to send a message, and what follows: sent, failed for good, or another attempt at Again.
type Try struct {
	ID     build.ID
	At     time.Time
	Code   int // of HTTP; 0: no answer
	Error  string
	Answer string
	Sent   bool
	Again  time.Time // zero: none
	// Disable says why nothing is to be sent to the webhook any more; "": it is.
	Disable string
}

// Tried records an attempt. A message that was replaced while it was sent, and was not taken, is not tried again.
func (s *Store) Tried(ctx context.Context, id build.ID, t Try) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		m, err := scanMessage(tx.QueryRowContext(ctx, `SELECT `+messageColumns+` FROM messages WHERE id = ?`, id))
		if errors.Is(err, sql.ErrNoRows) {
			return nil // its app or webhook is gone, or it was dropped
		}
		if err != nil {
			return wrap(err)
		}
		m.NextAt = time.Time{}
		switch {
		case t.Sent:
			m.State = build.MessageSent
		case m.State == build.MessageReplaced:
		case t.Again.IsZero():
			m.State = build.MessageFailed
		default:
			m.NextAt = t.Again
		}
		_, err = tx.ExecContext(ctx, `UPDATE messages SET state = ?, attempts = attempts + 1, next_at = ?, attempt_id = ?, attempted_at = ?, code = ?, error = ?, answer = ?, updated_at = ?
			WHERE id = ?`, m.State, micros(m.NextAt), t.ID, micros(t.At), t.Code, t.Error, t.Answer, micros(s.now()), id)
		if err == nil && t.Disable != "" {
			err = s.disable(ctx, tx, m.Webhook, t.Disable)
		}
		if err == nil && m.Include == build.IncludeDeployment {
			err = s.deploymentTold(ctx, tx, m, t.Error)
		}
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record an attempt: %w", err)
	}
	return nil
}

// disable ends the sending to a webhook, of what waits too.
func (s *Store) disable(ctx context.Context, tx *sql.Tx, webhook build.ID, why string) error {
	now := micros(s.now())
	_, err := tx.ExecContext(ctx, `UPDATE webhooks SET disabled = ?, updated_at = ? WHERE id = ?`, why, now, webhook)
	if err == nil {
		_, err = tx.ExecContext(ctx, `UPDATE messages SET state = 'failed', error = ?, next_at = 0, updated_at = ? WHERE webhook_id = ? AND next_at > 0`,
			"the webhook was disabled: "+why, now, webhook)
	}
	return err
}

// Messages lists the messages of a kind of an app by number.
func (s *Store) Messages(ctx context.Context, app build.ID, kind build.MessageKind, p Page) ([]build.Message, error) {
	where, args := p.where("number")
	return collect(ctx, s.r, scanMessage, `SELECT `+messageColumns+` FROM messages WHERE app_id = ? AND kind = ? AND `+where, append([]any{app, kind}, args...)...)
}

// Message finds a message of a kind of an app by id or number.
func (s *Store) Message(ctx context.Context, app build.ID, kind build.MessageKind, idOrNumber string) (build.Message, error) {
	return message(ctx, s.r, app, kind, idOrNumber)
}

func message(ctx context.Context, q querier, app build.ID, kind build.MessageKind, idOrNumber string) (build.Message, error) {
	m, err := scanMessage(q.QueryRowContext(ctx, `SELECT `+messageColumns+` FROM messages
		WHERE app_id = ?1 AND kind = ?2 AND (id = ?3 OR number = CAST(?3 AS INTEGER) AND ?3 NOT LIKE '%-%')`, app, kind, idOrNumber))
	if err != nil {
		return m, fmt.Errorf("delivery %.80q: %w", idOrNumber, wrap(err))
	}
	return m, nil
}

// SendAgain has a message sent now, whatever became of it. ErrConflict tells why it cannot be.
func (s *Store) SendAgain(ctx context.Context, app build.ID, kind build.MessageKind, idOrNumber string) (m build.Message, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if m, err = message(ctx, tx, app, kind, idOrNumber); err != nil {
			return err
		}
		var newer, disabled bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM messages WHERE app_id = ?1 AND lane = ?2 AND number > ?3), EXISTS (SELECT 1 FROM webhooks WHERE id = ?4 AND disabled <> '')`,
			app, m.Lane, m.Number, m.Webhook).Scan(&newer, &disabled)
		switch {
		case err != nil:
			return wrap(err)
		case kind == build.MessageStatus && newer:
			return fmt.Errorf("a newer status of the commit was made: %w", build.ErrConflict)
		case disabled:
			return fmt.Errorf("its webhook is disabled: change it first, which enables it: %w", build.ErrConflict)
		}
		m.State, m.NextAt, m.UpdatedAt = build.MessageWaiting, s.now().UTC(), s.now().UTC()
		if _, err := tx.ExecContext(ctx, `UPDATE messages SET state = ?, next_at = ?, updated_at = ? WHERE id = ?`, m.State, micros(m.NextAt), micros(m.UpdatedAt), m.ID); err != nil {
			return wrap(err)
		}
		s.posted.Store(true)
		return nil
	})
	return m, err
}

// Events lists the events of an app by number.
func (s *Store) Events(ctx context.Context, app build.ID, p Page) ([]build.Event, error) {
	where, args := p.where("number")
	return collect(ctx, s.r, scanEvent, `SELECT `+eventColumns+` FROM events WHERE app_id = ? AND `+where, append([]any{app}, args...)...)
}

// Event finds an event of an app by id.
func (s *Store) Event(ctx context.Context, app build.ID, id string) (build.Event, error) {
	e, err := scanEvent(s.r.QueryRowContext(ctx, `SELECT `+eventColumns+` FROM events WHERE id = ? AND app_id = ?`, id, app))
	if err != nil {
		return e, fmt.Errorf("event %.80q: %w", id, wrap(err))
	}
	return e, nil
}
