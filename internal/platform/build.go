package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/source"
)

// platformAPI is the Platform API that our own engine runs with.
var platformAPI = cnb.NewestPlatformAPI

// cleanTimeout bounds what is done after a build has ended or was cancelled.
const cleanTimeout = 30 * time.Second

// Build runs one build and returns when its image is at its destination. When ctx ends, everything that the
// build started is killed and removed before Build returns, within about two seconds. Errors keep the types
// of package builder, by which callers tell whose fault it was; *BuildError adds the last lines of output. With an error
// of a build that had begun comes a result with Timings and Executed up to there, and Group where one was found.
func Build(ctx context.Context, m *Machine, o Options, ui UI) (*Result, error) {
	j, err := newJob(m, o, ui)
	if err != nil {
		return nil, err
	}
	err = j.walk(ctx,
		step{PhasePrepare, j.prepare}, step{PhaseAnalyze, j.analyze}, step{PhaseDetect, j.detect},
		step{PhaseRestore, j.restore}, step{PhaseBuild, j.build}, step{PhaseExport, j.export})
	if err != nil {
		return j.reached(), err
	}
	return j.result(), nil
}

// A step is one phase of a job.
type step struct {
	phase Phase
	do    func(context.Context) error
}

// walk goes through the steps and cleans up behind them.
func (j *job) walk(ctx context.Context, steps ...step) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer func() {
		err = errors.Join(j.explain(err), j.cleanup(ctx))
		cancel(err)
	}()
	if limit := j.o.Limits.Time; limit > 0 {
		clock := &j.h.stops.clock
		clock.start(limit, func() { cancel(&container.LimitError{Resource: container.Time, Limit: int64(limit)}) })
		defer clock.stop()
	}
	for _, s := range steps {
		if err := j.phase(ctx, s.phase, s.do); err != nil {
			return err
		}
	}
	return nil
}

// A BuildError is a buildpack's failure with the end of what it printed.
type BuildError struct {
	Err  error
	Last []string
}

func (e *BuildError) Error() string { return e.Err.Error() }
func (e *BuildError) Unwrap() error { return e.Err }

// job is one build under way. Its fields are filled from top to bottom by the phases.
type job struct {
	m  *Machine
	o  Options
	ui UI
	h  *host

	store  *layerstore.Store // the machine's, for layers in the form that the build makes
	dest   destination
	limits Limits

	dir       *buildDir
	swept     chan struct{} // closed when leftovers of dead builds are gone
	dirs      builder.Dirs
	collector *collectorBox
	opened    chan struct{} // closed when collector is set for good

	resolver *image.Resolver
	builder  *builderImage
	run      *image.Image
	runName  cnb.RunImageName
	prepared container.Prepared
	order    cnb.Order
	system   cnb.System
	added    []addedBuildpack
	packages foundPackages
	foreign  map[string]bool // directories of buildpacks that the source's descriptor names
	composed map[string]bool // arguments of components that were brought in
	told     *source.Told    // nil before the source is looked at
	lock     *index.Lock     // of the source; nil before a buildpack of an index is asked for

	looking  *background // finds the previous image: sets previous
	boxing   *background // creates and starts the build container: sets prepared and box
	box      *buildBox
	ids      container.IDs // of the build container; nil where they are the machine's
	noIDs    error         // why they are, where its runtime has others
	stack    *stack        // of the layers directory; nil where it is a plain one
	previous *image.Image
	clearing *background // removes the build's files while the image is written
	analyzed cnb.Analyzed
	cache    buildCache
	ahead    *background // unpacks cached layers while detect runs
	tidying  *background // removes unpacked layers that nobody will ask for

	every    bool // detect tries every group
	detected *builder.Detected
	built    *builder.Built
	exported *builder.Exported
	image    v1.Image
	written  image.Written

	timings map[Phase]time.Duration
}

func newJob(m *Machine, o Options, ui UI) (*job, error) {
	if err := m.Tools.Check(); err != nil {
		return nil, err
	}
	store := m.Store.As(o.Compression)
	j := &job{m: m, o: o, ui: ui, store: store, timings: map[Phase]time.Duration{}, h: newHost(ui, store, o.ShowDetect)}
	j.h.stops.Stops = o.Stops
	if err := j.names(); err != nil {
		return nil, err
	}
	j.limits = o.Limits.withDefaults()
	if o.ExecEnv == "" {
		j.o.ExecEnv = "production"
	}
	return j, nil
}

// phase runs one phase and tells the UI when it starts and ends.
func (j *job) phase(ctx context.Context, p Phase, run func(context.Context) error) error {
	started := time.Now()
	start := Event{Kind: EventPhaseStart, Phase: p}
	if p == PhasePrepare {
		start.Text = j.m.Why
	}
	if p == PhaseAnalyze && j.noIDs != nil {
		start.Text = "without a user namespace: " + j.noIDs.Error()
	}
	j.ui.Event(start)
	err := run(ctx)
	j.timings[p] = time.Since(started)
	if err == nil {
		j.ui.Event(Event{Kind: EventPhaseEnd, Phase: p, Elapsed: j.timings[p]})
		return nil
	}
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			err = fmt.Errorf("%s: %w", p, cause)
		}
	}
	return err
}

func (j *job) warn(format string, args ...any) {
	j.ui.Event(Event{Kind: EventWarning, Text: fmt.Sprintf(format, args...)})
}

// analyze looks at the previous image, the cache and the run image while the build container starts.
func (j *job) analyze(ctx context.Context) error {
	var g errgroup.Group
	// These images are read until the end of the build, so they are bound to its context too.
	g.Go(j.looking.wait)
	g.Go(func() error { return j.openCache(ctx) })
	g.Go(j.boxing.wait)
	if err := g.Wait(); err != nil {
		return err
	}
	if err := j.checkStack(ctx); err != nil {
		return err
	}
	if err := j.checkCompression(); err != nil {
		return err
	}
	for _, w := range j.box.Hello().Warnings {
		j.warn("builder %s: %s", j.o.Builder, w)
	}
	in := builder.AnalyzeInput{
		PlatformAPI: platformAPI, Run: j.run, RunReference: j.run.Reference, RunName: j.runName.Image,
		OSRelease: j.box.Hello().OSRelease, Platform: cnb.Target{OS: j.builder.Config.OS, Arch: j.builder.Config.Architecture},
		ExecEnv: j.o.ExecEnv, Emit: j.h.Emit,
	}
	if j.previous != nil {
		in.Previous, in.PreviousReference = inspected{j.previous}, j.previous.Reference
	}
	var err error
	if j.analyzed, err = builder.Analyze(in); err != nil {
		return err
	}
	if j.analyzed.Image == nil {
		j.previous = nil
	}
	j.h.fetchWith(j.fetchLayer)
	if err := j.operator(ctx); err != nil {
		return err
	}
	_, err = j.collector.Catalog(ctx, j.box.Hello().Buildpacks)
	return err
}

func (j *job) imageTarget() cnb.Target {
	if j.analyzed.RunImage != nil && j.analyzed.RunImage.Target != nil {
		return *j.analyzed.RunImage.Target
	}
	return cnb.Target{}
}

func (j *job) stackID() string { return j.run.Label(cnb.LabelStackID) }

func (j *job) detect(ctx context.Context) (err error) {
	j.detected, err = j.collector.Detect(ctx, builder.DetectInput{
		PlatformAPI: platformAPI, Dirs: j.dirs, Order: j.order, System: j.system, Target: j.imageTarget(),
		StackID: j.stackID(), ExecEnv: j.o.ExecEnv, Env: j.box.Hello().Env, Every: j.every,
	})
	if err != nil {
		return err
	}
	return j.h.stops.check(j.detected.Group)
}

func (j *job) restore(ctx context.Context) error {
	placed, err := j.placeLayers(ctx)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	r := agent.RestoreRequest{
		PlatformAPI: platformAPI, Dirs: j.dirs, Group: j.detected.Group, Previous: j.analyzed.Metadata,
		HasCache: true, Cache: j.cache.metadata, InPlace: placed,
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return j.collector.Restore(gctx, r) })
	if w, ok := j.prepared.(container.Wirer); ok {
		g.Go(func() error { return w.Wire(gctx) })
	}
	return g.Wait()
}

func (j *job) build(ctx context.Context) (err error) {
	if j.stack != nil {
		j.tidying = inBackground(ctx, j.tidy)
	}
	j.built, err = j.collector.Build(ctx, builder.BuildInput{
		PlatformAPI: platformAPI, Dirs: j.dirs, Group: j.detected.Group, Plan: j.detected.Plan,
		Target: j.imageTarget(), StackID: j.stackID(), ExecEnv: j.o.ExecEnv, Env: j.box.Hello().Env,
	})
	return err
}

// explain adds to an error what only the platform knows: why the container ended, what detects printed, and
// the last lines of a failed build.
func (j *job) explain(err error) error {
	if err == nil {
		return nil
	}
	if j.boxing != nil && j.boxing.ended() && j.box != nil {
		err = j.box.explain(err)
	}
	if e, ok := errors.AsType[*container.LimitError](err); ok {
		return j.limit(e)
	}
	if e, ok := errors.AsType[*builder.NoGroupError](err); ok {
		j.addReasons(e.Buildpacks)
		return e // its text has the reasons only now
	}
	if e, ok := errors.AsType[*builder.DetectError](err); ok {
		j.addReasons(e.Buildpacks)
		return e
	}
	if e, ok := errors.AsType[*builder.ExitError](err); ok {
		return &BuildError{Err: j.shortage(e, err), Last: j.h.lastLines(e.Phase, e.Buildpack)}
	}
	return j.point(err)
}

// shortage names what a process that failed had too little of.
func (j *job) shortage(e *builder.ExitError, err error) error {
	switch {
	case e.OutOfMemory:
		return fmt.Errorf("%w%s", err, j.memoryHint())
	case e.OutOfProcesses:
		return fmt.Errorf("%w (it ran into its limit of %d processes%s)", err, j.limits.PIDs, j.raise(": ", LimitPIDs, ""))
	case e.Phase == builder.PhaseBuild && diskFull(j.m.State):
		return fmt.Errorf("%w (the disk that holds %s is full: make room, or set SLIPWAY_HOME to another)", err, j.m.State)
	}
	return err
}

func (j *job) memoryHint() string {
	return fmt.Sprintf(" (the memory limit is %s%s)", container.Bytes(j.limits.Memory), j.raise(": ", LimitMemory, ""))
}

// raise tells how a limit is raised, between two texts, where that is known.
func (j *job) raise(before, limit, after string) string {
	if how := j.o.Raise[limit]; how != "" {
		return before + "raise it " + how + after
	}
	return ""
}

// limit says of a limit that stopped the build what ran into it.
func (j *job) limit(e *container.LimitError) error {
	what, bp := j.h.cutOff()
	phase, _, _ := strings.Cut(what, " ")
	if what == "" {
		what = "build"
	}
	why, limit := fmt.Sprintf("the build took longer than its time limit of %s", time.Duration(e.Limit)), LimitTime
	if e.Resource == container.Disk {
		why, limit = fmt.Sprintf("the build wrote %s, more than its disk limit of %s", container.Bytes(e.Used), container.Bytes(e.Limit)), LimitDisk
	}
	return &builder.PhaseError{Phase: phase, Err: &StoppedError{Buildpack: bp, text: what + " was stopped: " + why + j.raise(" (", limit, ")"), err: e}}
}

// A StoppedError is a limit that ended a build, in the words of a build. It wraps a *container.LimitError.
type StoppedError struct {
	Buildpack string // id@version of the one that ran; "" for none or several

	text string
	err  error
}

func (e *StoppedError) Error() string { return e.text }
func (e *StoppedError) Unwrap() error { return e.err }

// addReasons gives every buildpack that said no the last line that it printed.
func (j *job) addReasons(vs []builder.Verdict) {
	for i := range vs {
		if strings.HasSuffix(vs[i].Reason, "out of memory") {
			vs[i].Reason += j.memoryHint()
		}
		last := j.h.lastLines(builder.PhaseDetect, vs[i].Buildpack)
		switch n := len(last); {
		case n > 0 && vs[i].Kind == builder.EventDetectFail:
			vs[i].Reason = last[n-1] // says more than that it said no
		case n > 0 && vs[i].Kind == builder.EventDetectError:
			vs[i].Reason += ": " + last[n-1]
		}
	}
}

// cleanup ends the container and removes the build's directory, also when ctx is done.
func (j *job) cleanup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	var errs []error
	if j.boxing != nil {
		j.boxing.end()
	}
	if j.box != nil {
		errs = append(errs, j.box.Close())
	} else if j.prepared != nil {
		errs = append(errs, j.prepared.Close())
	}
	if j.clearing != nil {
		_ = j.clearing.wait() // what it could not remove is tried again
	}
	for _, b := range []*background{j.looking, j.ahead, j.tidying} {
		if b != nil {
			b.end()
		}
	}
	errs = append(errs, j.stack.close())
	if j.collector != nil {
		<-j.swept
		errs = append(errs, removeCollected(ctx, j.collector, j.dir.path), j.collector.Close())
	}
	if j.ids != nil {
		errs = append(errs, j.ids.Close())
	}
	if j.dir != nil {
		errs = append(errs, j.dir.remove())
	}
	return errors.Join(errs...)
}
