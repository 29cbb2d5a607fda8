package main

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

const lock = `{"lockfileVersion":3,"packages":{"":{},"node_modules/dep":{"version":"1.0.0","integrity":"sha512-AAAA"},"node_modules/dev":{"version":"2.0.0","dev":true}}}`

func plainApp() map[string]string {
	return map[string]string{
		"package.json":      `{"name":"app","engines":{"node":"24.x"},"scripts":{"start":"node server.js"},"dependencies":{"dep":"1"}}`,
		"package-lock.json": lock, "server.js": "1", ".npmrc": "//host/:_authToken=${TOKEN}",
	}
}

func buildApp() map[string]string {
	return map[string]string{
		"package.json":      `{"name":"app","scripts":{"build":"x","start":"next start"},"dependencies":{"dep":"1"},"devDependencies":{"dev":"2"}}`,
		"package-lock.json": lock,
	}
}

func TestBuildOnEachMirror(t *testing.T) {
	dist, npm := distMirror(t), npmMirror(t)
	for name, mirror := range map[string]string{"dist": dist.URL + "/dist", "npm": "npm:" + npm.URL} {
		t.Run(name, func(t *testing.T) {
			c := parceltest.Context(t, parceltest.App(t, plainApp()))
			env, ran := environ(t, mirror)
			w, out := parceltest.Work(env)
			r, err := build(t.Context(), c, w)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := ran(); !slices.Equal(got, []string{"ci --prefer-offline --omit=dev"}) {
				t.Errorf("npm ran %q", got)
			}
			if p := r.Processes; len(p) != 1 || p[0].Type != "web" || !p[0].Default || !slices.Equal(p[0].Command, []string{"node", "server.js"}) {
				t.Errorf("processes %+v", p)
			}
			if b, err := os.ReadFile(filepath.Join(c.ApplicationPath, "node_modules/dep/index.js")); err != nil || string(b) != "dep" {
				t.Errorf("the module through the app's link: %q, %v", b, err)
			}
			modules := parceltest.Layer(t, r, "modules")
			if modules.LayerTypes != (libcnb.LayerTypes{Launch: true}) {
				t.Errorf("modules is %+v", modules.LayerTypes)
			}
			if names, err := os.ReadDir(modules.Path); err != nil || len(names) != 1 || names[0].Name() != "node_modules" {
				t.Errorf("the modules layer holds %v, %v: a token in .npmrc must not stay", names, err)
			}
			if n := parceltest.Layer(t, r, "npm"); n.Launch {
				t.Error("npm is in the image, though node starts the app")
			}
			sbom, err := os.ReadFile(modules.SBOMPath(libcnb.CycloneDXJSON))
			if err != nil || !strings.Contains(string(sbom), "pkg:npm/dep@1.0.0") || strings.Contains(string(sbom), "pkg:npm/dev@") {
				t.Errorf("SBOM: %v\n%s", err, sbom)
			}

			// Nothing has changed: no npm, and the modules layer stays without data.
			parceltest.Restore(t, c, r)
			os.Remove(filepath.Join(c.ApplicationPath, "node_modules"))
			if r, err = build(t.Context(), c, w); err != nil {
				t.Fatal(err)
			}
			if got := ran(); len(got) != 0 {
				t.Errorf("a rebuild without changes ran npm: %q", got)
			}
			if _, err := os.Stat(parceltest.Layer(t, r, "modules").Path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the reused layer has a directory: %v", err)
			}
			if target, err := os.Readlink(filepath.Join(c.ApplicationPath, "node_modules")); err != nil || target != filepath.Join(modules.Path, "node_modules") {
				t.Errorf("link %q, %v", target, err)
			}

			// A changed lock file installs again.
			parceltest.Restore(t, c, r)
			parceltest.Write(t, c.ApplicationPath, map[string]string{"package-lock.json": strings.Replace(lock, "1.0.0", "1.0.1", 1)})
			if _, err = build(t.Context(), c, w); err != nil {
				t.Fatal(err)
			}
			if got := ran(); len(got) != 1 {
				t.Errorf("after a change of the lock file npm ran %q", got)
			}
		})
	}
}

func TestBuildScript(t *testing.T) {
	mirror := distMirror(t)
	c := parceltest.Context(t, parceltest.App(t, buildApp()))
	env, ran := environ(t, mirror.URL+"/dist")
	env["STAND_IN_GENERATES"] = "one"
	w, out := parceltest.Work(env)
	r, err := build(t.Context(), c, w)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []string{"ci --prefer-offline --include=dev", "run build", "prune --omit=dev --ignore-scripts"}
	if got := ran(); !slices.Equal(got, want) {
		t.Errorf("npm ran %q, want %q", got, want)
	}
	modules := parceltest.Layer(t, r, "modules")
	if _, err := os.Stat(filepath.Join(modules.Path, "node_modules/dev")); err == nil {
		t.Error("development modules are in the image")
	}
	if n := parceltest.Layer(t, r, "npm"); !n.Launch {
		t.Error("npm start without npm in the image")
	}
	if all := parceltest.Layer(t, r, "modules-all"); all.LayerTypes != (libcnb.LayerTypes{Cache: true}) {
		t.Errorf("modules-all is %+v", all.LayerTypes)
	}

	parceltest.Restore(t, c, r)
	if r, err = build(t.Context(), c, w); err != nil {
		t.Fatal(err)
	}
	if got := ran(); !slices.Equal(got, []string{"run build"}) {
		t.Errorf("a rebuild ran %q", got)
	}

	// What the build script generates among the modules is part of the image, so a change of it counts.
	parceltest.Restore(t, c, r)
	env["STAND_IN_GENERATES"] = "two"
	if r, err = build(t.Context(), c, w); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(parceltest.Layer(t, r, "modules").Path, "node_modules/generated/index.js")); err != nil || string(b) != "two" {
		t.Errorf("generated module: %q, %v", b, err)
	}
}

func TestModulesInTheApp(t *testing.T) {
	mirror := distMirror(t)
	for name, files := range map[string]map[string]string{
		"workspaces": {"package.json": `{"workspaces":["a"],"scripts":{"start":"node x.js"}}`, "package-lock.json": lock},
		"linked":     {"package.json": `{"main":"x.js"}`, "x.js": "", "package-lock.json": `{"packages":{"node_modules/a":{"link":true}}}`},
		"next":       {"package.json": `{"main":"x.js","dependencies":{"next":"15"}}`, "x.js": "", "package-lock.json": lock},
	} {
		t.Run(name, func(t *testing.T) {
			c := parceltest.Context(t, parceltest.App(t, files))
			env, _ := environ(t, mirror.URL+"/dist")
			w, _ := parceltest.Work(env)
			r, err := build(t.Context(), c, w)
			if err != nil {
				t.Fatal(err)
			}
			if !isDir(filepath.Join(c.ApplicationPath, "node_modules")) {
				t.Error("node_modules is not a real directory")
			}
			if len(r.Slices) != 1 || r.Slices[0].Paths[0] != "node_modules" {
				t.Errorf("slices %v", r.Slices)
			}
		})
	}
}

func TestBuildOnlyLeavesNothingToLaunch(t *testing.T) {
	mirror := distMirror(t)
	c := parceltest.Context(t, parceltest.App(t, map[string]string{
		"package.json": `{"scripts":{"build":"x"},"devDependencies":{"dev":"2"}}`, "package-lock.json": lock}))
	c.Plan.Entries = []libcnb.BuildpackPlanEntry{{Name: planName, Metadata: map[string]any{"build-only": true}}}
	env, _ := environ(t, mirror.URL+"/dist")
	w, _ := parceltest.Work(env)
	r, err := build(t.Context(), c, w)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Layers {
		if l.Launch {
			t.Errorf("layer %s is for launch", l.Name)
		}
	}
	if len(r.Processes) > 0 || exists(c.ApplicationPath, "node_modules/dev/index.js") || !exists(c.ApplicationPath, "dist/server.js") {
		t.Errorf("processes %v", r.Processes)
	}
}

func TestBuildFaults(t *testing.T) {
	mirror := distMirror(t)
	down := "http://127.0.0.1:1/dist"
	set := func(k, v string) func(parcel.Env, map[string]string) {
		return func(e parcel.Env, _ map[string]string) { e[k] = v }
	}
	file := func(k, v string) func(parcel.Env, map[string]string) {
		return func(_ parcel.Env, f map[string]string) { f[k] = v }
	}
	for _, c := range []struct {
		name   string
		change func(parcel.Env, map[string]string)
		ours   bool
		want   string
	}{
		{"no such version", file("package.json", `{"engines":{"node":">=99"}}`), false, `engines.node in package.json is ">=99", and no Node release`},
		{"no range", file("package.json", `{"engines":{"node":"a lot"}}`), false, "not a version range"},
		{"exact version missing", set("BP_NODE_VERSION", "24.9.9"), false, "there is no Node 24.9.9"},
		{"wrong checksum", set("BP_NODE_VERSION", "22.1.0"), true, "its sha256 is"},
		{"mirror down", set("BP_NODE_MIRROR", down), true, "could not list the Node releases"},
		{"mirror no URL", set("BP_NODE_MIRROR", "ftp://x"), false, "BP_NODE_MIRROR"},
		{"lock out of step", set("STAND_IN_FAILS", "npm error code EUSAGE"), false, "package-lock.json does not match your package.json"},
		{"registry down", set("STAND_IN_FAILS", "npm error code ENOTFOUND"), true, "download failed"},
		{"a script fails", set("STAND_IN_FAILS", "boom"), false, "ended with exit code 1"},
		{"no start", file("package.json", `{"name":"x"}`), false, "no start script and no main"},
		{"main missing", file("package.json", `{"main":"gone.js"}`), false, ""},
		{"lock conflict", file("package-lock.json", "{\n<<<<<<< HEAD\n}"), false, "merge conflict marks (line 2)"},
		{"script named but missing", set("BP_NODE_RUN_SCRIPTS", "nope"), false, `BP_NODE_RUN_SCRIPTS names "nope"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := plainApp()
			env, _ := environ(t, mirror.URL+"/dist")
			c.change(env, files)
			if strings.HasPrefix(c.want, "no start") || c.name == "no start" {
				delete(files, "server.js")
			}
			w, _ := parceltest.Work(env)
			_, err := build(t.Context(), parceltest.Context(t, parceltest.App(t, files)), w)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			f, ok := errors.AsType[*parcel.Fault](err)
			if !ok || !strings.Contains(err.Error(), c.want) || f.Ours != c.ours || f.Do == "" {
				t.Errorf("%v (%+v), want %q, ours %t", err, f, c.want, c.ours)
			}
		})
	}
}

func TestMirrorDownKeepsTheLastNode(t *testing.T) {
	mirror := distMirror(t)
	c := parceltest.Context(t, parceltest.App(t, plainApp()))
	env, _ := environ(t, mirror.URL+"/dist")
	w, out := parceltest.Work(env)
	r, err := build(t.Context(), c, w)
	if err != nil {
		t.Fatal(err)
	}
	parceltest.Restore(t, c, r)
	env["BP_NODE_MIRROR"] = "http://127.0.0.1:1/dist"
	if _, err = build(t.Context(), c, w); err != nil || !strings.Contains(out.String(), "staying with Node 24.2.0") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestRangeIsAskedOnceAnHour: a rebuild soon after takes the answer of the last one, a later one asks.
func TestRangeIsAskedOnceAnHour(t *testing.T) {
	var asked atomic.Int32
	mirror := distMirror(t)
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dist/index.json" {
			asked.Add(1)
		}
		mirror.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(counting.Close)
	c := parceltest.Context(t, parceltest.App(t, plainApp()))
	env, _ := environ(t, counting.URL+"/dist")
	for i, want := range []int32{1, 1, 2} {
		w, out := parceltest.Work(env)
		r, err := build(t.Context(), c, w)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if n := asked.Load(); n != want {
			t.Errorf("build %d: the mirror was asked %d times, want %d", i, n, want)
		}
		headers := parceltest.Layer(t, r, "headers")
		if at, err := time.Parse(time.RFC3339, parcel.Fact(headers, "asked")); err != nil || time.Since(at) > time.Minute {
			t.Errorf("build %d: asked at %v, %v", i, at, err)
		}
		if i == 1 {
			headers.Metadata["asked"] = time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
		}
		parceltest.Restore(t, c, r)
		if err := os.RemoveAll(filepath.Join(c.ApplicationPath, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
}
