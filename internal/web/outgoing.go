package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/outbox"
	"github.com/slipway-build/slipway/internal/store"
)

// An outgoingView is a delivery to a webhook, in the shape of the Platform API, with what it does not tell.
type outgoingView struct {
	ID          build.ID    `json:"id"`
	Number      int64       `json:"number"`
	Event       eventRef    `json:"event"`
	Webhook     webhookRef  `json:"webhook"`
	Status      string      `json:"status"` // pending, retrying, failed or succeeded
	Attempts    int         `json:"num_attempts"`
	NextAttempt *stamp      `json:"next_attempt_at"`
	LastAttempt *attemptRef `json:"last_attempt"`
	Build       *buildRef   `json:"build"`
	Error       *string     `json:"error"`
	Answer      *string     `json:"answer"` // how what was answered begins
	CreatedAt   *stamp      `json:"created_at"`
	UpdatedAt   *stamp      `json:"updated_at"`
}

type eventRef struct {
	ID      build.ID `json:"id"`
	Include string   `json:"include"`
}

type webhookRef struct {
	ID    build.ID    `json:"id"`
	Level build.Level `json:"level"`
}

type attemptRef struct {
	ID         build.ID `json:"id"`
	Code       *int     `json:"code"`
	ErrorClass *string  `json:"error_class"`
	Status     string   `json:"status"`
	CreatedAt  *stamp   `json:"created_at"`
	UpdatedAt  *stamp   `json:"updated_at"`
}

func outgoingOf(m build.Message) outgoingView {
	v := outgoingView{
		ID: m.ID, Number: m.Number, Event: eventRef{m.Event, m.Include}, Webhook: webhookRef{m.Webhook, m.Level}, Attempts: m.Attempts, NextAttempt: when(m.NextAt),
		Error: text(m.Error), Answer: text(m.Answer), CreatedAt: when(m.CreatedAt), UpdatedAt: when(m.UpdatedAt), Build: buildOfMessage(m),
		Status: map[build.MessageState]string{build.MessageWaiting: "pending", build.MessageSent: "succeeded"}[m.State],
	}
	if v.Status == "" {
		v.Status = "failed"
	}
	if m.State == build.MessageWaiting && m.Attempts > 0 {
		v.Status = "retrying"
	}
	if m.Attempt != "" {
		v.LastAttempt = &attemptRef{ID: m.Attempt, Code: codeOf(m), Status: "failed", CreatedAt: when(m.AttemptedAt), UpdatedAt: when(m.AttemptedAt)}
		if m.Code == 0 {
			v.LastAttempt.ErrorClass = text(m.Error)
		}
		if m.Code >= 200 && m.Code < 300 {
			v.LastAttempt.Status = "succeeded"
		}
	}
	return v
}

func buildOfMessage(m build.Message) *buildRef {
	if m.Build == "" {
		return nil
	}
	return &buildRef{m.Build, m.BuildNumber}
}

func codeOf(m build.Message) *int {
	if m.Code == 0 {
		return nil
	}
	return &m.Code
}

// A statusView is what a forge was told of a commit, or is to be told.
type statusView struct {
	ID          build.ID           `json:"id"`
	Number      int64              `json:"number"`
	Build       *buildRef          `json:"build"`
	Commit      string             `json:"commit"`
	State       build.StatusState  `json:"state"`
	Description string             `json:"description"`
	Result      build.MessageState `json:"result"`
	Attempts    int                `json:"num_attempts"`
	NextAttempt *stamp             `json:"next_attempt_at"`
	Code        *int               `json:"code"` // of the last attempt
	Error       *string            `json:"error"`
	Answer      *string            `json:"answer"`
	AttemptedAt *stamp             `json:"attempted_at"`
	CreatedAt   *stamp             `json:"created_at"`
	UpdatedAt   *stamp             `json:"updated_at"`
}

func statusViewOf(m build.Message) statusView {
	return statusView{
		m.ID, m.Number, buildOfMessage(m), m.Status.Commit, m.Status.State, m.Status.Description, m.State, m.Attempts, when(m.NextAt), codeOf(m), text(m.Error), text(m.Answer),
		when(m.AttemptedAt), when(m.CreatedAt), when(m.UpdatedAt),
	}
}

// messages lists the messages of a kind of the call's app, each as view has it.
func messages[V any](ctx context.Context, s *server, c *call, kind build.MessageKind, view func(build.Message) V) ([]V, error) {
	all, err := numbered(c, sequence[build.Message]{
		attributes: []string{"number", "id", "created_at", "seq"}, // seq is the Platform API's
		numberOf: func(id string) (int64, error) {
			m, err := s.Store.Message(ctx, c.app.ID, kind, id)
			if errors.Is(err, build.ErrNotFound) {
				err = badRange(fmt.Sprintf("there is no delivery %.80q", id))
			}
			return m.Number, err
		},
		get: func(p store.Page) ([]build.Message, error) { return s.Store.Messages(ctx, c.app.ID, kind, p) },
		key: func(m build.Message) (int64, string) { return m.Number, string(m.ID) },
	})
	out := make([]V, len(all))
	for i, m := range all {
		out[i] = view(m)
	}
	return out, err
}

// messageName is the number or id in the path.
func (c *call) messageName() (string, error) {
	text := c.PathValue("delivery")
	if _, err := build.ParseID(text); err != nil && (len(text) > 18 || strings.Trim(text, "0123456789") != "") {
		return "", &problem{http.StatusNotFound, "not_found", fmt.Sprintf("delivery %.80q: it has a number or an id", text)}
	}
	return text, nil
}

func (s *server) message(ctx context.Context, c *call, kind build.MessageKind) (m build.Message, err error) {
	name, err := c.messageName()
	if err != nil {
		return m, err
	}
	return s.Store.Message(ctx, c.app.ID, kind, name)
}

func (s *server) sendAgain(ctx context.Context, c *call, kind build.MessageKind) (m build.Message, err error) {
	name, err := c.messageName()
	if err != nil {
		return m, err
	}
	m, err = s.Store.SendAgain(ctx, c.app.ID, kind, name)
	if errors.Is(err, build.ErrConflict) {
		err = conflict(strings.TrimSuffix(err.Error(), ": "+build.ErrConflict.Error()))
	}
	return m, err
}

func (s *server) outgoing(ctx context.Context, c *call) ([]outgoingView, error) {
	all, err := messages(ctx, s, c, build.MessageWebhook, outgoingOf)
	if want := c.URL.Query().Get("eq[status]"); want != "" { // of what the Range names: a part may have none
		all = slices.DeleteFunc(all, func(v outgoingView) bool { return v.Status != want })
	}
	return all, err
}

func (s *server) outgoingOne(ctx context.Context, c *call) (outgoingView, error) {
	m, err := s.message(ctx, c, build.MessageWebhook)
	return outgoingOf(m), err
}

func (s *server) outgoingAgain(ctx context.Context, c *call) (outgoingView, error) {
	m, err := s.sendAgain(ctx, c, build.MessageWebhook)
	return outgoingOf(m), err
}

func (s *server) statuses(ctx context.Context, c *call) ([]statusView, error) {
	return messages(ctx, s, c, build.MessageStatus, statusViewOf)
}

func (s *server) statusOne(ctx context.Context, c *call) (statusView, error) {
	m, err := s.message(ctx, c, build.MessageStatus)
	return statusViewOf(m), err
}

func (s *server) statusAgain(ctx context.Context, c *call) (statusView, error) {
	m, err := s.sendAgain(ctx, c, build.MessageStatus)
	return statusViewOf(m), err
}

// An eventView is something that webhooks are told, in the shape of the Platform API.
type eventView struct {
	ID        build.ID  `json:"id"`
	Include   string    `json:"include"`
	Payload   toldEvent `json:"payload"`
	CreatedAt *stamp    `json:"created_at"`
	UpdatedAt *stamp    `json:"updated_at"`
}

type toldEvent struct {
	Action   string            `json:"action"`
	Actor    userRef           `json:"actor"`
	Data     toldOf            `json:"data"`
	Previous map[string]string `json:"previous_data"`
	Resource string            `json:"resource"`
	Sequence int64             `json:"sequence"`
	Version  string            `json:"version"`
}

// toldOf is what is told of a build or a release.
type toldOf json.RawMessage

// MarshalJSON is encoding/json's.
func (t toldOf) MarshalJSON() ([]byte, error) { return t, nil }

func (s *server) eventOf(c *call, e build.Event) (v eventView, err error) {
	p, err := outbox.PayloadOf(e, strings.TrimSuffix(s.at(c.Request, "/").String(), "/"), time.Now())
	if err != nil {
		return v, err
	}
	v = eventView{
		ID: e.ID, Include: e.Include, CreatedAt: when(e.CreatedAt), UpdatedAt: when(e.CreatedAt),
		Payload: toldEvent{Action: p.Action, Actor: userRef{p.Actor.ID, p.Actor.Email}, Data: toldOf(p.Data), Resource: p.Resource, Sequence: p.Sequence, Version: p.Version},
	}
	return v, json.Unmarshal(p.Previous, &v.Payload.Previous)
}

func (s *server) events(ctx context.Context, c *call) ([]eventView, error) {
	all, err := numbered(c, sequence[build.Event]{
		attributes: []string{"sequence", "id", "created_at"},
		numberOf: func(id string) (int64, error) {
			e, err := s.Store.Event(ctx, c.app.ID, id)
			if errors.Is(err, build.ErrNotFound) {
				err = badRange(fmt.Sprintf("there is no event %.80q", id))
			}
			return e.Number, err
		},
		get: func(p store.Page) ([]build.Event, error) { return s.Store.Events(ctx, c.app.ID, p) },
		key: func(e build.Event) (int64, string) { return e.Number, string(e.ID) },
	})
	if err != nil {
		return nil, err
	}
	out := make([]eventView, len(all))
	for i, e := range all {
		if out[i], err = s.eventOf(c, e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *server) event(ctx context.Context, c *call) (v eventView, err error) {
	e, err := s.Store.Event(ctx, c.app.ID, c.PathValue("event"))
	if err != nil {
		return v, err
	}
	return s.eventOf(c, e)
}
