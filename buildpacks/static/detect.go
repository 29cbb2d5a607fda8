package main

import (
	"context"
	"path/filepath"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// detect passes for a directory with an index.html, or for the one that the app names, which may be made
// only by the build script of a package.json: then it asks the nodejs buildpack to run that and no more. An
// app that has a program of its own is left to its language's buildpack unless it names a directory.
func detect(_ context.Context, c libcnb.DetectContext, w parcel.Work) (libcnb.DetectResult, error) {
	conf, err := readConfig(c.ApplicationPath, w.Env)
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	plain := parcel.Plan("static")
	if conf.Root != "" {
		why := conf.where + " names the directory " + conf.Root
		if !isFile(filepath.Join(c.ApplicationPath, "package.json")) {
			return w.Pass(why, plain)
		}
		built := plain
		built.Requires = append(built.Requires, libcnb.BuildPlanRequire{Name: "nodejs", Metadata: map[string]any{"build-only": true}})
		return w.Pass(why, built, plain)
	}
	for _, f := range []string{"package.json", "go.mod", "Gemfile", "requirements.txt", "pyproject.toml", "pom.xml", "composer.json", "Cargo.toml"} {
		if isFile(filepath.Join(c.ApplicationPath, f)) {
			return w.Fail("there is a " + f + ", so this is not only a site (set BP_STATIC_ROOT to serve a directory of it)")
		}
	}
	root := findRoot(c.ApplicationPath)
	if root == "" {
		return w.Fail("no index.html in the app's root directory, public, dist, build, _site or out")
	}
	return w.Pass("found "+filepath.Join(root, "index.html"), plain)
}
