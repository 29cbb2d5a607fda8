package suite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/platform"
)

// A Runner runs suites.
type Runner struct {
	Machine *platform.Machine
	// Options are those of every build. Source, buildpacks, variables and what is about the result are the case's.
	Options platform.Options
	// Buildpack is the directory that the version "." stands for; "" is the suite's.
	Buildpack string
	Jobs      int // runs at once, at least one
	// Done is told of each run when it has ended, one at a time; nil: nobody is.
	Done func(Outcome)
}

// An Outcome is what a run came to.
type Outcome struct {
	Name     string        `json:"name"`
	Took     time.Duration `json:"took"`
	Failures []Failure     `json:"failures"`
	// Error is why nothing could be compared: the suite's surroundings are wrong, and not the buildpack.
	Error string `json:"error,omitempty"`
	Log   string `json:"-"` // of all its builds
}

// Passed says whether all was as expected.
func (o Outcome) Passed() bool { return len(o.Failures) == 0 && o.Error == "" }

// Run runs those of a suite in dir, from where its apps and other buildpacks are, and returns when all have ended; the outcomes are in the order of runs. When ctx
// ends those that run are ended, the others are not begun, and the error is ctx's.
func (r *Runner) Run(ctx context.Context, dir string, runs []Run) ([]Outcome, error) {
	out := make([]Outcome, len(runs))
	next := make(chan int) // nobody waits for more than one
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range max(1, min(r.Jobs, len(runs))) {
		wg.Go(func() {
			for i := range next {
				o := r.one(ctx, dir, runs[i])
				mu.Lock()
				out[i] = o
				if r.Done != nil && ctx.Err() == nil {
					r.Done(o)
				}
				mu.Unlock()
			}
		})
	}
	for i := range runs {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return out, context.Cause(ctx)
}

// one runs a case over a copy of its app.
func (r *Runner) one(ctx context.Context, dir string, run Run) (o Outcome) {
	started := time.Now()
	o.Name, o.Failures = run.Name(), []Failure{}
	t := &trial{r: r, run: run, log: &logUI{}}
	defer func() {
		o.Took, o.Log = time.Since(started), t.log.String()
	}()
	var err error
	if t.tmp, err = os.MkdirTemp("", "slipway-suite-"); err != nil {
		o.Error = err.Error()
		return o
	}
	defer func() {
		if err := errors.Join(t.forget(), os.RemoveAll(t.tmp)); err != nil && o.Error == "" {
			o.Error = err.Error()
		}
	}()
	if err := t.prepare(dir); err != nil {
		o.Error = err.Error()
		return o
	}
	if o.Failures, err = t.all(ctx); err != nil {
		o.Error = err.Error()
	}
	return o
}

// A trial is a run under way.
type trial struct {
	r       *Runner
	run     Run
	tmp     string // has app, image, sbom
	id      cnb.ID // of the tested buildpack; "" where it is no directory
	options platform.Options
	begun   bool // something is kept that is to be forgotten
	log     *logUI
}

func (t *trial) app() string { return filepath.Join(t.tmp, "app") }

// prepare copies the app and finds the buildpacks.
func (t *trial) prepare(dir string) error {
	c := t.run.Case
	if err := os.CopyFS(t.app(), os.DirFS(filepath.Join(dir, c.App))); err != nil {
		return fmt.Errorf("app of case %q: %w", c.Name, err)
	}
	o := t.r.Options
	o.Source, o.ExecEnv, o.ShowDetect = t.app(), cmp.Or(c.ExecEnv, o.ExecEnv), true
	if t.run.Builder != "" {
		o.Builder = t.run.Builder
	}
	o.Buildpacks = nil
	for _, list := range [][]string{c.Before, {t.run.Version}, c.After} {
		for _, arg := range list {
			o.Buildpacks = append(o.Buildpacks, t.r.within(dir, arg))
		}
	}
	o.Env = merged(o.Env, c.Env)
	t.options = o
	return t.identify(t.r.within(dir, t.run.Version))
}

// identify reads which buildpack is tested, where it is a directory. Where it is not it is the one that runs in its
// place: then it is found by its place in the group.
func (t *trial) identify(at string) error {
	b, err := cnb.ReadFile(at, "buildpack.toml", cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) || err != nil && !isDir(at) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := cnb.DecodeDescriptor(filepath.Join(at, "buildpack.toml"), b)
	if err != nil {
		return err
	}
	t.id = d.ID
	return nil
}

func isDir(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && fi.IsDir()
}

// within is the tested buildpack, a path from the suite's directory where there is something there, else what it is to
// a build.
func (r *Runner) within(dir, arg string) string {
	if arg == "." && r.Buildpack != "" {
		return r.Buildpack
	}
	if p := filepath.Join(dir, arg); !filepath.IsAbs(arg) {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return arg
}

func merged(a, b map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		maps.Copy(out, m)
	}
	return out
}

// all builds, compares, and builds again as often as the case wants. The error is one of the surroundings.
func (t *trial) all(ctx context.Context) ([]Failure, error) {
	out, err := t.build(ctx, t.run.Case.Expect, nil)
	for i := range t.run.Case.Rebuilds {
		if err != nil || len(out) > 0 {
			return out, err // what comes after a failure follows from it
		}
		var fails []Failure
		if err = t.change(t.run.Case.Rebuilds[i]); err == nil {
			fails, err = t.build(ctx, t.run.Case.Rebuilds[i].Expect, &t.run.Case.Rebuilds[i])
		}
		for _, f := range fails {
			f.What = fmt.Sprintf("rebuild %d: %s", i+1, f.What)
			out = append(out, f)
		}
	}
	return out, err
}

// change makes what is other for a rebuild. Nothing outside the copy of the app is written to.
func (t *trial) change(r Rebuild) error {
	root, err := os.OpenRoot(t.app())
	if err != nil {
		return err
	}
	defer root.Close()
	for p, text := range r.Write {
		if err := root.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return fmt.Errorf("rebuild writes %s: %w", p, err)
		}
		if err := root.WriteFile(p, []byte(text), 0o644); err != nil {
			return fmt.Errorf("rebuild writes %s: %w", p, err)
		}
	}
	for _, p := range r.Remove {
		if err := root.RemoveAll(p); err != nil {
			return fmt.Errorf("rebuild removes %s: %w", p, err)
		}
	}
	t.options.Env = merged(t.options.Env, r.Env)
	return nil
}

// build builds once and compares.
func (t *trial) build(ctx context.Context, e Expect, again *Rebuild) ([]Failure, error) {
	from := t.log.mark()
	t.begun = true
	tried, err := platform.Try(ctx, t.r.Machine, t.options, t.log)
	s := Seen{Tried: tried, Log: t.log.since(from), ID: t.id}
	if err != nil {
		s.Error = err.Error()
	}
	if s.Result, err = resultOf(err); err != nil {
		return nil, err
	}
	if tried != nil && s.ID == "" {
		if i := len(t.run.Case.Before); i < len(tried.Buildpacks) {
			s.ID = tried.Buildpacks[i].Buildpack.ID
		}
	}
	if tried != nil && e.ofImage() {
		if s.Image, err = t.image(ctx, e); err != nil {
			return nil, err
		}
	}
	out := check(e, s)
	if again != nil {
		out = append(out, checkReuse(*again, s)...)
	}
	return out, nil
}

// resultOf tells the buildpack's results from errors of the surroundings.
func resultOf(err error) (string, error) {
	if err == nil {
		return Built, nil
	}
	if _, ok := errors.AsType[*builder.NoGroupError](err); ok {
		return NotDetected, nil
	}
	if _, ok := errors.AsType[*builder.DetectError](err); ok {
		return DetectError, nil
	}
	if e, ok := errors.AsType[*builder.ExitError](err); ok && e.Phase == builder.PhaseBuild {
		return BuildFails, nil
	}
	return "", err
}

// forget removes what the builds have kept.
func (t *trial) forget() error {
	if !t.begun {
		return nil
	}
	return errors.Join(platform.Forget(t.r.Machine, t.options), t.r.Machine.Store.RemoveCache(layerstore.CacheKey(t.cacheKey())))
}

// logUI keeps what is printed.
type logUI struct {
	mu  sync.Mutex
	log bytes.Buffer
}

// Event implements platform.UI.
func (l *logUI) Event(e platform.Event) {
	if e.Kind == platform.EventWarning {
		fmt.Fprintf(l, "WARNING: %s\n", e.Text)
	}
}

// Output implements platform.UI.
func (l *logUI) Output(platform.Phase, cnb.Ref) (stdout, stderr io.Writer) { return l, l }

func (l *logUI) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.log.Len() < maxLog {
		l.log.Write(p[:min(len(p), maxLog-l.log.Len())])
	}
	return len(p), nil
}

const maxLog = 16 << 20 // bytes of a run that are kept

func (l *logUI) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Len()
}

func (l *logUI) since(from int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.log.Bytes()[from:])
}

func (l *logUI) String() string { return l.since(0) }
