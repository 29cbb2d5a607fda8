package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/transcript"
)

// followFlags say how a build is watched that was just made.
type followFlags struct{ detach, raw bool }

func (f *followFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.detach, "detach", false, "print the build and leave it alone")
	cmd.Flags().BoolVar(&f.raw, "raw", false, "write the log as it was printed, whatever it does to a terminal")
}

// shownLog is where a log goes to be read: made safe, in colours on a terminal, as text elsewhere. close ends it.
func (a *app) shownLog(raw bool) (w io.Writer, close func() error) {
	nothing := func() error { return nil }
	switch {
	case a.hidesOutput():
		return io.Discard, nothing
	case raw:
		return a.stdout, nothing
	}
	d := logs.NewPlain(a.stdout)
	if a.paint(a.stdout).on {
		d = logs.NewDisplay(a.stdout)
	}
	return d, d.Close
}

func (a *app) buildLogsCommand() *cobra.Command {
	var follow, raw bool
	cmd := &cobra.Command{
		Use: "logs [BUILD]", Short: "Print a build's log; with --follow until the build has ended",
		Long: `Print a build's log as far as there is one. With --follow it goes on until the build
has ended, over broken connections too, and the exit code is the build's.

` + serviceCodes,
		Example: `  slipway builds logs
  slipway builds logs 12 --app my-app --follow
  slipway builds logs 12 --raw > build.log`,
		Args: wants("[BUILD]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onBuild(cmd.Context(), args, func(ctx context.Context, c *client.Client, b client.Build) error {
				if follow {
					return a.watch(ctx, c, b, raw)
				}
				return a.printLog(ctx, c, b, raw)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the build has ended")
	cmd.Flags().BoolVar(&raw, "raw", false, "write it as it was printed, whatever it does to a terminal")
	return cmd
}

// printLog prints a log, whatever --quiet says: it was asked for.
func (a *app) printLog(ctx context.Context, c *client.Client, b client.Build, raw bool) error {
	if a.data() {
		return usagef("slipway builds logs: a log is text: leave out --output-format, or see slipway builds info")
	}
	a.quiet = false
	w, end := a.shownLog(raw)
	_, err := c.Log(ctx, client.BuildLog(b.App.Name, b.ID), 0, w)
	return errors.Join(err, end())
}

// watch follows a build to its end, tells how it ended, and ends slipway accordingly.
func (a *app) watch(ctx context.Context, c *client.Client, b client.Build, raw bool) error {
	w, end := a.shownLog(raw)
	_, err := c.Follow(ctx, client.BuildLog(b.App.Name, b.ID), 0, w)
	err = errors.Join(err, end())
	if ctx.Err() != nil {
		name := transcript.Clean(b.App.Name, false)
		a.note("build %d goes on: slipway builds logs %d -f --app %s, slipway builds cancel %d --app %s", b.Number, b.Number, name, b.Number, name)
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	// The end of the log follows the record of the build.
	after, err := c.Build(ctx, b.App.Name, b.ID)
	if err != nil {
		return err
	}
	if err := a.print(after, func(out io.Writer) { a.showEnd(out, after) }); err != nil {
		return err
	}
	return a.outcome(after)
}

// showEnd is the end of a build that went well; that of another is the error.
func (a *app) showEnd(out io.Writer, b client.Build) {
	if b.State != "succeeded" {
		return
	}
	image := ""
	if b.Result != nil {
		image = transcript.Clean(b.Result.Repository+"@"+b.Result.Digest, false)
	}
	if a.quiet {
		fmt.Fprintln(out, image)
		return
	}
	release := ""
	if b.Release != nil {
		release = ": release " + releaseText(*b.Release)
	}
	fmt.Fprintf(out, "%s\n", a.paint(out).good.Render(fmt.Sprintf("Build %d of %s succeeded%s", b.Number, transcript.Clean(b.App.Name, false), release)))
	if image != "" {
		fmt.Fprintf(out, "  image  %s\n", image)
	}
	fmt.Fprintf(out, "  time   %s\n", tookText(b))
	if b.Release != nil && b.Release.Status != build.ReleaseSucceeded {
		fmt.Fprintf(out, "  see    slipway releases logs %d -f --app %s\n", b.Release.Version, transcript.Clean(b.App.Name, false))
	}
}

// accepted is what follows a new build: its log, or with --detach the build alone.
func (a *app) accepted(ctx context.Context, c *client.Client, b client.Build, f followFlags) error {
	if f.detach {
		return a.print(b, func(w io.Writer) {
			if a.quiet {
				fmt.Fprintln(w, b.Number)
				return
			}
			fmt.Fprintf(w, "Build %d of %s is queued: slipway builds logs %d -f --app %s\n", b.Number, transcript.Clean(b.App.Name, false), b.Number, transcript.Clean(b.App.Name, false))
		})
	}
	if !a.hidesOutput() {
		fmt.Fprintf(a.stderr, "Build %d of %s\n", b.Number, transcript.Clean(b.App.Name, false))
		if b.Place != nil && placeText(*b.Place) != "" {
			fmt.Fprintf(a.stderr, "It waits for %s\n", placeText(*b.Place))
		}
	}
	return a.watch(ctx, c, b, f.raw)
}
