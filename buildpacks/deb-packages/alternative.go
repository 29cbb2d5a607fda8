package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// alternative is how maintainer scripts give a program its usual name: link, name, path.
var alternative = regexp.MustCompile(`(?m)^[ \t]*update-alternatives[ \t]+(?:--quiet[ \t]+)?--install[ \t]+(/[\w./+-]+)[ \t]+[\w.+-]+[ \t]+(/[\w./+-]+)[ \t]+\d`)

// alternatives makes the links that the package's postinst would ask update-alternatives for, where it does so in
// plain words; no maintainer script runs. Without them figlet, or java, would be there under other names only.
func (a apt) alternatives(ctx context.Context, file, dir string) error {
	show := parcel.Command{Path: filepath.Join(a.bin, "dpkg-deb"), Args: []string{"--info", file, "postinst"}, Dir: dir, Env: a.w.Env}
	script, err := show.Run(ctx)
	if err != nil {
		return context.Cause(ctx) // most packages have none
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	text := strings.ReplaceAll(string(script), "\\\n", " ")
	for _, m := range alternative.FindAllStringSubmatch(text, -1) {
		link, target := filepath.Clean(m[1])[1:], filepath.Clean(m[2])[1:]
		if _, err := root.Lstat(link); err == nil {
			continue // another package, or an alternative before this one
		}
		if info, err := root.Stat(target); err != nil || !info.Mode().IsRegular() {
			continue
		}
		rel, err := filepath.Rel(filepath.Dir(link), target)
		if err != nil {
			return err
		}
		if err := root.MkdirAll(filepath.Dir(link), fs.FileMode(0o755)); err != nil {
			return err
		}
		if err := root.Symlink(rel, link); err != nil {
			return err
		}
	}
	return nil
}
