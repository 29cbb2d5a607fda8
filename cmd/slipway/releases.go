package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) releasesCommand() *cobra.Command {
	var most int
	list := func(cmd *cobra.Command, _ []string) error { return a.listReleases(cmd.Context(), most) }
	cmd := &cobra.Command{
		Use: "releases", Short: "List an app's releases, and go back to an earlier one",
		Long: "List an app's releases, and go back to an earlier one. RELEASE is a version such as\n3 or v3, or an id.\n\n" + serviceCodes,
		Example: `  slipway releases --app my-app
  slipway releases rollback v3`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	lister := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List releases, the newest first", Args: wants(), RunE: list}
	for _, c := range []*cobra.Command{cmd, lister} {
		c.Flags().IntVarP(&most, "max", "n", 20, "how many; 0 is all")
	}
	cmd.AddCommand(lister,
		&cobra.Command{Use: "info RELEASE", Short: "Show a release", Args: wants("RELEASE"), RunE: func(cmd *cobra.Command, args []string) error {
			return a.onRelease(cmd.Context(), args[0], (*client.Client).Release, a.showRelease)
		}},
		&cobra.Command{Use: "rollback RELEASE", Short: "Make a new release of an earlier one's image", Args: wants("RELEASE"), RunE: func(cmd *cobra.Command, args []string) error {
			return a.onRelease(cmd.Context(), args[0], (*client.Client).Rollback, func(w io.Writer, r client.Release) {
				if !a.quiet {
					fmt.Fprintf(w, "Release v%d of %s is %s\n", r.Version, transcript.Clean(r.App.Name, false), transcript.Clean(r.Image, false))
				}
			})
		}},
		a.logsInApp("RELEASE", "Print the log of a release's command; with --follow until it has ended", "the command has ended", client.ReleaseLog),
	)
	return a.appFlag(a.serviceFlags(cmd))
}

// onRelease asks for a release and shows what comes.
func (a *app) onRelease(ctx context.Context, release string, ask func(*client.Client, context.Context, string, string) (client.Release, error), show func(io.Writer, client.Release)) error {
	return a.inApp(ctx, func(ctx context.Context, c *client.Client, app string) error {
		r, err := ask(c, ctx, app, release)
		if err != nil {
			return err
		}
		return a.print(r, func(w io.Writer) { show(w, r) })
	})
}

func (a *app) listReleases(ctx context.Context, most int) error {
	return listInApp(ctx, a, most, (*client.Client).Releases, "RELEASE STATUS DESCRIPTION USER MADE", func(r client.Release) []string {
		status := string(r.Status)
		if r.Current {
			status += " (current)"
		}
		return []string{"v" + strconv.FormatInt(r.Version, 10), status, r.Description, r.User.Email, ageText(r.CreatedAt, time.Now())}
	})
}

func (a *app) showRelease(w io.Writer, r client.Release) {
	row := rows(w)
	row("Release", fmt.Sprintf("v%d of %s", r.Version, r.App.Name))
	row("Id", r.ID)
	status := string(r.Status)
	if r.Current {
		status += ", current"
	}
	row("Status", status)
	row("Because", r.Failure)
	row("Description", r.Description)
	row("Image", r.Image)
	if r.Build != nil {
		row("Build", strconv.FormatInt(r.Build.Number, 10))
	}
	if r.Deployment != nil {
		row("Deployed", deployedText(*r.Deployment))
		row("URL", r.Deployment.URL)
	}
	row("User", r.User.Email)
	row("Made", timeText(&r.CreatedAt))
}
