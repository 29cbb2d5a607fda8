package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A buildRun is one Build: what it works on, and what has come together so far.
type buildRun struct {
	in        BuildInput
	emit      func(Event)
	env       execution
	plan      cnb.Plan // entries that no buildpack has met yet
	layers    *os.Root
	scratch   *os.Root
	processes processes
	built     Built
}

// step runs one buildpack and takes in what it leaves.
func (b *buildRun) step(ctx context.Context, ref cnb.Ref) error {
	d, err := b.in.Catalog.Buildpack(ref)
	if err != nil {
		return err
	}
	if err := checkAPI(d); err != nil {
		return err
	}
	b.emit(Event{Kind: EventBuildStart, Buildpack: d.Ref})
	start := time.Now()
	required := entriesOf(b.plan, cnb.Provider{Ref: d.Ref})
	if err := b.run(ctx, d, required); err != nil {
		return err
	}
	out, err := readOutput(b.layers, b.in.Dirs, d)
	if err != nil {
		return err
	}
	for _, l := range out.layers {
		if !l.Types.Build || !l.Contents {
			continue
		}
		name := path.Join(d.ID.Dir(), string(l.Name))
		if err := b.env.addLayer(b.layers, name, path.Join(b.in.Dirs.Layers, name)); err != nil {
			return b.outputError(d, string(l.Name), err)
		}
	}
	if err := b.meet(d, required, out.build.Unmet); err != nil {
		return err
	}
	if err := b.merge(d, out); err != nil {
		return err
	}
	b.emit(Event{Kind: EventBuildDone, Buildpack: d.Ref, Duration: time.Since(start)})
	return nil
}

// run makes the layers directory and the plan of a buildpack and runs its bin/build.
func (b *buildRun) run(ctx context.Context, d *cnb.Descriptor, required []cnb.Require) error {
	if err := b.in.Dirs.ownDir(b.layers, d.ID.Dir()); err != nil {
		return fmt.Errorf("make the layers directory of buildpack %s: %w", d.Ref, err)
	}
	dir, err := newScratchDir(b.in.Dirs, b.scratch, PhaseBuild)
	if err != nil {
		return fmt.Errorf("make the plan of buildpack %s: %w", d.Ref, err)
	}
	defer dir.Close()
	defer b.scratch.RemoveAll(path.Base(dir.Name()))
	if err := writePlan(b.in.Dirs, dir, required); err != nil {
		return fmt.Errorf("write the plan of buildpack %s: %w", d.Ref, err)
	}
	cmd, err := b.command(d, path.Join(b.in.Dirs.scratch(), path.Base(dir.Name()), planFile))
	if err != nil {
		return err
	}
	err = b.in.Runner.Run(ctx, cmd)
	if err == nil {
		return nil
	}
	_, exited := errors.AsType[*ExitError](err)
	_, unstarted := errors.AsType[*StartError](err)
	if exited || unstarted {
		return err
	}
	return fmt.Errorf("run build of buildpack %s: %w", d.Ref, err)
}

// writePlan writes the plan of one buildpack or extension into its scratch directory.
func writePlan(dirs Dirs, dir *os.Root, required []cnb.Require) error {
	text, err := cnb.EncodeBuildpackPlan(cnb.BuildpackPlan{Entries: required})
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(planFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close(), dirs.chown(dir, planFile))
}

// command is the execution of bin/build; as in detect, paths go both ways.
func (b *buildRun) command(d *cnb.Descriptor, plan string) (Cmd, error) {
	layers, platform := b.in.Dirs.LayersDir(d.ID), b.in.Dirs.Platform
	env, err := b.env.environ(d, map[string]string{
		"CNB_LAYERS_DIR": layers, "CNB_PLATFORM_DIR": platform, "CNB_BP_PLAN_PATH": plan,
	})
	if err != nil {
		return Cmd{}, err
	}
	cmd := Cmd{
		Phase: PhaseBuild, Buildpack: d.Ref,
		Path: path.Join(d.Path, "bin", "build"),
		Args: []string{layers, platform, plan},
		Env:  env,
		Dir:  b.in.Dirs.App,
	}
	if b.in.Stdio != nil {
		cmd.Stdout, cmd.Stderr = b.in.Stdio(d.Ref)
	}
	return cmd, nil
}

// entriesOf is what the plan still asks of a buildpack or an extension: the requirements of every entry that it can
// provide. Versions do not count.
func entriesOf(p cnb.Plan, by cnb.Provider) []cnb.Require {
	var out []cnb.Require
	for _, e := range p.Entries {
		if slices.ContainsFunc(e.Providers, func(p cnb.Provider) bool { return p.ID == by.ID && p.Extension == by.Extension }) {
			out = append(out, e.Requires...)
		}
	}
	return out
}

// meet takes every requirement out of the plan that the buildpack was given, except those that it left to the next
// provider of the same name (buildpack, "Unmet Buildpack Plan Entries").
func (b *buildRun) meet(d *cnb.Descriptor, required []cnb.Require, unmet []cnb.Provide) error {
	met := namesOf(required)
	for _, u := range unmet {
		if !slices.ContainsFunc(required, func(r cnb.Require) bool { return r.Name == u.Name }) {
			return b.outputError(d, "build.toml", fmt.Errorf("unmet %q is not in the buildpack's plan: name only what is", u.Name))
		}
		delete(met, u.Name)
	}
	b.plan = withoutMet(b.plan, met)
	return nil
}

func namesOf(rs []cnb.Require) map[string]bool {
	names := map[string]bool{}
	for _, r := range rs {
		names[r.Name] = true
	}
	return names
}

// withoutMet is the plan without the entries of the names in met.
func withoutMet(p cnb.Plan, met map[string]bool) cnb.Plan {
	return cnb.Plan{Entries: slices.DeleteFunc(slices.Clone(p.Entries), func(e cnb.PlanEntry) bool {
		return slices.ContainsFunc(e.Requires, func(r cnb.Require) bool { return met[r.Name] })
	})}
}

// outputError blames a file, or a directory, in the buildpack's layers directory.
func (b *buildRun) outputError(d *cnb.Descriptor, name string, err error) error {
	return outputError(b.in.Dirs, d, name, err)
}

func outputError(dirs Dirs, d *cnb.Descriptor, name string, err error) error {
	if _, ok := errors.AsType[*OutputError](err); ok {
		return err
	}
	file := path.Join(dirs.LayersDir(d.ID), name)
	text := strings.TrimPrefix(err.Error(), "buildpack "+d.String()+": ")
	if rest, ok := strings.CutPrefix(text, file); ok {
		return &OutputError{Phase: PhaseBuild, Buildpack: d.Ref, File: file + locationOf(&rest), Err: textError{strings.TrimPrefix(rest, ": "), err}}
	}
	return &OutputError{Phase: PhaseBuild, Buildpack: d.Ref, File: file, Err: textError{text, err}}
}

// locationOf takes ":line:column" off the front of an error's rest.
func locationOf(rest *string) string {
	n := 0
	for n < len(*rest) && ((*rest)[n] == ':' || '0' <= (*rest)[n] && (*rest)[n] <= '9') && !strings.HasPrefix((*rest)[n:], ": ") {
		n++
	}
	location := (*rest)[:n]
	*rest = (*rest)[n:]
	return location
}

// textError is err with other words.
type textError struct {
	text string
	err  error
}

func (e textError) Error() string { return e.text }
func (e textError) Unwrap() error { return e.err }
