package builder

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/builder/cnb"
)

// sliced is the names in each layer of an app, below the app directory; "." is the directory itself.
func sliced(t *testing.T, app string, list []cnb.Slice) [][]string {
	t.Helper()
	d := Dirs{App: app}
	keeps, err := sliceApp(t.Context(), d, list)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for _, keep := range keeps {
		l := Layer{ID: "slice"}
		if keep == nil || keep("") {
			l.parts = []layerPart{treePart{anchor: app, name: "/app", byPath: true, keep: keep}}
		}
		var names []string
		for _, n := range entryNames(t, tarOf(t, l)) {
			rel, _ := filepath.Rel("/app", n)
			names = append(names, rel)
		}
		out = append(out, names)
	}
	return out
}

func TestSlices(t *testing.T) {
	app := t.TempDir()
	put(t, app, "app.js", "static/logo", "static/js/a.js", "vendor/x/1", "vendor/y", "empty/", "link -> vendor")
	all := []string{".", "app.js", "empty", "link", "static", "static/js", "static/js/a.js", "static/logo", "vendor", "vendor/x", "vendor/x/1", "vendor/y"}
	for _, c := range []struct {
		name  string
		globs []string // one slice each; ',' separates globs
		want  [][]string
	}{
		{"none", nil, [][]string{all}},
		{"a directory", []string{"static"}, [][]string{
			{".", "static", "static/js", "static/js/a.js", "static/logo"},
			{".", "app.js", "empty", "link", "vendor", "vendor/x", "vendor/x/1", "vendor/y"},
		}},
		{"absolute", []string{app + "/static/js"}, [][]string{
			{".", "static", "static/js", "static/js/a.js"},
			{".", "app.js", "empty", "link", "static", "static/logo", "vendor", "vendor/x", "vendor/x/1", "vendor/y"},
		}},
		{"earlier slices win", []string{"static/js/*", "static", "*"}, [][]string{
			{".", "static", "static/js", "static/js/a.js"},
			{".", "static", "static/logo"},
			{".", "app.js", "empty", "link", "vendor", "vendor/x", "vendor/x/1", "vendor/y"},
			nil,
		}},
		{"outside", []string{"../*,/etc,/,.,..,static/../../x," + app + "x/static", "nothing"}, [][]string{nil, nil, all}},
		{"a link is not its target", []string{"link/*", "link"}, [][]string{nil, {".", "link"},
			slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "link" })}},
		{"class", []string{"[a-l]*"}, [][]string{
			{".", "app.js", "empty", "link"},
			{".", "static", "static/js", "static/js/a.js", "static/logo", "vendor", "vendor/x", "vendor/x/1", "vendor/y"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []cnb.Slice
			for _, g := range c.globs {
				list = append(list, cnb.Slice{Paths: strings.Split(g, ",")})
			}
			got := sliced(t, app, list)
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}

func TestSliceOfBadGlob(t *testing.T) {
	_, err := sliceApp(t.Context(), Dirs{App: t.TempDir()}, []cnb.Slice{{}, {Paths: []string{"a["}}})
	if err == nil || err.Error() != `slice 2: path "a[" is not a valid glob: syntax error in pattern` {
		t.Errorf("got %v", err)
	}
}

func TestSliceOfEmptyApp(t *testing.T) {
	got := sliced(t, t.TempDir(), []cnb.Slice{{Paths: []string{"*"}}})
	if fmt.Sprintf("%q", got) != `[[] ["."]]` {
		t.Errorf("%q", got)
	}
}

// drawSlices fills app with a few files, links and directories and makes slices for them.
func drawSlices(t *rapid.T, app string) ([]cnb.Slice, error) {
	part := rapid.SampledFrom([]string{"a", "b", "c", ".d", "a*"})
	for range rapid.IntRange(0, 12).Draw(t, "entries") {
		p := filepath.Join(app, filepath.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "path")...))
		if os.MkdirAll(filepath.Dir(p), 0o755) != nil {
			continue // a file is in the way
		}
		var err error
		switch _, absent := os.Lstat(p); {
		case absent == nil: // what is there stays
		case rapid.IntRange(0, 3).Draw(t, "kind") == 0:
			err = os.Mkdir(p, 0o755)
		case rapid.IntRange(0, 3).Draw(t, "kind") == 0:
			err = os.Symlink(rapid.SampledFrom([]string{"a", "../b", "/etc", "."}).Draw(t, "target"), p)
		default:
			err = os.WriteFile(p, nil, 0o644)
		}
		if err != nil {
			return nil, err
		}
	}
	glob := rapid.SampledFrom([]string{
		"a", "b", "a/*", "*/b", "*", "?/a", "a/b/*", "*/*/*", "[bc]", "[^a]", "c/a", "b/c/a", ".d", ".*", `a\*`, "a[*]", "*/a*",
		"./a", "a/", "b/../c", "..", "/a", "**", "", ".", "*.d", "c//a", app + "/b", app + "/*/c",
	})
	var list []cnb.Slice
	for range rapid.IntRange(1, 4).Draw(t, "slices") {
		list = append(list, cnb.Slice{Paths: rapid.SliceOfN(glob, 0, 3).Draw(t, "globs")})
	}
	return list, nil
}

// TestSlicesAgainstTheSpec compares with the spec taken at its word: every slice takes what it matches, with
// what is below, out of what is left.
func TestSlicesAgainstTheSpec(t *testing.T) {
	top, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		app := filepath.Join(top, fmt.Sprint(n))
		if err := os.Mkdir(app, 0o755); err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(app)
		list, err := drawSlices(rt, app)
		if err != nil {
			rt.Fatal(err)
		}
		got, want := sliced(t, app, list), bySpec(t, app, list)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("%q:\ngot  %q\nwant %q", list, got, want)
		}
	})
}

// matchesSlice tells whether one of a slice's globs is about the path q of the app.
func matchesSlice(s cnb.Slice, app, q string) bool {
	return slices.ContainsFunc(s.Paths, func(g string) bool {
		inApp, _ := path.Match(path.Clean(g), q)
		absolute, _ := path.Match(path.Clean(g), path.Join(app, q))
		return inApp || absolute
	})
}

func bySpec(t *testing.T, app string, list []cnb.Slice) [][]string {
	t.Helper()
	left := map[string]bool{} // path: is a directory
	err := filepath.WalkDir(app, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(app, p)
		left[rel] = d.IsDir()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for _, s := range list {
		layer := map[string]bool{}
		for p := range left {
			for q := p; q != "."; q = path.Dir(q) {
				if matchesSlice(s, app, q) {
					layer[p] = true
				}
			}
		}
		for p := range layer {
			delete(left, p)
		}
		for _, p := range slices.Collect(maps.Keys(layer)) {
			for q := path.Dir(p); ; q = path.Dir(q) {
				layer[q] = true
				if q == "." {
					break
				}
			}
		}
		out = append(out, slices.Sorted(maps.Keys(layer)))
		// What held nothing but what is gone goes with it.
		for again := len(layer) > 0; again; {
			again = false
			for p, dir := range left {
				if dir && layer[p] && !slices.ContainsFunc(slices.Collect(maps.Keys(left)), func(q string) bool { return q != p && path.Dir(q) == p }) {
					delete(left, p)
					again = true
				}
			}
		}
	}
	return append(out, slices.Sorted(maps.Keys(left)))
}
