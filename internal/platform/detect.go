package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// A Detection is what every group of an order comes to for an app.
type Detection struct {
	Builder string `json:"builder"`
	// Trials are the groups in the order in which a build tries them, those after the chosen one too. Verdicts of
	// buildpacks that said no have the last line that they printed as their reason.
	Trials []builder.GroupVerdict `json:"trials"`
	// Output is what each bin/detect printed on both streams, by id@version, 1 MiB of it at most.
	Output  map[string]string       `json:"output,omitempty"`
	Timings map[Phase]time.Duration `json:"timings"`
}

// Chosen is the trial whose group a build takes; nil where there is none.
func (d *Detection) Chosen() *builder.GroupVerdict {
	i := slices.IndexFunc(d.Trials, func(g builder.GroupVerdict) bool { return g.Chosen })
	if i < 0 {
		return nil
	}
	return &d.Trials[i]
}

// Detect runs the detects of every group of a build's order over the app, as Build would, and nothing after them. Of o
// the fields about the result mean nothing. Where no group detected, the error is Build's, and the Detection is there
// beside it.
func Detect(ctx context.Context, m *Machine, o Options, ui UI) (*Detection, error) {
	kept := &detectOutput{UI: ui, text: map[string]*bytes.Buffer{}}
	o, err := withoutImage(o)
	if err != nil {
		return nil, err
	}
	o.ShowDetect = true // to kept
	j, err := newJob(m, o, kept)
	if err != nil {
		return nil, err
	}
	j.every = true
	err = j.walk(ctx, step{PhasePrepare, j.prepare}, step{PhaseAnalyze, j.analyze}, step{PhaseDetect, j.detect})
	var trials []builder.GroupVerdict
	none, isNone := errors.AsType[*builder.NoGroupError](err)
	wrong, isWrong := errors.AsType[*builder.DetectError](err)
	switch {
	case isNone:
		trials = none.Groups
	case isWrong:
		trials = wrong.Groups
	case err != nil:
		return nil, err
	default:
		trials = j.detected.Trials
	}
	for i := range trials {
		j.addReasons(trials[i].Buildpacks)
		trials[i].Reason = reasonOf(trials[i])
	}
	return &Detection{Builder: j.builder.Reference, Trials: trials, Output: kept.all(), Timings: j.timings}, err
}

// reasonOf is why a group failed, with what a buildpack printed where it was a buildpack that said no.
func reasonOf(g builder.GroupVerdict) string {
	for _, v := range g.Buildpacks {
		if g.Reason != "" && !v.Optional && v.Kind != builder.EventDetectPass {
			return fmt.Sprintf("%s: %s", v.Buildpack, v.Reason)
		}
	}
	return g.Reason
}

// withoutImage fills in a name for a run that makes no image: of the app and of what is asked to build it, so that it
// is the same the next time.
func withoutImage(o Options) (Options, error) {
	key, err := tryKey(o)
	o.Image, o.Output, o.Tags = "slipway/try:"+key, Output{Store: true}, nil
	return o, err
}

// detectOutput is a UI that keeps what detects print.
type detectOutput struct {
	UI
	mu   sync.Mutex
	text map[string]*bytes.Buffer
}

// Output implements UI. Each detect runs once and is shown when it has ended, on one stream.
func (d *detectOutput) Output(phase Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	if phase != PhaseDetect {
		return d.UI.Output(phase, bp)
	}
	b := &bytes.Buffer{}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text[bp.String()] = b
	return b, b
}

func (d *detectOutput) all() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]string{}
	for bp, b := range d.text {
		if b.Len() > 0 {
			out[bp] = b.String()
		}
	}
	return out
}
