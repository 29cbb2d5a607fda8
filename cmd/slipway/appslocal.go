package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) appLogsCommand() *cobra.Command {
	var follow, raw bool
	var lines int
	cmd := &cobra.Command{
		Use: "logs [APP]", Short: "Print what an app has printed that runs on the service's machine", ValidArgsFunction: a.completeApps,
		Long: "Print the last lines of what an app has printed that runs on the service's machine\n(slipway deployer local); of the log of a build see slipway builds logs.",
		Args: wants("[APP]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lines < 0 {
				return usagef("--lines %d: want 0 or more", lines)
			}
			a.named(args)
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				w, end := a.shownLog(raw)
				return errors.Join(c.AppLog(ctx, app, lines, follow, w), end())
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what it prints from now on")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many to begin with")
	cmd.Flags().BoolVar(&raw, "raw", false, "write it as it was printed, whatever it does to a terminal")
	return cmd
}

func (a *app) appRunCommand() *cobra.Command {
	var r client.RunRequest
	var limit time.Duration
	var raw bool
	cmd := &cobra.Command{
		Use: "run -- COMMAND [ARG...]", Short: "Run a command once in the image of an app's release, on the service's machine",
		Long: `Run a command once in the image of an app's release, on the service's machine, with the
app's config vars. What it prints comes here, and its exit code is slipway's. It has no
input and no terminal. Ctrl-C ends it.`,
		Example: `  slipway apps run --app my-app -- bin/migrate --all
  slipway apps run --script 'env | sort' --release v3`,
		Args: wants("[COMMAND]", "[ARG...]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Command, r.Time = args, int64(limit/time.Second)
			if (len(args) == 0) == (r.Script == "") {
				return usagef("slipway apps run: give a command behind --, or --script")
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error { return a.runOnce(ctx, c, app, r, raw) })
		},
	}
	cmd.Flags().StringVar(&r.Script, "script", "", "`TEXT` for the image's shell, instead of a command")
	cmd.Flags().StringVar(&r.Release, "release", "", "`RELEASE` whose image it is (default: the current one)")
	cmd.Flags().DurationVar(&limit, "time", 0, "how long it may take (default 10m)")
	cmd.Flags().BoolVar(&raw, "raw", false, "write what it prints as it is, whatever that does to a terminal")
	return cmd
}

func (a *app) runOnce(ctx context.Context, c *client.Client, app string, r client.RunRequest, raw bool) error {
	run, err := c.StartRun(ctx, app, r)
	if err != nil {
		return err
	}
	w, end := a.shownLog(raw)
	_, err = c.Follow(ctx, client.RunLog(app, run.ID), 0, w)
	err = errors.Join(err, end())
	if ctx.Err() != nil {
		clean, done := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer done()
		_, err := c.CancelRun(clean, app, run.ID)
		return errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return err
	}
	if run, err = c.RunOf(ctx, app, run.ID); err != nil {
		return err
	}
	if a.json() {
		return a.print(run, func(io.Writer) {})
	}
	switch {
	case run.Exit != nil && *run.Exit != 0:
		return &statusError{code: *run.Exit, quiet: true}
	case run.State != build.Succeeded:
		return errors.New(transcript.Clean(run.Failure, false))
	}
	return nil
}
