// Package internal holds nothing but the law of imports: which of our packages may use which. The test reads the
// source files itself; a test that asked `go list` would be served from the test cache after the law was broken.
package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/slipway-build/slipway/"

// allowed is the whole table: a package of ours, and the packages of ours that it may import. A package that is
// not listed fails the test, as does an entry that has lost its package: a new noun is a decision, and so is its end.
// Imports point from the commands down; builder/cnb and the pure packages import nothing of ours.
func allowed() map[string][]string {
	parcel := []string{"buildpacks/internal/parcel"}
	return map[string][]string{
		"builder/cnb":         {},
		"builder/launch":      {"builder/cnb"},
		"builder":             {"builder/cnb", "builder/launch"},
		"builder/base":        {"builder/cnb"},
		"builder/base/mkbase": {"builder/base"},

		// Buildpacks are other people's code to the engine, and live from the spec alone.
		"buildpacks/internal/parcel":     {},
		"buildpacks/internal/parceltest": parcel,
		"buildpacks/deb-packages":        parcel,
		"buildpacks/go":                  parcel,
		"buildpacks/nodejs":              parcel,
		"buildpacks/procfile":            parcel,
		"buildpacks/static":              append([]string{"buildpacks/static/site"}, parcel...),
		"buildpacks/static/site":         {},
		"buildpacks/classic":             parcel, // the bin/detect and bin/build of what internal/classic makes

		"internal/classic": {},

		"internal/setup":                         {},
		"internal/container":                     {},
		"internal/container/containertest":       {"internal/container"},
		"internal/container/containertest/guest": {},
		"internal/container/docker":              {"internal/container", "internal/image"},
		"internal/container/oci":                 {"internal/container", "internal/rootfs"},
		"internal/lifecycle":                     {"builder/cnb"},
		"internal/lifecycle/mklifecycle":         {"internal/image", "internal/lifecycle"},
		"internal/layerstore":                    {"builder/cnb"},
		"internal/child":                         {},
		"internal/rootfs":                        {},
		"internal/source":                        {"builder/cnb"},
		"internal/cloud":                         {},
		"internal/image":                         {"builder/cnb", "internal/cloud", "internal/layerstore"},
		"internal/cache":                         {"builder/cnb", "internal/image", "internal/layerstore"},
		"internal/agent/wire":                    {},
		"internal/agent":                         {"builder", "builder/cnb", "internal/agent/wire", "internal/child", "internal/layerstore", "internal/source"},
		// platform.Open chooses and opens the runtime, for the command line and the workers alike; the rest of the
		// package knows the seam only.
		"internal/platform": {
			"builder", "builder/base", "builder/cnb", "internal/agent", "internal/cache", "internal/classic", "internal/container",
			"internal/container/docker", "internal/container/oci", "internal/fetch", "internal/image", "internal/index", "internal/layerstore", "internal/lifecycle",
			"internal/rootfs", "internal/source",
		},
		"internal/platform/platformtest": {},

		// The service. build has its nouns and laws and imports nothing of ours.
		"internal/build":          {},
		"internal/appjson":        {"internal/build"},
		"internal/button":         {"internal/appjson", "internal/build", "internal/fetch"},
		"internal/secret":         {},
		"internal/webhook":        {},
		"internal/store":          {"internal/build", "internal/secret"},
		"internal/logs":           {"internal/build"},
		"internal/gitserver":      {"internal/build", "internal/child", "internal/killpoint", "internal/limit"},
		"internal/service":        {"internal/build", "internal/container", "internal/killpoint", "internal/logs", "internal/store", "internal/webhook", "internal/work"},
		"internal/work":           {"builder", "builder/cnb", "internal/build", "internal/container", "internal/image", "internal/index", "internal/killpoint", "internal/layerstore", "internal/platform", "internal/transcript"},
		"internal/registry":       {"internal/killpoint", "internal/limit"},
		"internal/deploy":         {"internal/build", "internal/child", "internal/container", "internal/logs", "internal/platform", "internal/store"},
		"internal/setups":         {"internal/appjson", "internal/build", "internal/button", "internal/container", "internal/deploy", "internal/fetch", "internal/killpoint", "internal/logs", "internal/service", "internal/source", "internal/store"},
		"internal/killpoint":      {},
		"internal/limit":          {},
		"internal/fetch":          {"internal/child"},
		"internal/web":            {"internal/build", "internal/button", "internal/deploy", "internal/fetch", "internal/gitserver", "internal/health", "internal/image", "internal/index", "internal/killpoint", "internal/limit", "internal/logs", "internal/outbox", "internal/registrar", "internal/service", "internal/setups", "internal/store", "internal/webhook"},
		"internal/console":        {"internal/appjson", "internal/build", "internal/button", "internal/fetch", "internal/index", "internal/limit", "internal/logs", "internal/registrar", "internal/service", "internal/setups", "internal/store"},
		"internal/outbox":         {"internal/build", "internal/fetch", "internal/killpoint", "internal/store"},
		"internal/index":          {"internal/child"},
		"internal/registrar":      {"builder/cnb", "internal/build", "internal/gitserver", "internal/image", "internal/index", "internal/killpoint", "internal/store"},
		"internal/health":         {"internal/image", "internal/index"},
		"internal/client":         {"internal/build", "internal/logs"},
		"internal/deploy/testapp": {},

		// daemon joins all of them, and has no law of its own.
		"internal/daemon": {
			"builder/cnb",
			"internal/build", "internal/console", "internal/deploy", "internal/fetch", "internal/gitserver", "internal/health", "internal/image", "internal/index", "internal/killpoint", "internal/layerstore", "internal/limit", "internal/logs", "internal/outbox", "internal/platform",
			"internal/button", "internal/registrar", "internal/registry", "internal/secret", "internal/service", "internal/setups", "internal/store", "internal/transcript", "internal/web", "internal/work",
		},

		"internal/transcript": {"builder", "internal/platform"},
		"internal/watch":      {},
		"internal/lint":       {"builder/cnb"},
		"internal/suite":      {"builder", "builder/cnb", "internal/container", "internal/image", "internal/layerstore", "internal/platform"},

		"conformance":   {}, // looks at any lifecycle, from outside
		"clients":       {}, // knows the service by what others' clients see
		"interchange":   {}, // and this one the command line by what users see
		"parity":        {}, // knows lifecycles by their command line only
		"bench":         {"internal/build", "internal/child", "internal/client", "internal/container", "internal/container/docker", "internal/container/oci", "internal/image", "internal/index", "internal/layerstore", "internal/platform"},
		"cmd/agent":     {"internal/agent"},
		"cmd/launcher":  {"builder/launch"},
		"cmd/lifecycle": {"builder", "builder/cnb", "internal/cache", "internal/container/docker", "internal/image", "internal/layerstore"},
		"cmd/slipway": {
			"builder", "builder/base", "builder/cnb", "internal/appjson", "internal/build", "internal/button", "internal/client", "internal/container",
			"internal/container/docker", "internal/container/oci", "internal/image", "internal/index", "internal/layerstore", "internal/lint", "internal/logs",
			"internal/platform", "internal/source", "internal/suite", "internal/transcript", "internal/watch",
			// main is also the hook and the askpass of the service's gits.
			"internal/daemon", "internal/fetch", "internal/gitserver", "internal/health",
		},
	}
}

// never is what nothing of ours may import, with the reason.
func never() map[string]string {
	return map[string]string{
		"github.com/buildpacks/lifecycle":                             "the engine is what this project exists for",
		"github.com/buildpacks/pack":                                  "the engine is what this project exists for",
		"github.com/buildpacks/imgutil":                               "the engine is what this project exists for",
		"github.com/docker/docker":                                    "frozen module path: use github.com/moby/moby/client",
		"github.com/spf13/viper":                                      "configuration is a plain struct",
		"github.com/BurntSushi/toml":                                  "quadratic memory on dotted keys: use go-toml/v2",
		"github.com/google/go-containerregistry/pkg/v1/daemon":        "brings docker/docker",
		"github.com/rs/zerolog/log":                                   "a global logger",
		"github.com/google/go-containerregistry/pkg/authn/kubernetes": "brings a cluster client",
	}
}

func TestImports(t *testing.T) {
	table := allowed()
	seen := map[string]bool{}
	for _, file := range sources(t, "..") {
		pkg := filepath.ToSlash(filepath.Dir(file))
		if pkg == "internal" {
			continue // this test
		}
		may, listed := table[pkg]
		if !listed && !seen[pkg] {
			t.Errorf("package %s is not in the table of internal/imports_test.go", pkg)
		}
		seen[pkg] = true
		for _, imported := range importsOf(t, filepath.Join("..", file)) {
			if why := forbidden(imported); why != "" {
				t.Errorf("%s imports %s: %s", file, imported, why)
			}
			ours, ok := strings.CutPrefix(imported, module)
			if ok && listed && !strings.HasSuffix(file, "_test.go") && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s, which the table does not allow to %s", file, ours, pkg)
			}
		}
	}
	for pkg := range table {
		if !seen[pkg] {
			t.Errorf("the table lists %s, which has no Go files", pkg)
		}
	}
}

// TestImportsAcyclicTable keeps the table itself honest: what it allows must not lead back.
func TestImportsAcyclicTable(t *testing.T) {
	table := allowed()
	var visit func(pkg string, above []string)
	visit = func(pkg string, above []string) {
		if slices.Contains(above, pkg) {
			t.Fatalf("the table allows a cycle: %s", strings.Join(append(above, pkg), " -> "))
		}
		for _, next := range table[pkg] {
			if _, ok := table[next]; !ok {
				t.Errorf("%s may import %s, which is not in the table", pkg, next)
			}
			visit(next, append(slices.Clip(above), pkg))
		}
	}
	for pkg := range table {
		visit(pkg, nil)
	}
}

func forbidden(path string) string {
	for prefix, why := range never() {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return why
		}
	}
	return ""
}

// sources lists the Go files of the module below root, relative to it: what the go command would see.
func sources(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			skip := path != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor") ||
				path == "bin" || path == "fixtures" // apps and buildpacks to build, with modules of their own
			if skip {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "_") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("found no Go files: the test looks in the wrong place")
	}
	return files
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}
