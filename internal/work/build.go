package work

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// build runs one job on the worker's machine.
func (w *Worker) build(ctx context.Context, j *Job, s *screen) (res *platform.Result, err error) {
	m := w.Machine
	if len(j.Credentials) > 0 {
		if m, err = w.Registry(j.Credentials); err != nil {
			return nil, fmt.Errorf("credentials of the build: %w", err)
		}
	}
	source, done, err := w.Sources(ctx, j, s.line)
	if err != nil {
		return nil, err
	}
	defer done()
	bindings, remove, err := w.bindings(j)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if res, err = platform.Build(ctx, m, w.options(j, source, bindings), s); err == nil {
		if err := trim(m.Store, j, s.line); err != nil {
			w.fault(fmt.Errorf("build cache of app %s: %w", j.App, err))
		}
	}
	return res, err
}

// trim drops the build cache of a job that is over its limit: all of it, for its layers were all used just now.
func trim(layers *layerstore.Store, j *Job, say func(string)) error {
	if j.Limits.Cache <= 0 {
		return nil
	}
	caches, err := layers.Caches()
	if err != nil {
		return err
	}
	for _, c := range caches {
		if c.Key != layerstore.CacheKey(j.CacheKey) || c.Bytes <= j.Limits.Cache {
			continue
		}
		if err := layers.RemoveCache(c.Key); err != nil {
			return err
		}
		say(fmt.Sprintf("The build cache has %s, over its limit of %s: it is dropped, and the next build begins without one", transcript.Bytes(c.Bytes), transcript.Bytes(j.Limits.Cache)))
	}
	return nil
}

// options are the common ones, with the job's.
func (w *Worker) options(j *Job, source string, bindings map[string]string) platform.Options {
	o := w.Options
	o.Image, o.Output = j.Image, platform.Output{Publish: true, ByDigest: true}
	o.Source, o.Unwrap, o.Builder, o.Buildpacks = source, j.Source.Packed, j.Builder, nil
	for _, arg := range j.Buildpacks {
		o.Buildpacks = append(o.Buildpacks, platform.Named(arg))
	}
	o.Env, o.Bindings = j.Env, bindings
	o.PreviousImage = j.Previous
	o.Cache = platform.Cache{Key: j.CacheKey, Clear: j.NoCache}
	o.Limits = platform.Limits{
		Memory: j.Limits.Memory, CPUs: j.Limits.CPUs, PIDs: j.Limits.PIDs, Disk: j.Limits.Disk, Time: j.Limits.Time, Source: j.Limits.Source,
	}
	return o
}

// bindings writes the job's service bindings to files that nobody else can read; remove takes them away.
func (w *Worker) bindings(j *Job) (dirs map[string]string, remove func() error, err error) {
	if len(j.Bindings) == 0 {
		return nil, func() error { return nil }, nil
	}
	top, err := os.MkdirTemp(w.Temp, "bindings-")
	if err != nil {
		return nil, nil, fmt.Errorf("write the bindings of the build: %w", err)
	}
	remove = func() error { return os.RemoveAll(top) }
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	defer root.Close()
	dirs = map[string]string{}
	for name, files := range j.Bindings {
		err := root.Mkdir(name, 0o700)
		for file, content := range files {
			if err == nil {
				err = root.WriteFile(filepath.Join(name, file), []byte(content), 0o600)
			}
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("write binding %q of the build: %w", name, err), remove())
		}
		dirs[name] = filepath.Join(top, name)
	}
	return dirs, remove, nil
}

// result is what the service records.
func result(r *platform.Result, j *Job) *build.Result {
	out := &build.Result{
		Repository: j.Image, Digest: r.Digest, Builder: r.Builder, RunImage: r.RunImage, Bytes: r.Bytes, Pushed: r.Pushed, Layers: r.Layers, Reused: r.Reused,
		Buildpacks: group(r), Phases: timings(r), Processes: []build.Process{}, EnvNames: slices.Sorted(maps.Keys(j.Env)),
	}
	if ref, err := image.ParseRef(j.Image); err == nil {
		out.Repository = ref.Repository()
	}
	for _, p := range r.Launch {
		out.Processes = append(out.Processes, build.Process{
			Type: string(p.Type), Command: strings.Join(slices.Concat(p.Command, p.Args), " "), Default: string(p.Type) == r.Default})
	}
	return out
}

// group is the buildpacks of a build, as far as it came.
func group(r *platform.Result) []build.Buildpack {
	out := []build.Buildpack{}
	for _, b := range r.Group {
		out = append(out, build.Buildpack{ID: string(b.ID), Version: b.Version, Homepage: b.Homepage, Image: r.Packages[b.Ref.String()]})
	}
	return out
}

// timings is what a build spent its time on, as far as it came.
func timings(r *platform.Result) (out []build.PhaseTiming) {
	for _, p := range []platform.Phase{
		platform.PhasePrepare, platform.PhaseAnalyze, platform.PhaseDetect, platform.PhaseRestore, platform.PhaseBuild, platform.PhaseExport,
	} {
		if t, ok := r.Timings[p]; ok {
			out = append(out, build.PhaseTiming{Phase: string(p), Elapsed: t})
		}
	}
	for _, what := range slices.Sorted(maps.Keys(r.Executed)) {
		phase, buildpack, _ := strings.Cut(what, " ")
		out = append(out, build.PhaseTiming{Phase: phase, Buildpack: buildpack, Elapsed: r.Executed[what]})
	}
	return out
}
