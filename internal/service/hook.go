package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/webhook"
)

// ErrRefused tells that of a delivery nothing was kept that could be looked at again.
var ErrRefused = errors.New("it was refused, and nothing of it was kept: have the forge send it again")

// ruleOf is what a hook builds: the app's branch, where it names none.
func ruleOf(h build.Hook, app build.App) webhook.Rule {
	r := webhook.Rule{Repository: h.Repository, Branches: h.Branches, Tags: h.Tags, Paths: h.Paths}
	if len(r.Branches) == 0 {
		r.Branches = []string{app.Branch}
	}
	return r
}

// Received takes in what a forge has sent to a hook, and queues what the hook's rule builds of it: the event's commit, of
// the hook's repository. When it returns, that and the journal are durable. There is one delivery for each ref.
func (s *Service) Received(ctx context.Context, h build.Hook, app build.App, e webhook.Event) ([]build.Delivery, error) {
	rule := ruleOf(h, app)
	decision := rule.Event(e)
	changes := e.Changes
	if len(changes) == 0 {
		changes = []webhook.Change{{}} // it is about no ref
	}
	arrivals := make([]store.Arrival, len(changes))
	for i, c := range changes {
		about := decision
		if about.Build {
			about = rule.Change(c)
		}
		arrivals[i] = arrival(h, e, c, about)
	}
	return s.arrive(ctx, h, arrivals)
}

// arrive records arrivals, and does what belongs to the builds that they made.
func (s *Service) arrive(ctx context.Context, h build.Hook, arrivals []store.Arrival) ([]build.Delivery, error) {
	received, err := s.store.Receive(ctx, h.ID, arrivals)
	if err != nil {
		return nil, err
	}
	killpoint.Here(killpoint.HookRecorded)
	out := make([]build.Delivery, len(received))
	for i, r := range received {
		out[i] = r.Delivery
		if r.Made != nil {
			s.accepted(*r.Made, r.Superseded)
		}
	}
	return out, nil
}

// Refused notes in the journal what could not be taken.
func (s *Service) Refused(ctx context.Context, h build.Hook, e webhook.Event, r *webhook.Refusal) error {
	_, err := s.store.Receive(ctx, h.ID, []store.Arrival{{Delivery: build.Delivery{
		Forge: string(e.Forge), Event: e.Name, Key: e.Delivery, Result: build.DeliveryRefused, Code: r.Code, Reason: r.Reason,
	}}})
	return err
}

// kept is what is needed to decide about a change again.
type kept struct {
	Kind       webhook.Kind   `json:"kind"`
	Repository string         `json:"repository,omitempty"`
	Change     webhook.Change `json:"change"`
}

// maxKept bounds the JSON of a kept; without its paths it is always smaller.
const maxKept = 64 << 10

// arrival is a change as it goes into the journal, with a build where the decision is to make one.
func arrival(h build.Hook, e webhook.Event, c webhook.Change, d webhook.Decision) store.Arrival {
	a := store.Arrival{Delivery: build.Delivery{
		Forge: string(e.Forge), Event: e.Name, Key: e.Delivery, Replay: e.Replay, Ref: c.Ref, Commit: c.Commit, Before: c.Before,
		Result: build.DeliveryIgnored, Code: d.Code, Reason: d.Reason,
	}}
	if d.Build {
		a.Build = &build.Build{
			App: h.App, User: h.User,
			Trigger: build.Trigger{Kind: build.TriggerWebhook, Delivery: e.Delivery, Ref: c.Ref, Old: c.Before, New: c.Commit},
			Source:  build.Source{URL: h.Repository, Git: true, Ref: c.Ref, Commit: c.Commit, Description: build.Subject(c.Message), Submodules: h.Submodules},
		}
		return a
	}
	k := kept{e.Kind, e.Repository, c}
	if a.Delivery.Kept = build.JSON(k); len(a.Delivery.Kept) > maxKept {
		k.Change.Paths, k.Change.Unknown = nil, true
		a.Delivery.Kept = build.JSON(k)
	}
	return a
}

// Redeliver decides once more about a delivery, with the rule that the hook has now. One that made a build, or is of one
// that was made, stays as it is; ErrRefused is for one that was refused.
func (s *Service) Redeliver(ctx context.Context, h build.Hook, app build.App, d build.Delivery) (build.Delivery, error) {
	switch d.Result {
	case build.DeliveryAccepted, build.DeliveryDuplicate:
		return d, nil
	case build.DeliveryRefused:
		return d, fmt.Errorf("delivery %d: %w: %w", d.Number, build.ErrConflict, ErrRefused)
	}
	var k kept
	if err := json.Unmarshal([]byte(d.Kept), &k); err != nil {
		return d, fmt.Errorf("delivery %s of hook %s is damaged: %w", d.ID, h.ID, err)
	}
	e := webhook.Event{Forge: webhook.Forge(d.Forge), Kind: k.Kind, Name: d.Event, Delivery: d.Key, Replay: d.Replay, Repository: k.Repository}
	rule := ruleOf(h, app)
	decision := rule.Event(e)
	if decision.Build {
		decision = rule.Change(k.Change)
	}
	out, err := s.arrive(ctx, h, []store.Arrival{arrival(h, e, k.Change, decision)})
	if err != nil {
		return d, err
	}
	return out[0], nil
}
