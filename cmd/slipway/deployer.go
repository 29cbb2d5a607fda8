package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) deployerCommand() *cobra.Command {
	show := func(cmd *cobra.Command, _ []string) error {
		return a.onDeployer(cmd.Context(), (*client.Client).Deployer)
	}
	cmd := &cobra.Command{
		Use: "deployer", Short: "Say what happens after a release of an app",
		Long: `Say what happens after a release of an app: nothing, a command of the operator's, a
signed webhook, or local: the app's web process runs on the service's machine, in one
container with one port. That is no orchestrator: one machine, one process, no scaling,
no TLS; have your reverse proxy stand before it, or your orchestrator told by the others.

` + serviceCodes,
		Example: `  slipway deployer local --path /health --app my-app
  slipway deployer webhook https://deploy.example.com/slipway
  slipway deployer command -- /usr/local/bin/deploy --cluster main
  slipway deployer none`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(show),
	}
	set := func(use, short string, args cobra.PositionalArgs, request func(args []string) client.DeployerRequest, flags ...func(*cobra.Command)) *cobra.Command {
		sub := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			return a.onDeployer(cmd.Context(), func(c *client.Client, ctx context.Context, app string) (client.Deployer, error) {
				return c.SetDeployer(ctx, app, request(args))
			})
		}}
		for _, f := range flags {
			f(sub)
		}
		return sub
	}
	var limit time.Duration
	var path string
	timed := func(does string) func(*cobra.Command) {
		return func(c *cobra.Command) { c.Flags().DurationVar(&limit, "time", 0, does) }
	}
	cmd.AddCommand(
		&cobra.Command{Use: "info", Short: "Show what happens after a release", Args: wants(), RunE: show},
		set("none", "Do nothing; what runs of the app on the service's machine ends", wants(), func([]string) client.DeployerRequest {
			return client.DeployerRequest{Kind: build.DeployNone}
		}),
		set("local", "Run the web process on the service's machine", wants(), func([]string) client.DeployerRequest {
			return client.DeployerRequest{Kind: build.DeployLocal, Path: path, Time: int64(limit / time.Second)}
		}, timed("how long it may take to answer (default 1m)"), func(c *cobra.Command) {
			c.Flags().StringVar(&path, "path", "", "`PATH` that it answers when it is well (default: that something listens is enough)")
		}),
		set("webhook URL", "Tell a URL, until it takes it; the secret that signs is shown once", wants("URL"), func(args []string) client.DeployerRequest {
			return client.DeployerRequest{Kind: build.DeployWebhook, URL: &args[0]}
		}),
		set("command -- PROGRAM [ARG...]", "Run a program of the service's machine; for administrators", wants("PROGRAM", "[ARG...]"), func(args []string) client.DeployerRequest {
			return client.DeployerRequest{Kind: build.DeployCommand, Command: args, Time: int64(limit / time.Second)}
		}, timed("how long it may take (default 10m)")),
	)
	return a.appFlag(a.serviceFlags(cmd))
}

// onDeployer asks for a deployer and shows what comes.
func (a *app) onDeployer(ctx context.Context, ask func(*client.Client, context.Context, string) (client.Deployer, error)) error {
	return a.inApp(ctx, func(ctx context.Context, c *client.Client, app string) error {
		d, err := ask(c, ctx, app)
		if err != nil {
			return err
		}
		return a.print(d, func(w io.Writer) {
			if a.quiet {
				fmt.Fprintln(w, firstOf(d.Secret, string(d.Kind)))
				return
			}
			row := rows(w)
			row("Deployer", string(d.Kind))
			if len(d.Command) > 0 {
				row("Command", fmt.Sprintf("%q", d.Command))
			}
			row("Path", d.Path)
			if d.Time > 0 {
				row("Time", (time.Duration(d.Time) * time.Second).String())
			}
			if d.Port != nil {
				row("Port", strconv.Itoa(*d.Port))
			}
			if d.Webhook != nil {
				row("Webhook", *d.Webhook)
			}
			row("Secret", d.Secret)
		})
	})
}

// deployedText is how a deployment stands.
func deployedText(d client.Deployment) string {
	text := fmt.Sprintf("v%d %s", d.Release.Version, d.State)
	if d.Failure != "" {
		text += ": " + transcript.Clean(d.Failure, false)
	}
	return text
}

func (a *app) deploymentsCommand() *cobra.Command {
	var most int
	list := func(cmd *cobra.Command, _ []string) error { return a.listDeployments(cmd.Context(), most) }
	cmd := &cobra.Command{
		Use: "deployments", Short: "List what became of an app's releases at the hands of its deployer",
		Long: "List what became of an app's releases at the hands of its deployer. DEPLOYMENT is a\nnumber or an id.\n\n" + serviceCodes,
		Example: `  slipway deployments --app my-app
  slipway deployments logs 3 --follow
  slipway deployments create`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	lister := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List deployments, the newest first", Args: wants(), RunE: list}
	for _, c := range []*cobra.Command{cmd, lister} {
		c.Flags().IntVarP(&most, "max", "n", 20, "how many; 0 is all")
	}
	one := func(use, short string, args cobra.PositionalArgs, ask func(context.Context, *client.Client, string, []string) (client.Deployment, error)) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				d, err := ask(ctx, c, app, args)
				if err != nil {
					return err
				}
				return a.print(d, func(w io.Writer) { showDeployment(w, d) })
			})
		}}
	}
	cmd.AddCommand(lister,
		one("info DEPLOYMENT", "Show a deployment", wants("DEPLOYMENT"), func(ctx context.Context, c *client.Client, app string, args []string) (client.Deployment, error) {
			return c.Deployment(ctx, app, args[0])
		}),
		one("create", "Deploy the current release once more", wants(), func(ctx context.Context, c *client.Client, app string, _ []string) (client.Deployment, error) {
			return c.Deploy(ctx, app)
		}),
		a.logsInApp("DEPLOYMENT", "Print what a command has printed, or a process until it answered", "it has ended, or answers", client.DeploymentLog),
	)
	return a.appFlag(a.serviceFlags(cmd))
}

func (a *app) listDeployments(ctx context.Context, most int) error {
	return listInApp(ctx, a, most, (*client.Client).Deployments, "DEPLOYMENT RELEASE KIND STATE BECAUSE URL MADE", func(d client.Deployment) []string {
		return []string{strconv.FormatInt(d.Number, 10), "v" + strconv.FormatInt(d.Release.Version, 10), string(d.Kind), string(d.State), string(d.Reason), orText(firstOf(d.URL, d.Failure), "-"), ageText(d.CreatedAt, time.Now())}
	})
}

func showDeployment(w io.Writer, d client.Deployment) {
	row := rows(w)
	row("Deployment", fmt.Sprintf("%d of %s", d.Number, d.App.Name))
	row("Release", "v"+strconv.FormatInt(d.Release.Version, 10))
	row("Deployer", string(d.Kind))
	row("State", string(d.State))
	row("Because", d.Failure)
	row("URL", d.URL)
	if d.Restarts > 0 {
		row("Restarts", strconv.Itoa(d.Restarts))
	}
	row("Made", timeText(&d.CreatedAt))
}
