package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) buildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build IMAGE",
		Short: "Build an app's source into an image",
		Long: `Build an app's source into an image with the buildpacks of a builder.

IMAGE names the result. It goes to Docker, to the local image store with
--output store, to its registry with --publish, or to an OCI layout directory
with --output oci:DIR (IMAGE may also be oci:DIR itself).`,
		Example: `  slipway build my-app --path ./my-app --run
  slipway build registry.example.com/team/app:1 --publish --tag registry.example.com/team/app:latest
  slipway build my-app --buildpack ./my-buildpack --env BP_NODE_VERSION=22
  slipway build my-app --output oci:./my-app.oci -q`,
		Args: wants("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.build(cmd.Context(), &f, args[0]) },
	}
	f.add(cmd)
	a.registryFlags(cmd)
	return cmd
}

// build runs one build and shows it.
func (a *app) build(ctx context.Context, f *buildFlags, name string) error {
	for _, n := range f.notes() {
		a.note("%s", n)
	}
	if err := a.checkOnError(f.onError); err != nil {
		return err
	}
	o, err := a.options(f, name)
	if err != nil {
		return err
	}
	if a.getenv("GOGC") == "" {
		debug.SetGCPercent(400) // one build is over before it has made much garbage
	}
	m, err := a.machine(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	if (o.Output.OCI == "" && !o.Output.Store && !o.Output.Publish || f.run) && m.Engine == nil && m.NoRuntime != nil {
		return m.NoRuntime
	}
	v := a.view()
	defer v.close()
	var traced *tracer
	if f.trace != "" {
		traced = newTracer(v, time.Now)
		v = traced
	}
	if f.onError != "" {
		o.Stops = a.stops(v, platform.Stops{Failed: true})
	}
	res, err := platform.Build(ctx, m, o, v)
	v.close()
	if traced != nil {
		err = errors.Join(err, traced.write(f.trace, err))
	}
	if err != nil {
		return adviseBuilder(o, err)
	}
	v.result(res)
	if !f.run {
		return nil
	}
	arg := res.Image
	if strings.HasPrefix(res.Where, "oci:") {
		arg = res.Where
	}
	return a.start(ctx, m, arg, runOptions{detach: f.detach, check: f.check, wait: defaultWait, policy: image.PullNever})
}

// checkOnError reads --on-error.
func (a *app) checkOnError(what string) error {
	switch what {
	case "":
		return nil
	case "shell":
		return a.checkShell()
	}
	return usagef("--on-error %s: want shell", what)
}

// adviseBuilder says where the default builder comes from, where it is that which is missing. A nil error stays nil.
func adviseBuilder(o platform.Options, err error) error {
	if err == nil || o.Builder != "" || o.DefaultBuilder != builtinBuilder || !strings.HasPrefix(err.Error(), "builder: image \""+builtinBuilder) {
		return err
	}
	return fmt.Errorf("the default builder %s is not on this machine: make it with make builder, or name another with --builder or slipway config default-builder (%w)", builtinBuilder, err)
}

// output reads --publish and --output, and IMAGE where it is "oci:DIR". The result's name comes back.
func output(name, flag string, publish bool) (string, platform.Output, error) {
	out := platform.Output{Publish: publish}
	if dir, ok := strings.CutPrefix(name, "oci:"); ok {
		if flag != "" || publish {
			return "", out, usagef("image %s says where it goes: leave out --output and --publish", name)
		}
		own, err := layoutName(dir)
		if err != nil {
			return "", out, err
		}
		out.OCI = dir
		return own, out, nil
	}
	if flag != "" && publish && flag != "registry" {
		return "", out, usagef("--publish and --output %s: choose one", flag)
	}
	switch dir, isLayout := strings.CutPrefix(flag, "oci:"); {
	case isLayout && dir == "":
		return "", out, usagef("--output oci: wants a directory: oci:DIR")
	case isLayout:
		out.OCI = dir
	case flag == "store":
		out.Store = true
	case flag == "registry":
		out.Publish = true
	case flag != "" && flag != "docker":
		return "", out, usagef("--output %s: want docker, store, registry or oci:DIR", flag)
	}
	return name, out, nil
}

// layoutName makes an image name of a layout directory's own.
func layoutName(arg string) (string, error) {
	ref, err := image.ParseRef("oci:" + arg)
	if err != nil {
		return "", &usageError{err}
	}
	dir := strings.TrimRight(ref.Dir(), "/")
	base := strings.ToLower(dir[strings.LastIndexByte(dir, '/')+1:])
	if t := ref.Tag(); t != "" {
		base += ":" + t
	}
	if r, err := image.ParseRef(base); err != nil || !r.IsName() {
		return "", usagef("image oci:%s: %q cannot be an image's name: use slipway build NAME --output oci:%s", arg, base, arg)
	}
	return base, nil
}

// notes are for flags of pack that change nothing here: one line each.
func (f *buildFlags) notes() []string {
	var out []string
	for _, g := range ignoredFlags() {
		if fl := f.set.Lookup(g.name); fl != nil && fl.Changed {
			out = append(out, fmt.Sprintf("--%s changes nothing here: %s", g.name, g.why))
		}
	}
	return out
}
