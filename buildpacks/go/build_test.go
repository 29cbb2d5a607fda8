package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

func app() map[string]string {
	return map[string]string{"go.mod": "module example.com/app\n\ngo 1.26.4\n", "main.go": "package main", "Procfile": "web: app", "assets/a.css": "x", "tmp/b": "y"}
}

func TestBuild(t *testing.T) {
	world := newWorld(t)
	dir := parceltest.App(t, app())
	c := parceltest.Context(t, dir)
	w, out := parceltest.Work(world.env)
	w.Env["BP_KEEP_FILES"] = "assets/*"
	r, err := build(t.Context(), c, w)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := world.ran(); got != "list build" {
		t.Errorf("go ran %q", got)
	}
	targets := parceltest.Layer(t, r, "targets")
	if targets.LayerTypes != (libcnb.LayerTypes{Launch: true}) || len(r.Processes) != 1 || r.Processes[0].Command[0] != filepath.Join(targets.Path, "bin/app") {
		t.Errorf("%+v, %+v", targets.LayerTypes, r.Processes)
	}
	for name, want := range map[string]bool{"main.go": false, "go.mod": false, "tmp": false, "assets/a.css": true, "Procfile": true} {
		if found(dir, name) != want {
			t.Errorf("%s stays in the app directory: %t", name, !want)
		}
	}
	tc := parceltest.Layer(t, r, "toolchain")
	for name, want := range map[string]bool{"bin/go": true, "src/go.mod": true, "src/a_test.go": false, "test/x.go": false, "src/x/testdata/y": false, "pkg/tool/linux_amd64/compile": true} {
		if found(tc.Path, name) != want {
			t.Errorf("%s in the toolchain: %t", name, !want)
		}
	}
	if info, err := os.Stat(filepath.Join(tc.Path, "pkg/tool/linux_amd64/compile")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("compile is no executable: %v", err)
	}
	if b, err := os.ReadFile(targets.SBOMPath(libcnb.CycloneDXJSON)); err != nil || !strings.Contains(string(b), "pkg:golang/github.com/buildpacks/libcnb/v2@") {
		t.Errorf("SBOM: %v\n%s", err, b)
	}

	// The same source again: nothing is compiled, the layer stays without data.
	parceltest.Restore(t, c, r)
	parceltest.Write(t, dir, app())
	if r, err = build(t.Context(), c, w); err != nil {
		t.Fatal(err)
	}
	if got := world.ran(); got != "" || found(targets.Path, "bin/app") || len(r.Processes) != 1 {
		t.Errorf("a rebuild without changes ran %q; processes %+v", got, r.Processes)
	}

	// One byte more: compiled again, with the toolchain of before.
	parceltest.Restore(t, c, r)
	files := app()
	files["main.go"] = "package main // changed"
	parceltest.Write(t, dir, files)
	world.proxy.Close()
	if _, err = build(t.Context(), c, w); err != nil {
		t.Fatal(err)
	}
	if got := world.ran(); got != "list build" {
		t.Errorf("go ran %q", got)
	}
}

func TestSeveralTargets(t *testing.T) {
	world := newWorld(t)
	world.env["STAND_IN_MAINS"] = "cmd/web cmd/worker tools/gen"
	c := parceltest.Context(t, parceltest.App(t, app()))
	w, _ := parceltest.Work(world.env)
	r, err := build(t.Context(), c, w)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range r.Processes {
		got = append(got, p.Type+"="+filepath.Base(p.Command[0]))
	}
	if s := strings.Join(got, " "); s != "web=web worker=worker" {
		t.Errorf("processes %s", s)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world, map[string]string)
		ours   bool
		want   string
	}{
		{"altered toolchain", func(w *world, f map[string]string) {
			w.evil = true
			f["go.mod"] = "module a\ngo 1.26.6\n"
		}, true, "has the checksum h1:"},
		{"database off", func(w *world, _ map[string]string) { w.env["GOSUMDB"] = "off" }, false, "GOSUMDB is off"},
		{"wrong pin", func(w *world, _ map[string]string) { w.env["BP_GO_TOOLCHAIN_SUM"] = "h1:other" }, true, "not h1:other"},
		{"proxy down", func(w *world, _ map[string]string) { w.env["GOPROXY"] = "http://127.0.0.1:1" }, true, "could not download the toolchain go1.26.4"},
		{"proxy off", func(w *world, _ map[string]string) { w.env["GOPROXY"] = "off" }, false, `GOPROXY is "off"`},
		{"direct only", func(w *world, _ map[string]string) { w.env["GOPROXY"] = "direct" }, false, `GOPROXY is "direct"`},
		{"no such release", func(_ *world, f map[string]string) { f["go.mod"] = "module a\ngo 1.99.1\n" }, false, "asks for go1.99.1"},
		{"go.sum out of step", func(w *world, _ map[string]string) { w.env["STAND_IN_FAILS"] = "missing go.sum entry" }, false, "do not fit your source"},
		{"modules unreachable", func(w *world, _ map[string]string) { w.env["STAND_IN_FAILS"] = "dial tcp: i/o timeout" }, true, "download failed"},
		{"compile error", func(w *world, _ map[string]string) { w.env["STAND_IN_FAILS"] = "main.go:3: undefined: x" }, false, "does not compile"},
		{"cgo", func(w *world, _ map[string]string) {
			w.env["STAND_IN_FAILS"] = "build constraints exclude all Go files in x"
		}, false, "needs cgo"},
		{"no main", func(w *world, _ map[string]string) { w.env["STAND_IN_MAINS"] = "" }, false, "no main package"},
		{"many mains", func(w *world, _ map[string]string) { w.env["STAND_IN_MAINS"] = "a b" }, false, "./a ./b"},
		{"same name", func(w *world, _ map[string]string) {
			w.env["STAND_IN_MAINS"] = "a/x b/x"
			w.env["BP_GO_TARGETS"] = "./..."
		}, false, "both make a binary named x"},
		{"flag for a target", func(w *world, _ map[string]string) { w.env["BP_GO_TARGETS"] = "-exec=x" }, false, "BP_GO_TARGETS has"},
	} {
		t.Run(c.name, func(t *testing.T) {
			world, files := newWorld(t), app()
			c.change(world, files)
			w, _ := parceltest.Work(world.env)
			_, err := build(t.Context(), parceltest.Context(t, parceltest.App(t, files)), w)
			f, ok := errors.AsType[*parcel.Fault](err)
			if !ok || !strings.Contains(err.Error(), c.want) || f.Ours != c.ours || f.Do == "" {
				t.Errorf("%v (%+v), want %q, ours %t", err, f, c.want, c.ours)
			}
		})
	}
}

func TestNextReleaseWhereTheVeryOneIsMissing(t *testing.T) {
	world, files := newWorld(t), app()
	files["go.mod"] = "module a\n\ngo 1.26.5\n"
	c := parceltest.Context(t, parceltest.App(t, files))
	w, out := parceltest.Work(world.env)
	r, err := build(t.Context(), c, w)
	if err != nil || parcel.Fact(parceltest.Layer(t, r, "toolchain"), "release") != "go1.26.6" {
		t.Fatalf("%v\n%s", err, out)
	}
	parceltest.Restore(t, c, r)
	parceltest.Write(t, c.ApplicationPath, files)
	world.proxy.Close()
	if _, err := build(t.Context(), c, w); err != nil {
		t.Errorf("the rebuild asked the proxy again: %v", err)
	}
}

func TestWish(t *testing.T) {
	for _, c := range []struct {
		mod, env string
		want     string // release, with * for "newest of the line"
		err      string
	}{
		{"go 1.26.5", "", "go1.26.5", ""},
		{"go 1.26", "", "go1.26*", ""},
		{"go 1.26.5\ntoolchain go1.26.8", "", "go1.26.8", ""},
		{"go 1.26.5\ntoolchain go1.25.1", "", "go1.26.5", ""},
		{"go 1.26.5\ntoolchain default", "", "go1.26.5", ""},
		{"go 1.17", "", "go1.26*", ""},
		{"", "", "go1.26*", ""},
		{"go 1.26.5", "1.27", "go1.27*", ""},
		{"go 1.26.5", "go1.27.2", "go1.27.2", ""},
		{"go 1.26.5", "1.25", "", "older than what your go.mod asks for"},
		{"go 1.26.5", "newest", "", "BP_GO_VERSION is"},
		{"go 1.26.5\ntoolchain go1.26.8-corp", "", "", "no release"},
	} {
		m, err := parseModule("module a\n" + c.mod + "\n")
		if err != nil {
			t.Fatal(err)
		}
		w, err := wishOf(m, parcel.Env{"BP_GO_VERSION": c.env}, "1.26")
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v", c.mod, err)
			}
			continue
		}
		got := w.release
		if w.newest {
			got += "*"
		}
		if err != nil || got != c.want {
			t.Errorf("%q, %q: %s, %v, want %s", c.mod, c.env, got, err, c.want)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		pass  bool
		said  string
	}{
		{nil, false, "no go.mod"},
		{map[string]string{"main.go": ""}, false, "run go mod init"},
		{map[string]string{"go.work": ""}, false, "go.work, but no go.mod"},
		{map[string]string{"go.mod": "module example.com/x\n"}, true, "found go.mod of example.com/x"},
	} {
		pass, said, err := parceltest.Detect(t, detect, nil, c.files)
		if err != nil || pass != c.pass || !strings.Contains(said, c.said) || strings.Count(said, "\n") != 1 {
			t.Errorf("%t, %q, %v", pass, said, err)
		}
	}
	for text, want := range map[string]string{"module a\ngo nonsense\n": "your go.mod, line 2", "go 1.26\n": "no module line"} {
		if _, _, err := parceltest.Detect(t, detect, nil, map[string]string{"go.mod": text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestBinary(t *testing.T) {
	for pkg, want := range map[string]string{"example.com/app": "app", "example.com/app/v2": "app", "example.com/app/cmd/web": "web", "v2": "v2"} {
		if got := binary(pkg); got != want {
			t.Errorf("%s: %s, want %s", pkg, got, want)
		}
	}
}

func FuzzModule(f *testing.F) {
	for _, s := range []string{"module a\ngo 1.26.5\n", "module a\ntoolchain go1.26.5\n", "go x", "module \"\n", "module a\ngo 1.21rc1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseModule(s)
		if err != nil {
			return
		}
		if w, err := wishOf(m, nil, "1.26"); err == nil && !strings.HasPrefix(w.release, "go") {
			t.Errorf("%q wishes for %q", s, w.release)
		}
	})
}
