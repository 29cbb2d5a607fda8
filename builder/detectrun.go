package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// statusFail is the exit status with which bin/detect says no (buildpack, "Detection").
const statusFail = 100

// An outcome is what one bin/detect said.
type outcome struct {
	kind     EventKind // EventDetectPass, -Fail or -Error
	code     int
	reason   string
	plan     cnb.BuildPlan
	duration time.Duration
}

// detectRunner runs bin/detect of each buildpack once, however many groups it is in.
type detectRunner struct {
	in    DetectInput
	env   execution
	slots int // how many run side by side
	done  map[moduleKey]outcome
}

// all makes sure that every member that fits the run image has an outcome. It returns those that are new, in
// order. An error means that the runner failed, not a buildpack.
func (r *detectRunner) all(ctx context.Context, members []member) ([]moduleKey, error) {
	var fresh []*cnb.Descriptor
	for _, m := range members {
		if _, ok := r.done[keyOf(m.descriptor)]; !ok && m.unfit == "" {
			fresh = append(fresh, m.descriptor)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	scratch, err := os.OpenRoot(r.in.Dirs.Host(r.in.Dirs.scratch()))
	if err != nil {
		return nil, fmt.Errorf("open the directory for build plans: %w", err)
	}
	defer scratch.Close()
	outcomes := make([]outcome, len(fresh))
	if err := r.sideBySide(ctx, scratch, fresh, outcomes); err != nil {
		return nil, err
	}
	keys := make([]moduleKey, len(fresh))
	for i, d := range fresh {
		keys[i] = keyOf(d)
		r.done[keys[i]] = outcomes[i]
	}
	return keys, nil
}

// sideBySide fills outcomes. The first failure of the runner ends all. Detects of one group run as one user, so each
// could change the plan of another, as each could change the app: buildpacks of a group have to trust each other.
// What none of them reaches is the engine's own state, and nothing that a detect started is alive in the build.
func (r *detectRunner) sideBySide(ctx context.Context, scratch *os.Root, ds []*cnb.Descriptor, outcomes []outcome) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, r.slots) // one entry for each detect that runs
	for i, d := range ds {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			o, err := r.one(ctx, scratch, d)
			if err != nil {
				cancel(err)
			}
			outcomes[i] = o
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// one runs bin/detect of a buildpack and reads its plan.
func (r *detectRunner) one(ctx context.Context, scratch *os.Root, d *cnb.Descriptor) (outcome, error) {
	if !d.HasDetect {
		return r.prepared(d), nil
	}
	dir, err := newScratchDir(r.in.Dirs, scratch, PhaseDetect)
	if err != nil {
		return outcome{}, fmt.Errorf("make the plan of buildpack %s: %w", d.Ref, err)
	}
	defer dir.Close()
	defer scratch.RemoveAll(path.Base(dir.Name()))
	if err := r.emptyPlan(dir); err != nil {
		return outcome{}, fmt.Errorf("make the plan of buildpack %s: %w", d.Ref, err)
	}
	cmd, err := r.command(d, path.Join(r.in.Dirs.scratch(), path.Base(dir.Name()), planFile))
	if err != nil {
		return outcome{}, err
	}
	start := time.Now()
	err = r.in.Runner.Run(ctx, cmd)
	o, err := judgeExit(err)
	if err != nil {
		return outcome{}, fmt.Errorf("run detect of buildpack %s: %w", d.Ref, err)
	}
	o.duration = time.Since(start)
	if o.kind == EventDetectPass {
		if o.plan, err = readBuildPlan(dir, planFile, d); err != nil {
			o = outcome{kind: EventDetectError, reason: err.Error(), duration: o.duration}
		}
	}
	return o, nil
}

// prepared is the outcome of what has no bin/detect: an extension's detect/plan.toml is its plan then.
func (r *detectRunner) prepared(d *cnb.Descriptor) outcome {
	if !d.Extension {
		return outcome{kind: EventDetectPass}
	}
	dir, err := os.OpenRoot(r.in.Dirs.Host(d.Path))
	if err != nil {
		return outcome{kind: EventDetectError, reason: "open the extension's directory: " + err.Error()}
	}
	defer dir.Close()
	plan, err := readBuildPlan(dir, "detect/"+planFile, d)
	if err != nil {
		return outcome{kind: EventDetectError, reason: err.Error()}
	}
	return outcome{kind: EventDetectPass, plan: plan}
}

// planFile is the name of the file that CNB_BUILD_PLAN_PATH and CNB_BP_PLAN_PATH point to.
const planFile = "plan.toml"

func (r *detectRunner) emptyPlan(dir *os.Root) error {
	f, err := dir.OpenFile(planFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), r.in.Dirs.chown(dir, planFile))
}

// command is the execution of bin/detect. Paths go both ways, as arguments and in the environment, because
// buildpacks of every age are in use.
func (r *detectRunner) command(d *cnb.Descriptor, plan string) (Cmd, error) {
	platform := r.in.Dirs.Platform
	env, err := r.env.environ(d, map[string]string{"CNB_PLATFORM_DIR": platform, "CNB_BUILD_PLAN_PATH": plan})
	if err != nil {
		return Cmd{}, err
	}
	cmd := Cmd{
		Phase: PhaseDetect, Buildpack: d.Ref,
		Path: path.Join(d.Path, "bin", "detect"),
		Args: []string{platform, plan},
		Env:  env,
		Dir:  r.in.Dirs.App,
	}
	if r.in.Stdio != nil {
		cmd.Stdout, cmd.Stderr = r.in.Stdio(d.Ref)
	}
	return cmd, nil
}

// judgeExit turns what the runner says into an outcome. An error is the runner's own.
func judgeExit(err error) (outcome, error) {
	if err == nil {
		return outcome{kind: EventDetectPass}, nil
	}
	if e, ok := errors.AsType[*ExitError](err); ok {
		switch {
		case e.Code == statusFail && e.Signal == "" && !e.OutOfMemory:
			return outcome{kind: EventDetectFail, code: e.Code, reason: "bin/detect said no (exit status 100)"}, nil
		case e.OutOfMemory:
			return outcome{kind: EventDetectError, code: e.Code, reason: "bin/detect was killed: out of memory"}, nil
		case e.Signal != "":
			return outcome{kind: EventDetectError, code: e.Code, reason: "bin/detect was ended by signal " + e.Signal}, nil
		}
		return outcome{kind: EventDetectError, code: e.Code, reason: fmt.Sprintf("bin/detect exited with status %d (0 is yes, 100 is no)", e.Code)}, nil
	}
	if e, ok := errors.AsType[*StartError](err); ok {
		return outcome{kind: EventDetectError, reason: "bin/detect could not be started: " + e.Reason}, nil
	}
	return outcome{}, err
}

// readBuildPlan reads what bin/detect left, or an extension has in its place. No file is an empty plan.
func readBuildPlan(dir *os.Root, name string, d *cnb.Descriptor) (cnb.BuildPlan, error) {
	b, err := cnb.ReadFileIn(dir, name, cnb.MaxBuildFile)
	if errors.Is(err, fs.ErrNotExist) {
		return cnb.BuildPlan{}, nil
	}
	if err != nil {
		return cnb.BuildPlan{}, fmt.Errorf("read the build plan: %w", err)
	}
	p, err := cnb.DecodeBuildPlan("build plan", b)
	if err != nil {
		return cnb.BuildPlan{}, err
	}
	if err := d.CheckPlan(p); err != nil {
		return cnb.BuildPlan{}, errors.New(strings.TrimPrefix(err.Error(), module(d.Extension)+" "+d.String()+": "))
	}
	return p, nil
}

// newScratchDir makes a directory for one execution below scratch, for the buildpacks' user. Nothing that has its
// name already is used.
func newScratchDir(dirs Dirs, scratch *os.Root, name string) (*os.Root, error) {
	for n := range 1000 {
		unique := fmt.Sprintf("%s.%d", name, n)
		err := scratch.Mkdir(unique, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := dirs.chown(scratch, unique); err != nil {
			return nil, err
		}
		return scratch.OpenRoot(unique)
	}
	return nil, fmt.Errorf("%s: 1000 directories of the name %s are in the way", scratch.Name(), name)
}
