package main

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
)

// newBuildpack is the buildpack that slipway buildpack new writes. $ID, $NAME and $DIR are put in.
//
//go:embed newbuildpack
var newBuildpack embed.FS

func (a *app) newBuildpackCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new ID [DIR]", Short: "Write a buildpack of shell scripts, with an app to try it on and tests",
		Long: `Write a buildpack to begin with: descriptor, bin/detect and bin/build in bash, fixture apps and
buildpack.test.toml. It can be linted, tested and packaged as it is. DIR is by default the
last part of ID in the current directory; it must be empty or not there yet.`,
		Example: `  slipway buildpack new acme/hello
  slipway buildpack new acme/hello ./buildpacks/hello`,
		Args: wants("ID", "[DIR]"),
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := cnb.ParseID(args[0])
			if err != nil {
				return usagef("%w", err)
			}
			dir := path.Base(string(id))
			if len(args) > 1 {
				dir = args[1]
			}
			return a.newBuildpack(id, dir)
		},
	}
}

// newResult is what was written, as JSON has it.
type newResult struct {
	Buildpack string   `json:"buildpack"`
	Directory string   `json:"directory"`
	Files     []string `json:"files"`
}

func (a *app) newBuildpack(id cnb.ID, dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: name a directory that is not there yet", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := newResult{Buildpack: string(id), Directory: dir, Files: []string{}}
	text := strings.NewReplacer("$ID", string(id), "$NAME", path.Base(string(id)), "$DIR", id.Dir())
	const top = "newbuildpack"
	err = fs.WalkDir(newBuildpack, top, func(at string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(at, top), "/")
		if err != nil || name == "" {
			return err
		}
		if d.IsDir() {
			return root.Mkdir(name, 0o755)
		}
		b, err := newBuildpack.ReadFile(at)
		if err != nil {
			return err
		}
		r.Files = append(r.Files, name)
		return writeNew(root, name, text.Replace(string(b)))
	})
	if err != nil {
		return err
	}
	return a.print(r, func(w io.Writer) {
		if a.quiet {
			fmt.Fprintln(w, dir)
			return
		}
		fmt.Fprintf(w, "Wrote %s in %s; now:\n", clean(string(id)), clean(dir))
		for _, command := range []string{"lint", "test"} {
			fmt.Fprintf(w, "  slipway buildpack %s %s\n", command, clean(dir))
		}
		fmt.Fprintf(w, "  slipway buildpack package %s.cnb --path %s\n", clean(path.Base(string(id))), clean(dir))
	})
}

// writeNew writes a file that is not there. Scripts may be run.
func writeNew(root *os.Root, name, text string) error {
	mode := fs.FileMode(0o644)
	if strings.HasPrefix(name, "bin/") {
		mode = 0o755
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}
