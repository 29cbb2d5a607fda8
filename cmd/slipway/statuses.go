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
)

func (a *app) statusesCommand() *cobra.Command {
	var most int
	list := func(cmd *cobra.Command, _ []string) error { return a.listStatuses(cmd.Context(), most) }
	cmd := &cobra.Command{
		Use: "statuses", Short: "Have a forge show how builds of its commits went",
		Long: `Have a forge show how builds of its commits went: GitHub, GitLab, Gitea, Forgejo or
Bitbucket are told when a build of a commit waits, runs and ends. It needs a token that
may set the statuses of commits. The list is of what the forge was told, the newest first.

` + serviceCodes,
		Example: `  slipway statuses set --app my-app < token.txt
  slipway statuses set https://git.example.com/acme/shop.git --forge gitea --app my-app < token.txt
  slipway statuses`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	lister := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List what the forge was told, or is to be told, the newest first", Args: wants(), RunE: list}
	for _, c := range []*cobra.Command{cmd, lister} {
		c.Flags().IntVarP(&most, "max", "n", 20, "how many; 0 is all")
	}
	cmd.AddCommand(
		lister, a.setForgeCommand(),
		&cobra.Command{Use: "info", Short: "Show which forge is told", Args: wants(), RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				f, err := c.Forge(ctx, app)
				if err != nil {
					return err
				}
				return a.print(f, func(w io.Writer) { showForge(w, f) })
			})
		}},
		&cobra.Command{Use: "unset", Aliases: []string{"rm"}, Short: "Tell no forge any more, and forget the token", Args: wants(), RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				return a.did(c.DeleteForge(ctx, app), "No forge is told of the builds of %s any more", app)
			})
		}},
		&cobra.Command{Use: "redeliver STATUS", Short: "Tell the forge again; not where it was told something newer of the commit", Args: wants("STATUS"), RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				s, err := c.TellAgain(ctx, app, args[0])
				if err != nil {
					return err
				}
				return a.print(s, func(w io.Writer) { fmt.Fprintf(w, "Status %d is told again\n", s.Number) })
			})
		}},
	)
	return a.appFlag(a.serviceFlags(cmd))
}

func (a *app) listStatuses(ctx context.Context, most int) error {
	return listInApp(ctx, a, most, (*client.Client).Statuses, "STATUS MADE COMMIT BUILD STATE RESULT ATTEMPTS", func(s client.CommitStatus) []string {
		return []string{strconv.FormatInt(s.Number, 10), ageText(s.CreatedAt, time.Now()), s.Commit[:min(len(s.Commit), 12)], buildText(s.Build), string(s.State), string(s.Result), attemptsText(s.Attempts, s.NextAttempt, s.Error)}
	})
}

func showForge(w io.Writer, f client.Forge) {
	row := rows(w)
	row("App", f.App.Name)
	row("Forge", string(f.Forge))
	row("Repository", f.Repository)
	row("API", f.API)
	row("Context", f.Context)
	row("Set", timeText(&f.UpdatedAt))
}

func (a *app) setForgeCommand() *cobra.Command {
	var r client.ForgeRequest
	cmd := &cobra.Command{
		Use: "set [REPOSITORY]", Short: "Have a forge told; the token is asked for, or read from standard input", Args: wants("[REPOSITORY]"),
		Long: `Have a forge told of the builds of a repository, which may be left out where the app's
hooks are for one. The token is asked for, or read from standard input; it may have no
more rights than to set the statuses of commits. For Bitbucket USER:PASSWORD is taken too.
Which forge it is is known of github.com, gitlab.com, bitbucket.org and codeberg.org.`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) > 0 {
				r.Repository = args[0]
			}
			if r.Token, err = a.secret("Token of the forge"); err != nil {
				return err
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				f, err := c.PutForge(ctx, app, r)
				if err != nil {
					return err
				}
				return a.print(f, func(w io.Writer) {
					if !a.quiet {
						showForge(w, f)
					}
				})
			})
		},
	}
	var kinds []string
	for _, k := range build.ForgeKinds() {
		kinds = append(kinds, string(k))
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.Forge, "forge", "", "github, gitlab, gitea (Forgejo too), bitbucket or bitbucket-server")
	f.StringVar(&r.API, "api-url", "", "`URL` of its API (default: where such a forge has it)")
	f.StringVar(&r.Context, "context", "", "`NAME` by which statuses are told apart (default: slipway/APP)")
	_ = cmd.RegisterFlagCompletionFunc("forge", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
