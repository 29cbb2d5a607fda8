package platform

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// packageConfig is the name of the recipe that a composite buildpack may have beside its buildpack.toml.
const packageConfig = "package.toml"

// Files are the directories and files of this machine that the buildpack arguments of o lead to, those of composite
// buildpacks included. What is not there, or cannot be read, is left out: a build says why.
func Files(o Options) []string {
	var out []string
	for _, args := range [][]string{o.Pre, o.Buildpacks, o.Post} {
		for _, arg := range args {
			out = filesOf(out, strings.TrimPrefix(arg, "file://"))
		}
	}
	return out
}

func filesOf(out []string, path string) []string {
	if slices.Contains(out, path) {
		return out // a recipe may lead to itself
	}
	fi, err := os.Stat(path)
	if err != nil {
		return out
	}
	out = append(out, path)
	if !fi.IsDir() {
		return out
	}
	parts, _ := components(path)
	for _, p := range parts {
		out = filesOf(out, p)
	}
	return out
}

// components are what the recipe of a composite buildpack in dir names: arguments for buildpacks, paths relative to dir
// made whole. Without a recipe there are none.
func components(dir string) ([]string, error) {
	d, _, err := readDescriptor(dir)
	if err != nil || len(d.Order) == 0 {
		return nil, err
	}
	name := filepath.Join(dir, packageConfig)
	b, err := cnb.ReadFile(dir, packageConfig, cnb.MaxDescriptor)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := cnb.DecodePackageConfig(name, b)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, dep := range c.Dependencies {
		arg := dep.URI
		if at := filepath.Join(dir, arg); !filepath.IsAbs(arg) && exists(at) {
			arg = at
		}
		out = append(out, arg)
	}
	return out, nil
}
