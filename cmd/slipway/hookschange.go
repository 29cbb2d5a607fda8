package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

// hookFlags are what a hook builds.
type hookFlags struct {
	repository             string
	branches, tags, paths  []string
	submodules, readSecret bool

	set *pflag.FlagSet
}

func (f *hookFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	f.set = s
	s.SortFlags = false
	s.StringSliceVar(&f.branches, "branch", nil, "`PATTERN` of branches that are built: * is anything but a slash, ** anything; repeatable (default: the app's branch)")
	s.StringSliceVar(&f.tags, "tag", nil, "`PATTERN` of tags that are built; repeatable (default: none)")
	s.StringSliceVar(&f.paths, "path", nil, "`PATTERN` of files of which one must have changed; !PATTERN takes files out again; repeatable (default: all)")
	s.BoolVar(&f.submodules, "submodules", false, "fetch the repository's submodules too")
}

func (f *hookFlags) change() (c client.HookChange) {
	for name, to := range map[string]struct {
		value *[]string
		in    **[]string
	}{"branch": {&f.branches, &c.Branches}, "tag": {&f.tags, &c.Tags}, "path": {&f.paths, &c.Paths}} {
		if !f.set.Changed(name) {
			continue
		}
		list := []string{}
		for _, v := range *to.value {
			if v != "" { // which is how all are taken away
				list = append(list, v)
			}
		}
		*to.in = &list
	}
	if f.set.Changed("repository") {
		c.Repository = &f.repository
	}
	if f.set.Changed("submodules") {
		c.Submodules = &f.submodules
	}
	return c
}

func (a *app) createHookCommand() *cobra.Command {
	var f hookFlags
	cmd := &cobra.Command{
		Use: "create REPOSITORY", Short: "Make a hook for a git repository; its URL and secret are shown this once",
		Long: `Make a hook for a git repository, which is what is cloned: whatever a forge says of
itself does not matter. Its URL and its secret, which are for the forge, are shown this
once. In the forge, choose JSON as the content type and pushes as the events.`,
		Example: `  slipway hooks create https://git.example.com/acme/shop.git --app my-app
  slipway hooks create git@git.example.com:acme/shop.git --branch main --branch 'release/*' --tag 'v*' --path 'services/shop/**'`,
		Args: wants("REPOSITORY"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			change := f.change()
			change.Repository = &args[0]
			if f.readSecret {
				if change.Secret, err = a.secret("Secret of the hook"); err != nil {
					return err
				}
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				h, err := c.CreateHook(ctx, app, change)
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) { a.showNewHook(w, h) })
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.readSecret, "secret", false, "ask for the secret, or read it from standard input (default: the service makes one)")
	return cmd
}

// showNewHook shows what nobody is told again.
func (a *app) showNewHook(w io.Writer, h client.NewHook) {
	row := rows(w)
	row("Hook", h.ID)
	row("URL", h.URL)
	row("Secret", h.Secret)
	if a.quiet {
		return
	}
	row("Old secret", timeText(h.PreviousUntil))
	fmt.Fprintf(a.stderr, "Give both to the forge of %s: they are not shown again.\n", transcript.Clean(h.Repository, false))
}

func (a *app) updateHookCommand() *cobra.Command {
	var f hookFlags
	cmd := &cobra.Command{
		Use: "update HOOK", Short: "Change what a hook builds; an empty pattern takes all away", Args: wants("HOOK"),
		Example: "  slipway hooks update 0190b5a2-... --branch main --branch dev --path ''",
		RunE: func(cmd *cobra.Command, args []string) error {
			change := f.change()
			if change == (client.HookChange{}) {
				return usagef("slipway hooks update: nothing to change: see slipway hooks update --help")
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				h, err := c.UpdateHook(ctx, app, args[0], change)
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) {
					if !a.quiet {
						showHook(w, h)
					}
				})
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.repository, "repository", "", "`URL` of another repository")
	return cmd
}

func (a *app) rotateHookCommand() *cobra.Command {
	var keep time.Duration
	var newURL, readSecret bool
	cmd := &cobra.Command{
		Use: "rotate HOOK", Short: "Give a hook another secret, which is shown this once; the old one is taken too for a while", Args: wants("HOOK"),
		Example: "  slipway hooks rotate 0190b5a2-... --keep 24h\n  slipway hooks rotate 0190b5a2-... --keep 0 --url",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			r := client.HookRotation{URL: newURL}
			if keep < 0 {
				return usagef("--keep %s: want 0 or more", keep)
			}
			if cmd.Flags().Changed("keep") {
				seconds := int64(keep / time.Second)
				r.Keep = &seconds
			}
			if readSecret {
				if r.Secret, err = a.secret("Secret of the hook"); err != nil {
					return err
				}
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				h, err := c.RotateHook(ctx, app, args[0], r)
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) { a.showNewHook(w, h) })
			})
		},
	}
	cmd.Flags().DurationVar(&keep, "keep", 0, "how long the old secret is taken too; 0: it ends at once (default 168h)")
	cmd.Flags().BoolVar(&newURL, "url", false, "another URL too; the old one ends at once")
	cmd.Flags().BoolVar(&readSecret, "secret", false, "ask for the secret, or read it from standard input (default: the service makes one)")
	return cmd
}
