package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) pullBuildpackCommand() *cobra.Command {
	var l platform.Lookup
	var file string
	cmd := &cobra.Command{
		Use: "pull BUILDPACK", Short: "Bring a buildpack onto this machine: into the local store, or into a .cnb file",
		Long: `Bring a buildpack with all its layers onto this machine, from an image or from what an
index has: into the local store, from where builds then take it without network by the
name@digest that is printed, or into a file. Every byte is checked against its digest.`,
		Example: `  slipway buildpack pull paketo-buildpacks/go@4
  slipway buildpack pull urn:cnb:registry:heroku/nodejs --output nodejs.cnb
  slipway buildpack pull registry.example.com/acme/java:1 --target linux/arm64 --output java.cnb`,
		Args: wants("BUILDPACK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" && !strings.HasSuffix(file, ".cnb") {
				return usagef("--output %s: want a file that ends in .cnb", file)
			}
			l.Arg = args[0]
			return a.withLookup(cmd.Context(), &l, string(image.PullAlways), func(ctx context.Context, m *platform.Machine) error {
				done, err := platform.PullBuildpack(ctx, m, l, file)
				if err != nil {
					return err
				}
				a.warnYanked(done.Index)
				return a.showPulled(done)
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&l.Target, "target", "t", "", "`OS/ARCH[/VARIANT]` of a package for several (default this machine's)")
	f.StringVar(&file, "output", "", "write it to `FILE.cnb` instead of the local store")
	a.registryFlags(cmd)
	return cmd
}

// pulledResult is a buildpack that was brought here.
type pulledResult struct {
	Buildpack string `json:"buildpack"`
	Image     string `json:"image,omitempty"`
	Digest    string `json:"digest"`
	File      string `json:"file,omitempty"`
	Index     string `json:"index,omitempty"`
}

func (a *app) showPulled(done *platform.Pulled) error {
	r := pulledResult{Buildpack: done.Buildpack.String(), Image: done.Image, Digest: done.Digest, File: done.File}
	if done.Index != nil {
		r.Index = done.Index.Index
	}
	return a.print(r, func(w io.Writer) {
		if a.quiet {
			fmt.Fprintln(w, firstOf(r.File, r.Image))
			return
		}
		paint := a.paint(w)
		fmt.Fprintln(w, paint.good.Render(fmt.Sprintf("Successfully pulled '%s'", r.Buildpack)))
		row := rows(w)
		row("  image", r.Image)
		row("  digest", r.Digest)
		row("  file", r.File)
		row("  index", r.Index)
	})
}
