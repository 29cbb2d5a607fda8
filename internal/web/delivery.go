package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/webhook"
)

// A deliveryView is a line of a hook's journal.
type deliveryView struct {
	ID         build.ID             `json:"id"`
	Number     int64                `json:"number"`
	Forge      string               `json:"forge"`
	Event      string               `json:"event"`
	Delivery   string               `json:"delivery"` // the forge's own id of it
	Ref        *string              `json:"ref"`
	Commit     *string              `json:"commit"`
	Before     *string              `json:"before"`
	Result     build.DeliveryResult `json:"result"`
	Code       *string              `json:"code"` // of why it was ignored or refused
	Reason     *string              `json:"reason"`
	Build      *buildRef            `json:"build"`
	Times      int                  `json:"times"` // it was received
	ReceivedAt *stamp               `json:"received_at"`
	LastAt     *stamp               `json:"last_received_at"`
}

func deliveryOf(d build.Delivery) deliveryView {
	v := deliveryView{
		ID: d.ID, Number: d.Number, Forge: d.Forge, Event: d.Event, Delivery: d.Key, Ref: text(d.Ref), Commit: text(d.Commit), Before: text(d.Before),
		Result: d.Result, Code: text(d.Code), Reason: text(d.Reason), Times: d.Times, ReceivedAt: when(d.ReceivedAt), LastAt: when(d.LastAt),
	}
	if d.Build != "" {
		v.Build = &buildRef{d.Build, d.BuildNumber}
	}
	return v
}

func (s *server) deliveries(ctx context.Context, c *call) ([]deliveryView, error) {
	h, err := s.Store.Hook(ctx, c.app.ID, c.PathValue("hook"))
	if err != nil {
		return nil, err
	}
	all, err := numbered(c, sequence[build.Delivery]{
		attributes: []string{"number", "id", "received_at"},
		numberOf: func(id string) (int64, error) {
			d, err := s.Store.Delivery(ctx, h.ID, id)
			if errors.Is(err, build.ErrNotFound) {
				err = badRange(fmt.Sprintf("there is no delivery %.80q", id))
			}
			return d.Number, err
		},
		get: func(p store.Page) ([]build.Delivery, error) { return s.Store.Deliveries(ctx, h.ID, p) },
		key: func(d build.Delivery) (int64, string) { return d.Number, string(d.ID) },
	})
	if err != nil {
		return nil, err
	}
	out := make([]deliveryView, len(all))
	for i, d := range all {
		out[i] = deliveryOf(d)
	}
	return out, nil
}

// deliveryAt is the hook and the delivery of the path.
func (s *server) deliveryAt(ctx context.Context, c *call) (h build.Hook, d build.Delivery, err error) {
	if h, err = s.Store.Hook(ctx, c.app.ID, c.PathValue("hook")); err != nil {
		return h, d, err
	}
	text := c.PathValue("delivery")
	if _, err := build.ParseID(text); err != nil && (len(text) > 18 || strings.Trim(text, "0123456789") != "") {
		return h, d, &problem{http.StatusNotFound, "not_found", fmt.Sprintf("delivery %.80q: it has a number or an id", text)}
	}
	d, err = s.Store.Delivery(ctx, h.ID, text)
	return h, d, err
}

func (s *server) delivery(ctx context.Context, c *call) (v deliveryView, err error) {
	_, d, err := s.deliveryAt(ctx, c)
	if err != nil {
		return v, err
	}
	return deliveryOf(d), nil
}

func (s *server) redeliver(ctx context.Context, c *call) (v deliveryView, err error) {
	h, d, err := s.deliveryAt(ctx, c)
	if err != nil {
		return v, err
	}
	d, err = s.Service.Redeliver(ctx, h, c.app, d)
	if errors.Is(err, service.ErrRefused) {
		return v, conflict(service.ErrRefused.Error())
	}
	if err != nil {
		return v, err
	}
	return deliveryOf(d), nil
}

// A received is what a forge is told: for all refs together, and for each.
type received struct {
	Result     build.DeliveryResult `json:"result"`
	Reason     *string              `json:"reason"`
	Build      *buildRef            `json:"build"`
	Deliveries []deliveryView       `json:"deliveries"`
}

func (s *server) receiver() endpoint {
	e := give(http.StatusAccepted, s.receiveHook)
	e.takes, e.also = "application/json", []int{http.StatusOK}
	return e
}

// receiveHook takes what a forge sends: 202 when something is built of it, and 200 when nothing is, with the reason. Both
// are durable before they are answered.
func (s *server) receiveHook(ctx context.Context, c *call) (out received, err error) {
	body, err := s.hookBody(ctx, c)
	var refusal *webhook.Refusal
	e := webhook.Claims(c.Header)
	if err == nil {
		e, err = webhook.Open(webhook.Request{Header: c.Header, Body: body, At: time.Now()}, c.secrets)
	}
	if errors.As(err, &refusal) {
		if err := s.Service.Refused(ctx, c.hook, e, refusal); err != nil && !errors.Is(err, build.ErrNotFound) {
			s.Fault(fmt.Errorf("journal of hook %s: %w", c.hook.ID, err)) // and the forge is told all the same
		}
		return out, &problem{refusal.Status, strings.ReplaceAll(refusal.Code, "-", "_"), refusal.Reason}
	}
	if err != nil {
		return out, err
	}
	all, err := s.Service.Received(ctx, c.hook, c.app, e)
	if err != nil {
		return out, err
	}
	return receivedOf(c, all), nil
}

// receivedOf sums up: what made a build before what was made before, and that before what makes none.
func receivedOf(c *call, all []build.Delivery) (out received) {
	c.status = http.StatusOK
	rank := map[build.DeliveryResult]int{build.DeliveryIgnored: 1, build.DeliveryDuplicate: 2, build.DeliveryAccepted: 3}
	for _, d := range all {
		v := deliveryOf(d)
		if rank[d.Result] > rank[out.Result] {
			out.Result, out.Reason, out.Build = d.Result, v.Reason, v.Build
		}
		out.Deliveries = append(out.Deliveries, v)
	}
	if out.Result == build.DeliveryAccepted {
		c.status = http.StatusAccepted
	}
	return out
}

// A body that is not small has to wait until less than bodiesAtOnce of them are here, and must come in bodyTime.
const (
	smallBody    = 1 << 20
	bodiesAtOnce = 8
	bodyTime     = 30 * time.Second
)

// hookBody reads what a forge sends. Until all of it is here nobody knows who sends it.
func (s *server) hookBody(ctx context.Context, c *call) ([]byte, error) {
	if c.ContentLength > webhook.MaxBody {
		return nil, webhook.TooLarge()
	}
	late := incomplete("the body did not come in time")
	ctx, cancel := context.WithTimeoutCause(ctx, bodyTime, late)
	defer cancel()
	r := &punctual{ctx, http.MaxBytesReader(c.w, c.Body, webhook.MaxBody)}
	body, err := io.ReadAll(io.LimitReader(r, smallBody))
	if err == nil && len(body) == smallBody {
		select {
		case s.bodies <- struct{}{}:
			defer func() { <-s.bodies }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		var rest []byte
		rest, err = io.ReadAll(r)
		body = append(body, rest...)
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, webhook.TooLarge()
	}
	if err != nil && context.Cause(ctx) == late {
		return nil, late
	}
	if err != nil {
		return nil, incomplete(bodyProblem(err).Error())
	}
	return body, nil
}

// incomplete is the refusal of a body that is not here to its end: it is in the journal, as all others are.
func incomplete(reason string) error {
	return &webhook.Refusal{Status: http.StatusBadRequest, Code: "incomplete", Reason: reason}
}

// punctual reads until ctx ends.
type punctual struct {
	ctx context.Context
	r   io.Reader
}

func (p *punctual) Read(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	return p.r.Read(b)
}
