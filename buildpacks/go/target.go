package main

import (
	"cmp"
	"debug/buildinfo"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// A target is one main package and the binary that go build makes of it.
type target struct {
	pkg string // import path
	dir string // relative to the app, "." for its root
	bin string
}

var majorSuffix = regexp.MustCompile(`^v[0-9]+$`)

// binary is the name that go build gives: the last element that is not a major version.
func binary(pkg string) string {
	if base := path.Base(pkg); !majorSuffix.MatchString(base) || path.Dir(pkg) == "." {
		return base
	}
	return path.Base(path.Dir(pkg))
}

// parseTargets reads go list's lines "import path TAB directory".
func parseTargets(out, app string) []target {
	var list []target
	for l := range strings.Lines(out) {
		pkg, dir, ok := strings.Cut(strings.TrimSpace(l), "\t")
		if !ok {
			continue
		}
		rel, err := filepath.Rel(app, dir)
		if err != nil {
			rel = dir
		}
		list = append(list, target{pkg: pkg, dir: filepath.ToSlash(rel), bin: binary(pkg)})
	}
	slices.SortFunc(list, func(a, b target) int { return cmp.Compare(a.dir, b.dir) })
	return list
}

// pickTargets chooses what to build where the user did not say: the root package and those of ./cmd, or the
// only main package there is.
func pickTargets(all []target) ([]target, error) {
	const do = "set BP_GO_TARGETS to the packages to build, for example BP_GO_TARGETS=./cmd/web"
	var usual []target
	for _, t := range all {
		if t.dir == "." || strings.HasPrefix(t.dir, "cmd/") && strings.Count(t.dir, "/") == 1 {
			usual = append(usual, t)
		}
	}
	switch {
	case len(usual) > 0:
		return usual, nil
	case len(all) == 1:
		return all, nil
	case len(all) == 0:
		return nil, parcel.Yours("add one (package main with func main), or build the directory that has it", "your module has no main package")
	}
	var names []string
	for _, t := range all {
		names = append(names, "./"+t.dir)
	}
	return nil, parcel.Yours(do, "your module has %d main packages and none in its root or in ./cmd: %s", len(all), strings.Join(names, " "))
}

// unique refuses two targets whose binaries have one name.
func unique(list []target) error {
	seen := map[string]string{}
	for _, t := range list {
		if other, ok := seen[t.bin]; ok {
			return parcel.Yours("rename a directory, or choose with BP_GO_TARGETS", "./%s and ./%s both make a binary named %s", other, t.dir, t.bin)
		}
		seen[t.bin] = t.dir
	}
	return nil
}

// processes gives each binary a process of its name. The one that serves is also "web" and the default: the
// only one, else one named web or server, else the root package's, else the first.
func processes(list []target, bin string) []libcnb.Process {
	main := 0
	rank := func(t target) int {
		switch {
		case t.bin == "web":
			return 0
		case t.bin == "server":
			return 1
		case t.dir == ".":
			return 2
		}
		return 3
	}
	for i, t := range list {
		if rank(t) < rank(list[main]) {
			main = i
		}
	}
	ps := []libcnb.Process{{Type: "web", Command: []string{filepath.Join(bin, list[main].bin)}, Default: true}}
	for _, t := range list {
		if len(list) > 1 && t.bin != "web" && processName.MatchString(t.bin) {
			ps = append(ps, libcnb.Process{Type: t.bin, Command: []string{filepath.Join(bin, t.bin)}})
		}
	}
	return ps
}

// processName is the spec's pattern for process types.
var processName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// components lists the modules that are in the binaries, as the linker recorded them.
func components(bin string, list []target) ([]parcel.Component, error) {
	var all []parcel.Component
	for _, t := range list {
		info, err := buildinfo.ReadFile(filepath.Join(bin, t.bin))
		if err != nil {
			return nil, err
		}
		goVersion := strings.TrimPrefix(info.GoVersion, "go")
		all = append(all, parcel.Component{Name: "std", Version: goVersion, PURL: "pkg:golang/std@" + goVersion, License: "BSD-3-Clause"})
		if m := info.Main; m.Path != "" {
			all = append(all, parcel.Component{Name: m.Path, PURL: "pkg:golang/" + m.Path, App: true})
		}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			all = append(all, parcel.Component{Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version})
		}
	}
	return all, nil
}
