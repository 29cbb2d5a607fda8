package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

// serviceCommands are the build service and the commands that talk to it.
func (a *app) serviceCommands() []*cobra.Command {
	return []*cobra.Command{
		a.serveCommand(), a.loginCommand(), a.logoutCommand(), a.whoamiCommand(), a.statusCommand(), a.appsCommand(), a.buildsCommand(), a.releasesCommand(), a.deployerCommand(), a.deploymentsCommand(), a.setupCommand(), a.setupsCommand(),
		a.tokensCommand(), a.keysCommand(), a.usersCommand(), a.bindingsCommand(), a.credentialsCommand(), a.hooksCommand(), a.webhooksCommand(), a.statusesCommand(), a.gitCredentialCommand(),
	}
}

func (a *app) appsCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return a.listApps(cmd.Context()) }
	cmd := &cobra.Command{
		Use: "apps", Short: "List, make and change apps of the build service",
		Long: "List, make and change apps of the build service.\n\n" + serviceCodes,
		Example: `  slipway apps create my-app
  slipway apps update my-app --branch trunk --memory 2g
  slipway apps delete my-app`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List your apps", Args: wants(), RunE: list},
		a.createAppCommand(), a.appInfoCommand(), a.updateAppCommand(), a.renameAppCommand(), a.deleteAppCommand(), a.appLogsCommand(), a.appRunCommand(),
	)
	return a.appFlag(a.serviceFlags(cmd))
}

func (a *app) listApps(ctx context.Context) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	apps, err := client.Collect(c.Apps(ctx), 0)
	if err != nil {
		return err
	}
	return showList(a, apps, "APP BRANCH OWNER RELEASED", func(v client.App) []string {
		released := "-"
		if v.ReleasedAt != nil {
			released = ageText(*v.ReleasedAt, time.Now())
		}
		return []string{v.Name, v.Branch, v.Owner.Email, released}
	})
}

// named puts an argument in the place of --app.
func (a *app) named(args []string) {
	if len(args) > 0 {
		a.appName = args[0]
	}
}

func (a *app) createAppCommand() *cobra.Command {
	var f appFlags
	var noRemote bool
	cmd := &cobra.Command{
		Use: "create [NAME]", Short: "Make an app; without NAME the service finds one",
		Long: `Make an app; without NAME the service finds one. In a git work tree it becomes the
remote slipway, so that git push slipway main builds it.`,
		Example: `  slipway apps create my-app
  slipway apps create my-app --builder registry.example.com/builder --branch trunk --no-remote`,
		Args: wants("[NAME]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.named(args)
			return a.createApp(cmd.Context(), &f, noRemote)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&noRemote, "no-remote", false, "leave the git repository here alone")
	return cmd
}

func (a *app) createApp(ctx context.Context, f *appFlags, noRemote bool) error {
	change, err := f.change(client.Limits{})
	if err != nil {
		return err
	}
	if a.appName != "" {
		if _, err := checkApp(a.appName); err != nil {
			return err
		}
		change.Name = &a.appName
	}
	c, err := a.service()
	if err != nil {
		return err
	}
	app, err := c.CreateApp(ctx, change)
	if err != nil {
		return err
	}
	remote := firstOf(app.GitURL, c.GitURL(app.Name))
	added := !noRemote && a.addRemote(ctx, remote)
	return a.print(app, func(w io.Writer) {
		if a.quiet {
			fmt.Fprintln(w, transcript.Clean(app.Name, false))
			return
		}
		fmt.Fprintf(w, "Made app %s\n", transcript.Clean(app.Name, false))
		branch := transcript.Clean(app.Branch, false)
		if added {
			fmt.Fprintf(w, "Build it:  git push %s %s   or   slipway builds create\n", remoteName, branch)
		} else {
			fmt.Fprintf(w, "Build it:  git push %s %s   or   slipway builds create --app %s\n", transcript.Clean(remote, false), branch, transcript.Clean(app.Name, false))
		}
	})
}

// addRemote makes a URL the git remote slipway of the work tree here, if there is a work tree and no such remote.
func (a *app) addRemote(ctx context.Context, url string) bool {
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") || !a.inWorkTree(ctx) {
		return false
	}
	switch have := a.remote(ctx); have {
	case url:
		return true
	case "":
	default:
		a.note("the git remote %s is %s already: git remote set-url %s %s changes it", remoteName, transcript.Clean(have, false), remoteName, url)
		return false
	}
	if _, err := a.git(ctx, "remote", "add", remoteName, url); err != nil {
		a.warn("the git remote %s could not be added: %s", remoteName, oneLine(err))
		return false
	}
	return true
}

func (a *app) appInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "info [APP]", Short: "Show an app", Args: wants("[APP]"), ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.named(args)
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, name string) error {
				app, err := c.App(ctx, name)
				if err != nil {
					return err
				}
				return a.print(app, func(w io.Writer) { showApp(w, app) })
			})
		},
	}
}

func showApp(w io.Writer, app client.App) {
	row := rows(w)
	row("App", app.Name)
	row("Owner", app.Owner.Email)
	row("Git", app.GitURL)
	row("Branch", app.Branch)
	row("Builder", orText(app.Builder, "the service's own"))
	row("Buildpacks", strings.Join(app.Buildpacks, ", "))
	row("Image", app.Image)
	row("Push lost", map[string]string{"continue": "the build goes on", "cancel": "the build is cancelled"}[app.OnDisconnect])
	row("Limits", limitsText(app.Limits))
	if app.Deployer != "" && app.Deployer != build.DeployNone {
		row("Deployer", string(app.Deployer))
	}
	if d := app.Deployment; d != nil {
		row("Deployed", deployedText(*d))
		if d.URL != "" || app.Deployer == build.DeployLocal {
			row("URL", app.WebURL)
		}
	}
	row("Made", timeText(&app.CreatedAt))
	row("Released", orText(timeText(app.ReleasedAt), "never"))
}

func limitsText(l client.Limits) string {
	var parts []string
	add := func(is bool, format string, v any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, v))
		}
	}
	add(l.Time > 0, "time %s", time.Duration(l.Time)*time.Second)
	add(l.Memory > 0, "memory %s", transcript.Bytes(l.Memory))
	add(l.CPUs > 0, "cpus %g", l.CPUs)
	add(l.PIDs > 0, "processes %d", l.PIDs)
	add(l.Disk > 0, "disk %s", transcript.Bytes(l.Disk))
	add(l.Log > 0, "log %s", transcript.Bytes(l.Log))
	add(l.Source > 0, "source %s", transcript.Bytes(l.Source))
	add(l.Cache > 0, "cache %s", transcript.Bytes(l.Cache))
	return strings.Join(parts, ", ")
}

func (a *app) updateAppCommand() *cobra.Command {
	var f appFlags
	cmd := &cobra.Command{
		Use: "update [APP]", Short: "Change an app's settings; an empty value is the service's own",
		Example: `  slipway apps update --branch trunk
  slipway apps update my-app --builder "" --timeout 20m --memory 2g`,
		Args: wants("[APP]"), ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.named(args)
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, name string) error {
				app, err := c.App(ctx, name)
				if err != nil {
					return err
				}
				change, err := f.change(app.Limits)
				if err != nil {
					return err
				}
				if change == (client.AppChange{}) {
					return usagef("slipway apps update: nothing to change: see slipway apps update --help")
				}
				return a.changeApp(ctx, c, app, change)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) changeApp(ctx context.Context, c *client.Client, app client.App, change client.AppChange) error {
	after, err := c.UpdateApp(ctx, app.ID, change)
	if err != nil {
		return err
	}
	return a.print(after, func(w io.Writer) {
		if !a.quiet {
			showApp(w, after)
		}
	})
}

func (a *app) renameAppCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rename NEW", Short: "Give an app another name; its git remote here follows",
		Example: "  slipway apps rename better-name --app my-app",
		Args:    wants("NEW"), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := checkApp(args[0]); err != nil {
				return err
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, name string) error {
				app, err := c.App(ctx, name)
				if err != nil {
					return err
				}
				if err := a.changeApp(ctx, c, app, client.AppChange{Name: &args[0]}); err != nil {
					return err
				}
				if appOfRemote(a.remote(ctx), c.URL()) != app.Name {
					return nil
				}
				_, err = a.git(ctx, "remote", "set-url", remoteName, c.GitURL(args[0]))
				return err
			})
		},
	}
}

func (a *app) deleteAppCommand() *cobra.Command {
	var confirm string
	cmd := &cobra.Command{
		Use: "delete [APP]", Aliases: []string{"rm"}, Short: "Delete an app with its builds, releases, images and secrets",
		Example: "  slipway apps delete my-app --confirm my-app",
		Args:    wants("[APP]"), ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.named(args)
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, name string) error {
				app, err := c.App(ctx, name)
				if err != nil {
					return err
				}
				if err := a.confirmed(app.Name, confirm); err != nil {
					return err
				}
				if err := c.DeleteApp(ctx, app.ID); err != nil {
					return err
				}
				return a.print(app, func(w io.Writer) {
					if !a.quiet {
						fmt.Fprintf(w, "Deleted app %s\n", transcript.Clean(app.Name, false))
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "`NAME` of the app, instead of being asked for it")
	return cmd
}

// confirmed wants the name of what is to go: from --confirm, or from whoever sits at the terminal.
func (a *app) confirmed(name, confirm string) error {
	if confirm == "" {
		if !a.isTerminal(a.stdin) {
			return usagef("deleting %s cannot be undone: say --confirm %s", name, name)
		}
		fmt.Fprintf(a.stderr, "Deleting %s cannot be undone. Its name again: ", transcript.Clean(name, false))
		if _, err := fmt.Fscanln(a.stdin, &confirm); err != nil && confirm == "" {
			return usagef("not deleted: no name was given")
		}
	}
	if confirm != name {
		return usagef("not deleted: the name given is %q, the app is %s", confirm, name)
	}
	return nil
}
