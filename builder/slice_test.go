package builder

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

// TestSlicesAgainstTheSpec compares with the spec taken at its word: every slice takes what it matches, with
// what is below, out of what is left.
func TestSlicesAgainstTheSpec(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	globs := []string{"a", "b", "a/*", "*/b", "*", "?/a", "a/b/*", "*/*/*", "[bc]", "c/a", "b/c/a"}
	for range 150 {
		app := t.TempDir()
		for range 1 + rnd.IntN(12) {
			parts := make([]string, 1+rnd.IntN(4))
			for i := range parts {
				parts[i] = string("abc"[rnd.IntN(3)])
			}
			p := filepath.Join(app, filepath.Join(parts...))
			if os.MkdirAll(filepath.Dir(p), 0o755) == nil {
				os.WriteFile(p, nil, 0o644) // where there is a directory it stays one
			}
		}
		var list []cnb.Slice
		for range 1 + rnd.IntN(4) {
			var s cnb.Slice
			for range 1 + rnd.IntN(2) {
				s.Paths = append(s.Paths, globs[rnd.IntN(len(globs))])
			}
			list = append(list, s)
		}
		got, want := sliced(t, app, list), bySpec(t, app, list)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v:\ngot  %q\nwant %q", list, got, want)
		}
	}
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
				if slices.ContainsFunc(s.Paths, func(g string) bool { ok, _ := path.Match(g, q); return ok }) {
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
