package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// rebaseFlags are the flags of rebase. Names are pack's where pack has them.
type rebaseFlags struct {
	publish, force                           bool
	output, runImage, previous, pull, report string
	tags                                     []string
}

func (a *app) rebaseCommand() *cobra.Command {
	var f rebaseFlags
	cmd := &cobra.Command{
		Use: "rebase IMAGE", Short: "Put a built image on a newer run image",
		Long: `Put the layers of a built image on another run image, without a build.

IMAGE is looked for in Docker, then in the local image store; in its registry
with --publish; oci:DIR is an OCI layout directory. The result takes its place.
The run image is the image's own, as it is called in the image, unless
--run-image names another. In a registry no layer is downloaded.`,
		Example: `  slipway rebase my-app
  slipway rebase registry.example.com/team/app:1 --publish
  slipway rebase my-app:patched --previous-image my-app --run-image slipway/run:trixie`,
		Args: wants("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.rebase(cmd.Context(), f, args[0]) },
	}
	s := cmd.Flags()
	s.SortFlags = false
	s.BoolVar(&f.publish, "publish", false, "rebase the image in the registry of its name")
	s.StringVar(&f.output, "output", "", "where the image goes: docker, store, registry or oci:DIR (default: where it is)")
	s.StringSliceVarP(&f.tags, "tag", "t", nil, "further name of the rebased image, in the same registry; repeatable")
	s.StringVar(&f.runImage, "run-image", "", "run `IMAGE` to put it on (default: the image's own)")
	s.StringVar(&f.previous, "previous-image", "", "`IMAGE` to rebase; it stays, and IMAGE names the result")
	s.StringVar(&f.pull, "pull-policy", "", "when the run image is looked for in its registry: always, if-not-present or never (default if-not-present, always with --publish)")
	s.BoolVar(&f.force, "force", false, "rebase although the image or the run image says that it should not be")
	s.StringVar(&f.report, "report-output-dir", "", "`DIR` that gets report.toml")
	a.registryFlags(cmd)
	return cmd
}

func (a *app) rebase(ctx context.Context, f rebaseFlags, name string) error {
	o, err := a.rebaseOptions(f, name)
	if err != nil {
		return err
	}
	return a.withMachine(ctx, func(ctx context.Context, m *platform.Machine) error {
		r, err := platform.Rebase(ctx, m, o)
		if err != nil {
			return adviseForce(err)
		}
		for _, w := range r.Warnings {
			a.warn("%s", transcript.Clean(w, false))
		}
		if r.Current && !o.Output.Publish && o.Pull != image.PullAlways {
			a.note("the image stood on this run image already; --pull-policy always asks the registry for a newer one")
		}
		return a.print(r, func(w io.Writer) { a.rebased(w, r) })
	})
}

func (a *app) rebaseOptions(f rebaseFlags, name string) (o platform.RebaseOptions, err error) {
	o.Tags, o.App, o.RunImage, o.Force, o.ReportDir = f.tags, f.previous, f.runImage, f.force, f.report
	if o.Image, o.Output, err = output(name, f.output, f.publish); err != nil {
		return o, err
	}
	if o.App == "" && o.Output.OCI != "" && !strings.HasPrefix(name, "oci:") {
		o.App = name // the directory is for the result
	}
	for _, n := range append([]string{o.Image}, f.tags...) {
		if _, err := newName(n); err != nil {
			return o, err
		}
	}
	for flag, n := range map[string]string{"run-image": f.runImage, "previous-image": f.previous} {
		if n == "" {
			continue
		}
		if _, err := image.ParseRef(n); err != nil {
			return o, usagef("--%s: %w", flag, err)
		}
	}
	s, err := a.config()
	if err != nil {
		return o, err
	}
	o.RunImageMirrors = s.RunImageMirrors
	o.Pull, err = a.pullPolicy(f.pull, s)
	if o.Output.Publish && f.pull == "" && s.PullPolicy == "" {
		o.Pull = image.PullAlways
	}
	return o, err
}

// adviseForce says in the words of our command line what was refused, and how to let it pass.
func adviseForce(err error) error {
	e, ok := errors.AsType[*builder.RebaseError](err)
	if !ok || !e.Force {
		return err
	}
	text := strings.Replace(strings.TrimSuffix(err.Error(), "; please provide -force to override"), ": rebase app image: ", ": ", 1)
	return &builder.PhaseError{Phase: "rebase", Err: fmt.Errorf("%s (--force does it nevertheless)", text)}
}

// rebased tells what was done.
func (a *app) rebased(w io.Writer, r *platform.Rebased) {
	// It is told as a build's result is, by the same words.
	res := &platform.Result{Image: r.Image, Where: r.Where, Digest: r.Digest, ImageID: r.ImageID}
	if a.quiet {
		(&quietView{out: w}).result(res)
		return
	}
	fmt.Fprintln(w, a.paint(a.stdout).good.Render(fmt.Sprintf("Successfully rebased image '%s'", r.Image)))
	row := func(name, value string) { fmt.Fprintf(w, "  %-10s %s\n", name, transcript.Clean(value, false)) }
	if len(r.Tags) > 0 {
		row("tags", strings.Join(r.Tags, ", "))
	}
	row("run image", r.RunImageName+" ("+r.RunImage+")")
	row("digest", r.Digest)
	row("image id", r.ImageID)
	row("where", place(res))
}
