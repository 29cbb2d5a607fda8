package platform

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
)

// Stops say where a build waits for a person. The zero value is nowhere.
type Stops struct {
	First         bool     // before the first bin/build of the group
	Before, After []string // buildpacks' bin/build, by id or id@version
	Failed        bool     // where an executable fails: bin/build, or bin/detect other than by saying no
	// At is called there, by one goroutine at a time. The build stands still until it returns, and so does the clock of
	// its time limit. An error ends the build, except where it has failed already.
	At func(ctx context.Context, p Point) error
}

// PointKind says where a Point is.
type PointKind string

// The kinds of Point.
const (
	PointBefore PointKind = "before" // the executable has not run yet
	PointAfter  PointKind = "after"  // it ended well, and nothing has looked at what it left
	PointFailed PointKind = "failed"
)

// A Point is where a build stands still.
type Point struct {
	Kind      PointKind
	Phase     Phase
	Buildpack cnb.Ref
	Command   []string // of the executable, with its arguments
	Dir       string   // its working directory
	// Shell opens a shell in the build container as the executable's user, in its directory and with its environment,
	// and returns when it has ended. See agent.Agent's Shell.
	Shell func(ctx context.Context, t Terminal) error
}

// Where is the point in a few words: "sample/app@1.0.0 (before build)".
func (p Point) Where() string {
	what := string(p.Kind) + " " + string(p.Phase)
	if p.Kind == PointFailed {
		what = string(p.Phase) + " failed"
	}
	return fmt.Sprintf("%s (%s)", p.Buildpack, what)
}

// A Terminal is where a person sits, and a TerminalSize its size.
type (
	Terminal     = agent.Terminal
	TerminalSize = agent.Size
)

// Enter runs detect and build over an app for the sake of Options.Stops, on the layers that Try would find, and keeps
// nothing of what the buildpacks leave. Errors are Build's.
func Enter(ctx context.Context, m *Machine, o Options, ui UI) error {
	t, err := newTry(m, o, ui)
	if err != nil {
		return err
	}
	return t.walk(ctx, step{PhasePrepare, t.prepare}, step{PhaseAnalyze, t.analyze}, step{PhaseDetect, t.detect},
		step{PhaseRestore, t.restore}, step{PhaseBuild, t.build})
}

// A stopper has a build stand still where its Stops say.
type stopper struct {
	Stops
	clock clock

	mu   sync.Mutex // there is one person
	past bool       // the first bin/build
}

// check refuses stops at buildpacks that are not in the group.
func (s *stopper) check(g cnb.Group) error {
	var names []string
	for _, el := range g.Elements {
		names = append(names, el.Ref.String())
	}
	for _, want := range slices.Concat(s.Before, s.After) {
		if !slices.ContainsFunc(g.Elements, func(el cnb.GroupElement) bool { return named([]string{want}, el.Ref) }) {
			return fmt.Errorf("there is no buildpack %s to stop at in the group that detected: %s", want, strings.Join(names, ", "))
		}
	}
	return nil
}

// run runs an executable with do, and stops before and after it.
func (s *stopper) run(ctx context.Context, a *agent.Agent, cmd builder.Cmd, do func() error) error {
	if s.At == nil {
		return do()
	}
	if s.before(cmd) {
		if err := s.stop(ctx, a, PointBefore, cmd); err != nil {
			return err
		}
	}
	err := do()
	switch {
	case err == nil && cmd.Phase == builder.PhaseBuild && named(s.After, cmd.Buildpack):
		return s.stop(ctx, a, PointAfter, cmd)
	case s.Failed && wentWrong(err) && ended(err):
		_ = s.stop(ctx, a, PointFailed, cmd) // the build's own error is what counts
	}
	return err
}

// named says whether a buildpack is among those that are named by id or id@version.
func named(names []string, ref cnb.Ref) bool {
	return slices.Contains(names, string(ref.ID)) || slices.Contains(names, ref.String())
}

func (s *stopper) before(cmd builder.Cmd) bool {
	if cmd.Phase != builder.PhaseBuild {
		return false
	}
	first := !s.past
	s.past = true // bin/builds follow each other
	return s.First && first || named(s.Before, cmd.Buildpack)
}

func (s *stopper) stop(ctx context.Context, a *agent.Agent, kind PointKind, cmd builder.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.clock.hold()
	defer s.clock.release()
	p := Point{Kind: kind, Phase: Phase(cmd.Phase), Buildpack: cmd.Buildpack, Command: append([]string{cmd.Path}, cmd.Args...), Dir: cmd.Dir}
	p.Shell = func(ctx context.Context, t Terminal) error { return a.Shell(ctx, cmd, p.Where(), t) }
	return s.At(ctx, p)
}

// A clock counts down what is left of a build's time. It stands still while somebody holds it. The zero value counts
// nothing.
type clock struct {
	mu    sync.Mutex
	left  time.Duration
	since time.Time
	timer *time.Timer // nil: there is no limit
}

// start has over called when the time is up, in a goroutine of its own.
func (c *clock) start(limit time.Duration, over func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.since, c.timer = limit, time.Now(), time.AfterFunc(limit, over)
}

// hold stops the clock, until release.
func (c *clock) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil && c.timer.Stop() {
		c.left -= time.Since(c.since)
	}
}

func (c *clock) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.since = time.Now()
		c.timer.Reset(max(0, c.left))
	}
}

// stop ends the counting.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
