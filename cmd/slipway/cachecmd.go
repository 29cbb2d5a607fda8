package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cache", Short: "List, check and prune the build caches of apps",
		Long: `List, check and prune the build caches of apps. A cache is what the buildpacks of
one app wanted to find again; no app is given another's.`,
		Example: `  slipway cache
  slipway cache prune --unused 720h --max-size 20g
  slipway cache check
  slipway cache purge --app my-app`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return a.withMachine(cmd.Context(), a.listCaches)
		},
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List caches, the one that was used last first", Args: wants(),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.withMachine(cmd.Context(), a.listCaches) }},
		&cobra.Command{Use: "rm IMAGE...", Aliases: []string{"remove"}, Short: "Forget the caches of images", Args: wants("IMAGE..."),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withMachine(cmd.Context(), func(_ context.Context, m *platform.Machine) error { return removeCaches(m, args) })
			}},
		&cobra.Command{Use: "check", Short: "Read everything again that is stored, and remove what is damaged",
			Long: `Read everything again that is stored: compressed layers, their index, unpacked
layers. What is damaged is removed and made anew by the next build. The exit code
is 1 where anything was.`,
			Args: wants(), RunE: func(cmd *cobra.Command, _ []string) error { return a.withMachine(cmd.Context(), a.checkCaches) }},
		a.pruneCachesCommand(), a.purgeCacheCommand(),
	)
	return cmd
}

func (a *app) listCaches(_ context.Context, m *platform.Machine) error {
	list, err := m.Store.Caches()
	if err != nil {
		return err
	}
	return a.print(list, func(out io.Writer) {
		w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "CACHE\tLAYERS\tSIZE\tUSED")
		for _, c := range list {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", c.Key, c.Layers, transcript.Bytes(c.Bytes), ageText(c.Used, time.Now()))
		}
		w.Flush()
	})
}

// removeCaches takes names of images as builds do, and keys as the list shows them.
func removeCaches(m *platform.Machine, names []string) error {
	list, err := m.Store.Caches()
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, c := range list {
		have[c.Key] = true
	}
	var errs []error
	for _, name := range names {
		key := name
		if !have[key] {
			key = layerstore.CacheKey(name)
		}
		if ref, err := image.ParseRef(name); err == nil && !have[key] {
			key = layerstore.CacheKey(ref.Name())
		}
		if !have[key] {
			errs = append(errs, fmt.Errorf("there is no build cache of %s (slipway cache lists them)", name))
			continue
		}
		errs = append(errs, m.Store.RemoveCache(key))
	}
	return errors.Join(errs...)
}

func (a *app) checkCaches(ctx context.Context, m *platform.Machine) error {
	c, err := m.Store.Check(ctx)
	if err != nil {
		return err
	}
	err = a.print(c, func(w io.Writer) {
		for _, line := range c.Bad {
			fmt.Fprintf(w, "damaged, removed: %s\n", transcript.Clean(line, false))
		}
		fmt.Fprintf(w, "Read %d blobs, %s, and looked at %d unpacked layers\n", c.Blobs, transcript.Bytes(c.Bytes), c.Trees)
	})
	if err == nil && len(c.Bad) > 0 {
		err = &statusError{code: 1, text: fmt.Sprintf("%d things were damaged and are removed; builds make them anew", len(c.Bad)), quiet: a.json()}
	}
	return err
}

func (a *app) pruneCachesCommand() *cobra.Command {
	var unused time.Duration
	var most string
	cmd := &cobra.Command{
		Use: "prune", Short: "Forget caches that were not used for long, and remove what nothing needs any more", Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			limit, err := parseSize("max-size", most)
			if err != nil {
				return err
			}
			if limit == 0 {
				limit = -1
			}
			return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error {
				dropped, err := m.Store.DropCaches(unused, limit)
				if err != nil {
					return err
				}
				p, err := m.Prune(ctx, time.Hour)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"caches": dropped, "removed": p}, func(w io.Writer) {
					for _, key := range dropped {
						fmt.Fprintf(w, "Forgot %s\n", key)
					}
					fmt.Fprintf(w, "Removed %d blobs and %d unpacked layers, %s\n", p.Blobs, p.Trees, transcript.Bytes(p.Bytes))
				})
			})
		},
	}
	cmd.Flags().DurationVar(&unused, "unused", 30*24*time.Hour, "caches that were not used for this long; 0: none for that reason")
	cmd.Flags().StringVar(&most, "max-size", "", "`SIZE` that the others may have together, such as 20g: the longest unused go")
	return cmd
}

// purgeCacheCommand is about the build service's cache of an app, not about one of this machine.
func (a *app) purgeCacheCommand() *cobra.Command {
	return a.appFlag(a.serviceFlags(&cobra.Command{
		Use: "purge", Short: "Have the build service forget what an app's builds kept", Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				at, err := c.PurgeCache(ctx, app)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"app": app, "purged_at": at}, func(w io.Writer) {
					if !a.quiet {
						fmt.Fprintf(w, "Purged the cache of %s: its next build begins anew\n", app)
					}
				})
			})
		},
	}))
}
