// Package parceltest drives a buildpack's functions in tests as a lifecycle would: an app, a build, and what
// the next build of the same app finds restored.
package parceltest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/buildpacks/libcnb/v2"
	"github.com/pelletier/go-toml/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// App makes an app directory of files: path to content.
func App(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	Write(t, dir, files)
	return dir
}

// Write writes files below dir.
func Write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Context is the context of a first build of app by the buildpack in the test's directory.
func Context(t testing.TB, app string) libcnb.BuildContext {
	t.Helper()
	b, err := os.ReadFile("buildpack.toml")
	if err != nil {
		t.Fatal(err)
	}
	var bp struct {
		API       string `toml:"api"`
		Buildpack struct {
			ID      string   `toml:"id"`
			Version string   `toml:"version"`
			SBOM    []string `toml:"sbom-formats"`
		} `toml:"buildpack"`
		Metadata map[string]any `toml:"metadata"`
	}
	if err := toml.Unmarshal(b, &bp); err != nil {
		t.Fatal(err)
	}
	return libcnb.BuildContext{
		ApplicationPath: app,
		Buildpack: libcnb.Buildpack{API: bp.API, Path: t.TempDir(), Metadata: bp.Metadata,
			Info: libcnb.BuildpackInfo{ID: bp.Buildpack.ID, Version: bp.Buildpack.Version, SBOMFormats: bp.Buildpack.SBOM}},
		Layers:       libcnb.Layers{Path: t.TempDir()},
		TargetInfo:   libcnb.TargetInfo{OS: "linux", Arch: "amd64"},
		TargetDistro: libcnb.TargetDistro{Name: "debian", Version: "13"},
	}
}

// Restore leaves in the layers directory what a second build finds there: the data of cache layers, the
// metadata of cache and launch layers, and nothing else.
func Restore(t testing.TB, c libcnb.BuildContext, r libcnb.BuildResult) {
	t.Helper()
	keep := map[string]bool{}
	for _, l := range r.Layers {
		if l.Cache {
			keep[l.Name] = true
		}
		if l.Cache || l.Launch && !l.Build {
			keep[l.Name+".toml"] = true
			b, err := toml.Marshal(map[string]any{"metadata": l.Metadata})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.Layers.Path, l.Name+".toml"), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(c.Layers.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := os.RemoveAll(filepath.Join(c.Layers.Path, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Work is an environment whose output the test reads.
func Work(env parcel.Env) (parcel.Work, *bytes.Buffer) {
	var out bytes.Buffer
	f := parcel.NewFetcher(env)
	f.Pause = time.Millisecond
	return parcel.Work{Env: env, Out: &out, Fetch: f}, &out
}

// Detect runs detect on files and gives whether it passed, and what it said.
func Detect(t testing.TB, detect parcel.Detect, env parcel.Env, files map[string]string) (pass bool, said string, err error) {
	t.Helper()
	w, out := Work(env)
	r, err := detect(t.Context(), libcnb.DetectContext{ApplicationPath: App(t, files)}, w)
	return r.Pass, out.String(), err
}

// Layer finds a layer of a result.
func Layer(t testing.TB, r libcnb.BuildResult, name string) libcnb.Layer {
	t.Helper()
	for _, l := range r.Layers {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("the result has no layer %s", name)
	return libcnb.Layer{}
}
