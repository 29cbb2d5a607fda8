package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestTrace holds the file to the times at which things happened, also for a build that fails.
func TestTrace(t *testing.T) {
	at := time.Unix(1000, 0)
	tr := newTracer(&quietView{out: io.Discard, warn: func(string, ...any) {}}, func() time.Time { return at })
	tell := func(after time.Duration, e platform.Event) {
		at = at.Add(after)
		tr.Event(e)
	}
	tell(time.Millisecond, platform.Event{Kind: platform.EventPhaseStart, Phase: platform.PhaseDetect})
	tell(5*time.Millisecond, platform.Event{Kind: platform.EventExecuted, Phase: platform.PhaseDetect, Buildpack: "a/b@1", Elapsed: 4 * time.Millisecond})
	tell(time.Millisecond, platform.Event{Kind: platform.EventPhaseEnd, Phase: platform.PhaseDetect, Elapsed: 6 * time.Millisecond})
	tell(0, platform.Event{Kind: platform.EventPhaseStart, Phase: platform.PhaseBuild})
	tell(time.Millisecond, platform.Event{Kind: platform.EventEngine, Engine: &builder.Event{Kind: "layer", Buildpack: cnb.Ref{ID: "a/b", Version: "1"}, Layer: "x", Bytes: 7}})
	tell(2*time.Millisecond, platform.Event{Kind: platform.EventWarning, Text: "old"})
	file := filepath.Join(t.TempDir(), "trace.json")
	if err := tr.write(file, errors.New("it failed")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ TraceEvents []traceEvent }
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	type line struct {
		name, kind string
		at, took   int64
		lane       int
	}
	var lines []line
	for _, e := range got.TraceEvents {
		l := line{name: e.Name, kind: e.Kind, at: e.At, lane: e.Lane}
		if e.Took != nil {
			l.took = *e.Took
		}
		if e.Kind != "M" {
			lines = append(lines, l)
		}
	}
	want := []line{
		{"detect a/b@1", "X", 2000, 4000, 1}, {"detect", "X", 1000, 6000, 0}, {"layer", "i", 8000, 0, 1}, {"old", "i", 10000, 0, 0}, {"build", "X", 7000, 3000, 0},
	}
	if len(lines) != len(want) {
		t.Fatalf("%+v", lines)
	}
	for i := range want {
		if lines[i] != want[i] {
			t.Errorf("%+v, want %+v", lines[i], want[i])
		}
	}
	if last := got.TraceEvents[len(got.TraceEvents)-1]; last.Args["error"] != "it failed" {
		t.Errorf("the phase that failed: %+v", last)
	}
	if err := tr.write(filepath.Join(t.TempDir(), "none", "x"), nil); err == nil {
		t.Error("a directory that is not there")
	}
}
