package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) hooksCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return a.listHooks(cmd.Context()) }
	cmd := &cobra.Command{
		Use: "hooks", Short: "List and change an app's webhooks, by which a forge has its pushes built",
		Long: `List and change an app's webhooks: GitHub, GitLab, Gitea, Forgejo or Bitbucket tell of a
push, and its commit is built. The forge gets the URL and the secret of a hook, which
are shown once. For a private repository the app needs credentials of its host:
see slipway credentials. HOOK is an id. For what the service tells others see
slipway webhooks and slipway statuses.

` + serviceCodes,
		Example: `  slipway hooks create https://git.example.com/acme/shop.git --app my-app
  slipway hooks deliveries --app my-app
  slipway hooks rotate 0190b5a2-... --keep 24h --app my-app`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List hooks", Args: wants(), RunE: list},
		a.createHookCommand(), a.hookInfoCommand(), a.updateHookCommand(), a.rotateHookCommand(), a.deleteHookCommand(), a.deliveriesCommand(), a.redeliverCommand(),
	)
	return a.appFlag(a.serviceFlags(cmd))
}

func (a *app) listHooks(ctx context.Context) error {
	return listInApp(ctx, a, 0, (*client.Client).Hooks, "HOOK REPOSITORY BUILDS MADE", func(h client.Hook) []string {
		return []string{h.ID, h.Repository, whatBuilds(h), ageText(h.CreatedAt, time.Now())}
	})
}

// whatBuilds is the rule of a hook in short.
func whatBuilds(h client.Hook) string {
	parts := []string{orText(strings.Join(h.Branches, ","), "the app's branch")}
	if len(h.Tags) > 0 {
		parts = append(parts, "tags "+strings.Join(h.Tags, ","))
	}
	if len(h.Paths) > 0 {
		parts = append(parts, "if "+strings.Join(h.Paths, ",")+" changes")
	}
	return strings.Join(parts, "; ")
}

func (a *app) hookInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "info HOOK", Short: "Show a hook; its URL and secret are never shown again", Args: wants("HOOK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				h, err := c.Hook(ctx, app, args[0])
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) { showHook(w, h) })
			})
		},
	}
}

func showHook(w io.Writer, h client.Hook) {
	row := rows(w)
	row("Hook", h.ID)
	row("App", h.App.Name)
	row("Repository", h.Repository)
	row("Branches", orText(strings.Join(h.Branches, ", "), "the app's"))
	row("Tags", orText(strings.Join(h.Tags, ", "), "none"))
	row("Paths", strings.Join(h.Paths, ", "))
	if h.Submodules {
		row("Submodules", "yes")
	}
	row("Builds are of", h.User.Email)
	row("Made", timeText(&h.CreatedAt))
	row("Old secret", timeText(h.PreviousUntil))
}

func (a *app) deleteHookCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete HOOK", Aliases: []string{"rm"}, Short: "Delete a hook with its journal; what it built stays", Args: wants("HOOK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				return a.did(c.DeleteHook(ctx, app, args[0]), "Deleted the hook %s of %s", args[0], app)
			})
		},
	}
}

func (a *app) deliveriesCommand() *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use: "deliveries [HOOK]", Short: "List what a forge has sent, the newest first, and what became of it", Args: wants("[HOOK]"),
		Long: "List what a forge has sent, the newest first, and what became of it. HOOK may be left\nout where the app has one.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 0 {
				return usagef("--max %d: want 0 or more", most)
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				hook, err := onlyHook(ctx, c, app, args)
				if err != nil {
					return err
				}
				all, err := client.Collect(c.Deliveries(ctx, app, hook), most)
				if err != nil {
					return err
				}
				return showList(a, all, "DELIVERY CAME FORGE EVENT REF COMMIT RESULT", deliveryRow)
			})
		},
	}
	cmd.Flags().IntVarP(&most, "max", "n", 20, "how many; 0 is all")
	return cmd
}

// onlyHook is the hook that is named, or the one that there is.
func onlyHook(ctx context.Context, c *client.Client, app string, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	hooks, err := client.Collect(c.Hooks(ctx, app), 2)
	if err != nil {
		return "", err
	}
	if len(hooks) != 1 {
		return "", usagef("which hook? %s has %s: see slipway hooks --app %s", app, map[bool]string{true: "none", false: "several"}[len(hooks) == 0], app)
	}
	return hooks[0].ID, nil
}

func deliveryRow(d client.Delivery) []string {
	return []string{strconv.FormatInt(d.Number, 10), ageText(d.LastAt, time.Now()), orText(d.Forge, "-"), orText(d.Event, "-"), orText(shortRef(d.Ref), "-"), orText(d.Commit[:min(len(d.Commit), 12)], "-"), becameOf(d)}
}

func shortRef(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/")
}

// becameOf is the result of a delivery in one line.
func becameOf(d client.Delivery) string {
	text := string(d.Result)
	if d.Build != nil {
		text += fmt.Sprintf(": build %d", d.Build.Number)
	} else if d.Reason != "" {
		text += ": " + d.Reason
	}
	if d.Times > 1 {
		text += fmt.Sprintf(" (came %d times)", d.Times)
	}
	return text
}

func (a *app) redeliverCommand() *cobra.Command {
	return &cobra.Command{
		Use: "redeliver HOOK DELIVERY", Short: "Decide about a delivery again, with the rule that the hook has now", Args: wants("HOOK", "DELIVERY"),
		Long: "Decide about a delivery again, with the rule that the hook has now. One that was built\nstays as it is: slipway builds retry builds it again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				d, err := c.Redeliver(ctx, app, args[0], args[1])
				if err != nil {
					return err
				}
				return a.print(d, func(w io.Writer) { fmt.Fprintf(w, "Delivery %d: %s\n", d.Number, transcript.Clean(becameOf(d), false)) })
			})
		},
	}
}
