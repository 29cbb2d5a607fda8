package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/platform"
)

// A tracer is a view that also keeps when each part of a build began and ended, for --trace: a file in the Trace Event Format,
// which chrome://tracing, Perfetto and speedscope open.
type tracer struct {
	view
	began time.Time
	now   func() time.Time

	mu     sync.Mutex
	events []traceEvent
	open   map[platform.Phase]time.Time // phases that have not ended
	lanes  map[string]int
}

// A traceEvent is one of the format's: "X" has a beginning and a duration, "i" is a moment, "M" names a lane. Times are
// microseconds since the build began.
type traceEvent struct {
	Name  string         `json:"name"`
	Cat   string         `json:"cat,omitempty"`
	Kind  string         `json:"ph"`
	At    int64          `json:"ts"`
	Took  *int64         `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	Lane  int            `json:"tid"`
	Scope string         `json:"s,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// phaseLane is where phases are drawn; each buildpack has one below it.
const phaseLane = 0

func newTracer(v view, now func() time.Time) *tracer {
	t := &tracer{view: v, began: now(), now: now, open: map[platform.Phase]time.Time{}, lanes: map[string]int{}}
	t.name(phaseLane, "phases")
	return t
}

func (t *tracer) name(lane int, what string) {
	t.events = append(t.events, traceEvent{Name: "thread_name", Kind: "M", PID: 1, Lane: lane, Args: map[string]any{"name": what}})
}

// Event implements platform.UI.
func (t *tracer) Event(e platform.Event) {
	t.note(e, t.now())
	t.view.Event(e)
}

func (t *tracer) note(e platform.Event, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case platform.EventPhaseStart:
		t.open[e.Phase] = at
	case platform.EventPhaseEnd:
		t.span(string(e.Phase), "phase", phaseLane, t.open[e.Phase], at, nil)
		delete(t.open, e.Phase)
	case platform.EventExecuted:
		t.span(string(e.Phase)+" "+e.Buildpack, string(e.Phase), t.lane(e.Buildpack), at.Add(-e.Elapsed), at, nil)
	case platform.EventWarning:
		t.moment(e.Text, "warning", phaseLane, at, nil)
	case platform.EventEngine:
		lane, args := phaseLane, map[string]any{}
		if e.Engine.Buildpack.ID != "" {
			lane = t.lane(e.Engine.Buildpack.String())
		}
		if e.Engine.Layer != "" {
			args["layer"], args["reused"] = e.Engine.Layer, e.Engine.Reused
		}
		if e.Engine.Bytes > 0 {
			args["bytes"] = e.Engine.Bytes
		}
		if e.Engine.Text != "" {
			args["text"] = e.Engine.Text
		}
		t.moment(string(e.Engine.Kind), "engine", lane, at, args)
	}
}

func (t *tracer) lane(of string) int {
	n, ok := t.lanes[of]
	if !ok {
		n = len(t.lanes) + 1
		t.lanes[of] = n
		t.name(n, of)
	}
	return n
}

func (t *tracer) span(name, cat string, lane int, from, to time.Time, args map[string]any) {
	took := to.Sub(from).Microseconds()
	t.events = append(t.events, traceEvent{Name: name, Cat: cat, Kind: "X", At: from.Sub(t.began).Microseconds(), Took: &took, PID: 1, Lane: lane, Args: args})
}

func (t *tracer) moment(name, cat string, lane int, at time.Time, args map[string]any) {
	t.events = append(t.events, traceEvent{Name: name, Cat: cat, Kind: "i", At: at.Sub(t.began).Microseconds(), PID: 1, Lane: lane, Scope: "t", Args: args})
}

// write makes the file. A phase that did not end, because the build failed in it, ends now.
func (t *tracer) write(file string, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for phase, from := range t.open {
		args := map[string]any{}
		if err != nil {
			args["error"] = err.Error()
		}
		t.span(string(phase), "phase", phaseLane, from, now, args)
	}
	t.open = nil
	b, merr := json.Marshal(map[string]any{"traceEvents": t.events, "displayTimeUnit": "ms"})
	if merr == nil {
		merr = os.WriteFile(file, append(b, '\n'), 0o644)
	}
	if merr != nil {
		return fmt.Errorf("--trace: %w", merr)
	}
	return nil
}
