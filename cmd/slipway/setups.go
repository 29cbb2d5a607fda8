package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) setupsCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return a.listSetups(cmd.Context()) }
	one := func(use, short string, f func(context.Context, *client.Client, string) error) *cobra.Command {
		return &cobra.Command{Use: use + " SETUP", Short: short, Args: wants("SETUP"), RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service()
			if err != nil {
				return err
			}
			return f(cmd.Context(), c, args[0])
		}}
	}
	cmd := &cobra.Command{
		Use: "setups", Short: "List what became of templates that you had set up",
		Long: "List your last setups of templates, the newest first. One that has failed has removed its\napp, and stays with its logs. SETUP is an id.\n\n" + serviceCodes,
		Example: `  slipway setups
  slipway setups logs 0198c0de-... --build`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	var ofBuild, follow, raw bool
	logs := one("logs", "Print what the postdeploy of a setup printed, or the log of its build", func(ctx context.Context, c *client.Client, id string) error {
		if a.data() {
			return usagef("slipway setups logs: a log is text: leave out --output-format, or see slipway setups info")
		}
		return a.printSetupLog(ctx, c, id, ofBuild, follow, raw)
	})
	logs.Flags().BoolVar(&ofBuild, "build", false, "the log of its build")
	logs.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it has ended")
	logs.Flags().BoolVar(&raw, "raw", false, "write it as it was printed, whatever it does to a terminal")
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List your last setups", Args: wants(), RunE: list},
		one("info", "Show a setup, with its steps", a.setupInfo), logs,
		one("cancel", "End a setup and remove its app", func(ctx context.Context, c *client.Client, id string) error {
			v, err := c.CancelSetup(ctx, id)
			if err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) {
				if !a.quiet {
					fmt.Fprintf(w, "The setup of %s is being cancelled\n", transcript.Clean(v.App.Name, false))
				}
			})
		}),
	)
	return a.serviceFlags(cmd)
}

func (a *app) listSetups(ctx context.Context) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	all, err := client.Collect(c.Setups(ctx), 0)
	if err != nil {
		return err
	}
	return showList(a, all, "SETUP APP STATUS CREATED FAILURE", func(v client.Setup) []string {
		return []string{v.ID, v.App.Name, string(v.Status), timeText(&v.CreatedAt), v.Failure}
	})
}

func (a *app) setupInfo(ctx context.Context, c *client.Client, id string) error {
	v, err := c.Setup(ctx, id)
	if err != nil {
		return err
	}
	return a.print(v, func(w io.Writer) {
		if a.quiet {
			fmt.Fprintln(w, v.Status)
			return
		}
		row, t := rows(w), v.Template
		row("Setup", v.ID)
		row("App", v.App.Name)
		row("Status", string(v.Status))
		row("Failure", v.Failure)
		row("Template", strings.TrimSpace(t.Name+" "+firstOf(t.Repository, t.URL, "(an archive)")))
		row("Commit", t.Commit)
		row("Directory", t.Dir)
		row("Checksum", t.Checksum)
		for _, s := range v.Steps {
			text := string(s.State)
			if s.Note != "" {
				text += ": " + s.Note
			}
			row(strings.ToUpper(string(s.Name[:1]))+string(s.Name[1:]), text)
		}
		for _, e := range append(v.Errors, v.Warnings...) {
			row("Finding", e)
		}
		row("Image", v.Image)
		row("URL", firstOf(v.Success, v.URL))
	})
}

// printSetupLog prints a log, whatever --quiet says: it was asked for.
func (a *app) printSetupLog(ctx context.Context, c *client.Client, id string, ofBuild, follow, raw bool) error {
	of := client.SetupLog(id)
	if ofBuild {
		of = client.SetupBuildLog(id)
	}
	a.quiet = false
	w, end := a.shownLog(raw)
	var err error
	if follow {
		var state build.State
		if state, err = c.Follow(ctx, of, 0, w); err == nil && state != build.Succeeded {
			err = &statusError{code: codeAppFailed, text: fmt.Sprintf("it %s", state)}
		}
	} else {
		_, err = c.Log(ctx, of, 0, w)
	}
	return errors.Join(end(), err)
}
