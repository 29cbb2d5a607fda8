package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) sbomCommand() *cobra.Command {
	return group("sbom", "Read what an image says it is made of", a.sbomDownloadCommand())
}

func (a *app) sbomDownloadCommand() *cobra.Command {
	var dir string
	var remote bool
	cmd := &cobra.Command{
		Use: "download IMAGE", Short: "Write the SBOM files of a built image to a directory",
		Long: `Write the SBOM files of a built image to a directory: below layers/sbom/launch,
as they lie in the image, a directory for each buildpack and in it one for each
of its layers.`,
		Example: `  slipway sbom download my-app -o ./sbom
  slipway sbom download registry.example.com/team/app:1 --remote`,
		Args: wants("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.withFound(cmd.Context(), args[0], string(image.PullNever), remote, func(ctx context.Context, _ *platform.Machine, img *image.Image) error {
				at, err := platform.DownloadSBOM(ctx, img, dir)
				if err != nil {
					return err
				}
				return a.tellSBOM(args[0], at)
			})
			if errors.Is(err, image.ErrNotFound) && !remote {
				err = fmt.Errorf("%w (--remote looks in its registry)", err)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&dir, "output-dir", "o", ".", "`DIR` that gets the files")
	cmd.Flags().BoolVar(&remote, "remote", false, "look for the image in its registry only; just the one layer is downloaded")
	a.registryFlags(cmd)
	return cmd
}

// sbomFiles is what a download wrote.
type sbomFiles struct {
	Image string   `json:"image"`
	Dir   string   `json:"directory"`
	Files []string `json:"files"`
}

func (a *app) tellSBOM(name, dir string) error {
	d := sbomFiles{Image: name, Dir: dir, Files: []string{}}
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			d.Files = append(d.Files, filepath.FromSlash(p))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list the SBOM files: %w", err)
	}
	return a.print(d, func(w io.Writer) {
		if a.quiet {
			fmt.Fprintln(w, transcript.Clean(d.Dir, false))
			return
		}
		fmt.Fprintf(w, "%d SBOM files in %s\n", len(d.Files), transcript.Clean(d.Dir, false))
		for _, f := range d.Files {
			fmt.Fprintf(w, "  %s\n", transcript.Clean(f, false))
		}
	})
}
