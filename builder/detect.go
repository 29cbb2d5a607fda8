package builder

import (
	"context"
	"io"
	"runtime"

	"github.com/slipway-build/slipway/builder/cnb"
)

// DetectInput is what Detect works on.
type DetectInput struct {
	PlatformAPI cnb.API
	Dirs        Dirs
	Order       cnb.Order
	Extensions  cnb.Order  // of image extensions, put before every group; each is optional
	System      cnb.System // merged into every group from Platform API 0.15 on
	Target      cnb.Target // of the run image
	StackID     string     // of the run image; "" for none
	ExecEnv     string     // "" is production
	Env         []string   // environment of the build image; buildpacks get an allow-list of it
	Catalog     Catalog
	// ExtensionCatalog has the extensions of Extensions; it may be nil where there are none.
	ExtensionCatalog ExtensionCatalog
	Runner           Runner
	Emit             func(Event) // may be nil; never called concurrently
	MaxTrials        int         // limit of groups and of plan alternatives tried; 0 is 100,000
	// Every has the groups tried too that come after the chosen one, and tells of every trial: Detected.Trials, or the
	// Groups of the error. What is chosen is the same.
	Every bool
	// Stdio gives the writers for one buildpack's output; nil leaves output to the Runner.
	Stdio func(cnb.Ref) (stdout, stderr io.Writer)
}

// Detected is the outcome of detection: the chosen group with API and Homepage filled in, extensions first, and
// its plan.
type Detected struct {
	Group cnb.Group `json:"group"`
	Plan  cnb.Plan  `json:"plan"`
	// Tried is how many buildpacks the chosen group had before optional ones were left out.
	Tried int `json:"tried"`
	// Trials are the groups that were tried, in their order; with DetectInput.Every alone.
	Trials []GroupVerdict `json:"trials,omitempty"`
}

// defaultTrials bounds what an order or a plan with many alternatives can cost.
const defaultTrials = 100_000

// Detect finds the first group of the order whose buildpacks all pass and whose plan can be resolved
// (buildpack, "Phase #1: Detection"). Detects of one group run side by side, and none runs twice. Without a group
// the error is a *NoGroupError, or a *DetectError when a detect went wrong; an order that is wrong in itself is an
// *OrderError before anything runs. Extensions that take part stand before the buildpacks. A group has at least one
// buildpack, as the spec wants; the reference lifecycle takes one of which the plan leaves nothing but extensions.
func Detect(ctx context.Context, in DetectInput) (*Detected, error) {
	found, err := detect(ctx, in)
	return found, inPhase(PhaseDetect, err)
}

func detect(ctx context.Context, in DetectInput) (*Detected, error) {
	if !in.PlatformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return nil, &APIError{API: in.PlatformAPI}
	}
	order := in.Order
	if in.PlatformAPI.AtLeast(0, 15) {
		order = withSystem(order, in.System)
	}
	if err := checkOrder(order, in.Catalog); err != nil {
		return nil, err
	}
	if err := checkExtensions(in.Extensions, in.ExtensionCatalog); err != nil {
		return nil, err
	}
	e, err := newExecution(in.Dirs, in.PlatformAPI, in.Env, in.StackID, in.ExecEnv, in.Target)
	if err != nil {
		return nil, err
	}
	if in.MaxTrials <= 0 {
		in.MaxTrials = defaultTrials
	}
	d := &detection{
		in:   in,
		emit: emitter(in.Emit),
		run:  detectRunner{in: in, env: e, slots: max(4, 2*runtime.NumCPU()), done: map[moduleKey]outcome{}},
		log:  detectLog{seen: map[moduleKey]int{}, skipped: map[Verdict]bool{}},
	}
	found, err := d.all(ctx, order)
	if d.chosen != nil {
		return d.survey(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, d.log.failure(len(order) == 0)
	}
	return found, nil
}

// survey is the result of a detection of every group. What goes wrong behind the chosen group would not have been come
// upon without it: it is a trial that failed.
func (d *detection) survey(ctx context.Context, err error) (*Detected, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		d.log.add(GroupVerdict{Reason: err.Error()})
	}
	d.chosen.Trials = d.log.groups
	return d.chosen, nil
}

// A detection is the walk through an order. It is used from one goroutine.
type detection struct {
	in     DetectInput
	emit   func(Event)
	run    detectRunner
	log    detectLog
	groups int       // tried so far
	chosen *Detected // with DetectInput.Every: the first that works
}

// detectLog remembers why groups failed.
type detectLog struct {
	groups   []GroupVerdict
	verdicts []Verdict
	seen     map[moduleKey]int // index in verdicts
	skipped  map[Verdict]bool
}

// maxGroupVerdicts bounds what a failed detection remembers of single groups.
const maxGroupVerdicts = 256

func (l *detectLog) add(g GroupVerdict) {
	for _, v := range g.Buildpacks {
		if i, ok := l.seen[v.key()]; !ok {
			l.seen[v.key()] = len(l.verdicts)
			l.verdicts = append(l.verdicts, v)
		} else if !l.verdicts[i].ran() {
			l.verdicts[i] = v // it ran after all, in another group
		}
	}
	if len(l.groups) < maxGroupVerdicts {
		l.groups = append(l.groups, g)
	}
}

// failure is the error for an order of which no group was chosen.
func (l *detectLog) failure(emptyOrder bool) error {
	if emptyOrder {
		return &NoGroupError{Groups: []GroupVerdict{{Reason: "the order is empty"}}}
	}
	for _, v := range l.verdicts {
		if v.Kind == EventDetectError && !v.Extension {
			return &DetectError{Buildpacks: l.verdicts, Groups: l.groups}
		}
	}
	return &NoGroupError{Buildpacks: l.verdicts, Groups: l.groups}
}
