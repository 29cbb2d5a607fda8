package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) buildsCommand() *cobra.Command {
	var most int
	list := func(cmd *cobra.Command, _ []string) error { return a.listBuilds(cmd.Context(), most) }
	cmd := &cobra.Command{
		Use: "builds", Short: "List, start, follow and cancel builds of the build service",
		Long: "List, start, follow and cancel builds of the build service. BUILD is a number or an\nid; without it the newest one is meant.\n\n" + serviceCodes,
		Example: `  slipway builds --app my-app
  slipway builds create --path ./my-app --app my-app
  slipway builds logs -f`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	lister := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List an app's builds, the newest first", Args: wants(), RunE: list}
	for _, c := range []*cobra.Command{cmd, lister} {
		c.Flags().IntVarP(&most, "max", "n", 20, "how many; 0 is all")
	}
	cmd.AddCommand(lister, a.createBuildCommand(), a.buildLogsCommand(),
		&cobra.Command{Use: "info [BUILD]", Short: "Show a build", Args: wants("[BUILD]"), RunE: func(cmd *cobra.Command, args []string) error {
			return a.onBuild(cmd.Context(), args, func(_ context.Context, _ *client.Client, b client.Build) error {
				return a.print(b, func(w io.Writer) { a.showBuild(w, b) })
			})
		}},
		&cobra.Command{Use: "cancel [BUILD]", Short: "Cancel a build", Args: wants("[BUILD]"), RunE: func(cmd *cobra.Command, args []string) error {
			return a.onBuild(cmd.Context(), args, a.cancelBuild)
		}},
		a.retryBuildCommand(),
	)
	return a.appFlag(a.serviceFlags(cmd))
}

func (a *app) listBuilds(ctx context.Context, most int) error {
	return listInApp(ctx, a, most, (*client.Client).Builds, "BUILD STATE TRIGGER SOURCE USER MADE TOOK", func(b client.Build) []string {
		return []string{strconv.FormatInt(b.Number, 10), stateText(b), b.Trigger, versionText(b.Source), b.User.Email, ageText(b.CreatedAt, time.Now()), tookText(b)}
	})
}

// onBuild does something with the build that args name, or the newest.
func (a *app) onBuild(ctx context.Context, args []string, do func(context.Context, *client.Client, client.Build) error) error {
	return a.inApp(ctx, func(ctx context.Context, c *client.Client, app string) error {
		if len(args) > 0 {
			b, err := c.Build(ctx, app, strings.TrimPrefix(args[0], "#"))
			if err != nil {
				return err
			}
			return do(ctx, c, b)
		}
		newest, err := client.Collect(c.Builds(ctx, app), 1)
		if err != nil {
			return err
		}
		if len(newest) == 0 {
			return &statusError{code: codeNotFound, text: app + " has no build yet"}
		}
		return do(ctx, c, newest[0])
	})
}

// stateText is where a build stands, and whose fault it is.
func stateText(b client.Build) string {
	switch {
	case b.Failure != nil && b.State == "failed":
		return fmt.Sprintf("%s (%s)", b.State, b.Failure.Blame)
	case b.State == "running" && b.Phase != "":
		return fmt.Sprintf("%s (%s)", b.State, b.Phase)
	}
	return string(b.State)
}

// versionText is what a build is made of, in a few letters.
func versionText(s client.BuildSource) string {
	if s.Version == "" && s.Commit != "" {
		return s.Commit[:min(len(s.Commit), 10)]
	}
	if len(s.Version) >= 40 && len(s.Version) <= 64 && strings.Trim(s.Version, "0123456789abcdef") == "" {
		return s.Version[:10]
	}
	return orText(s.Version, "-")
}

func tookText(b client.Build) string {
	if b.StartedAt == nil {
		return "-"
	}
	if b.Elapsed != nil {
		return transcript.Duration(time.Duration(*b.Elapsed) * time.Millisecond)
	}
	end := time.Now()
	if b.EndedAt != nil {
		end = *b.EndedAt
	}
	return transcript.Duration(max(end.Sub(*b.StartedAt), 0))
}

func (a *app) showBuild(w io.Writer, b client.Build) {
	row := rows(w)
	row("Build", fmt.Sprintf("%d of %s", b.Number, b.App.Name))
	row("Id", b.ID)
	row("State", stateText(b))
	if b.Place != nil {
		row("Waits for", placeText(*b.Place))
	}
	row("Trigger", strings.TrimSpace(b.Trigger+" by "+b.User.Email))
	row("Source", firstOf(b.Source.Commit, b.Source.Version, b.Source.Checksum))
	row("Directory", b.Source.Dir)
	row("", b.Source.VersionDescription)
	row("Made", timeText(&b.CreatedAt))
	row("Started", timeText(b.StartedAt))
	row("Ended", timeText(b.EndedAt))
	if b.StartedAt != nil {
		row("Took", tookText(b))
	}
	if b.State == build.Cancelled {
		row("Because", b.Reason)
	} else if f := b.Failure; f != nil {
		row("Failed in", strings.TrimSpace(f.Phase+" "+f.Buildpack))
		row("Because", f.Reason)
		for _, r := range f.Reasons {
			row("", r)
		}
		row("Next", f.Next)
	}
	if r := b.Result; r != nil {
		row("Image", r.Repository+"@"+r.Digest)
		row("Builder", r.Builder)
		row("Run image", r.RunImage)
		var packs []string
		for _, bp := range r.Buildpacks {
			pack := bp.ID + "@" + bp.Version
			if bp.Image != "" {
				pack += " of " + bp.Image
			}
			packs = append(packs, pack)
		}
		row("Buildpacks", strings.Join(packs, ", "))
	}
	if b.Release != nil {
		row("Release", releaseText(*b.Release))
	}
}

// releaseText names a release, and how it stands where it does not stand.
func releaseText(r client.ReleaseName) string {
	switch r.Status {
	case build.ReleasePending:
		return fmt.Sprintf("v%d, whose release command runs", r.Version)
	case build.ReleaseFailed:
		return fmt.Sprintf("v%d, whose release command failed", r.Version)
	}
	return fmt.Sprintf("v%d", r.Version)
}

// placeText says what a build waits for; "" where it is next.
func placeText(p client.Place) string {
	var parts []string
	count := func(n int, one, many string) {
		if n == 1 {
			parts = append(parts, "1 "+one)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	count(p.Ahead, "build of this app", "builds of this app")
	count(p.OtherApps, "other app", "other apps")
	return strings.Join(parts, " and ")
}

func (a *app) cancelBuild(ctx context.Context, c *client.Client, b client.Build) error {
	after, err := c.CancelBuild(ctx, b.App.Name, b.ID)
	if err != nil {
		return err
	}
	return a.print(after, func(w io.Writer) {
		switch {
		case a.quiet:
		case after.State.Terminal():
			fmt.Fprintf(w, "Build %d of %s is cancelled\n", after.Number, transcript.Clean(after.App.Name, false))
		default:
			fmt.Fprintf(w, "Build %d of %s will end within seconds\n", after.Number, transcript.Clean(after.App.Name, false))
		}
	})
}

func (a *app) retryBuildCommand() *cobra.Command {
	var f followFlags
	cmd := &cobra.Command{
		Use: "retry [BUILD]", Short: "Build the same source once more, and follow that", Args: wants("[BUILD]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onBuild(cmd.Context(), args, func(ctx context.Context, c *client.Client, b client.Build) error {
				again, err := c.RetryBuild(ctx, b.App.Name, b.ID)
				if err != nil {
					return err
				}
				return a.accepted(ctx, c, again, f)
			})
		},
	}
	f.add(cmd)
	return cmd
}
