package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// planName is what this buildpack provides. A later buildpack that only wants the result of the build script
// requires it with metadata {build-only = true}.
const planName = "nodejs"

// detect passes for a package.json that npm can install.
func detect(_ context.Context, c libcnb.DetectContext, w parcel.Work) (libcnb.DetectResult, error) {
	text, ok, err := parcel.ReadText(c.ApplicationPath, "package.json")
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	if !ok {
		return w.Fail("no package.json in the app's root directory")
	}
	m, err := parseManifest(text)
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	lock := lockName(c.ApplicationPath)
	if other, do := otherManager(c.ApplicationPath, m); other != "" && lock == "" {
		return w.Fail(other + " is not supported; " + do)
	}
	why := "found " + m.describe()
	switch {
	case lock != "":
		why += " and " + lock
	case len(m.Dependencies)+len(m.DevDependencies) > 0:
		why += ", but no package-lock.json"
	}
	return w.Pass(why, parcel.Plan(planName))
}

// lockName is the npm lock file of the app, or "".
func lockName(dir string) string {
	for _, n := range []string{"npm-shrinkwrap.json", "package-lock.json"} { // npm's order
		if info, err := os.Stat(filepath.Join(dir, n)); err == nil && info.Mode().IsRegular() {
			return n
		}
	}
	return ""
}

// otherManager names a package manager that is not npm, and the way to npm.
func otherManager(dir string, m *manifest) (name, do string) {
	const switchTo = "run `npm install --package-lock-only`, commit package-lock.json and remove %s"
	for _, o := range []struct{ manager, file string }{
		{"pnpm", "pnpm-lock.yaml"}, {"yarn", "yarn.lock"}, {"bun", "bun.lock"}, {"bun", "bun.lockb"},
	} {
		if _, err := os.Stat(filepath.Join(dir, o.file)); err == nil {
			return o.manager + " (" + o.file + ")", fmt.Sprintf(switchTo, o.file)
		}
	}
	if p, _, _ := strings.Cut(m.PackageManager, "@"); p != "" && p != "npm" {
		return p + ` ("packageManager" in package.json)`, fmt.Sprintf(switchTo, `"packageManager"`)
	}
	return "", ""
}
