package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

func TestDetect(t *testing.T) {
	const project = "[com.slipway.static]\nroot = \"dist\"\nspa = true\n"
	for _, c := range []struct {
		name  string
		env   parcel.Env
		files map[string]string
		pass  bool
		said  string
	}{
		{"nothing", nil, nil, false, "no index.html"},
		{"root", nil, map[string]string{"index.html": ""}, true, "found index.html"},
		{"public first", nil, map[string]string{"index.html": "", "public/index.html": ""}, true, "found public/index.html"},
		{"a node app with public", nil, map[string]string{"package.json": "{}", "public/index.html": ""}, false, "there is a package.json"},
		{"a node app that names it", parcel.Env{"BP_STATIC_ROOT": "dist"}, map[string]string{"package.json": "{}"}, true, "BP_STATIC_ROOT names the directory dist"},
		{"project.toml", nil, map[string]string{"project.toml": project}, true, "project.toml names the directory dist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pass, said, err := parceltest.Detect(t, detect, c.env, c.files)
			if err != nil || pass != c.pass || !strings.Contains(said, c.said) || strings.Count(said, "\n") != 1 {
				t.Errorf("%t, %q, %v", pass, said, err)
			}
		})
	}
	for _, root := range []string{"../x", "/etc", "a/../../x"} {
		if _, _, err := parceltest.Detect(t, detect, parcel.Env{"BP_STATIC_ROOT": root}, nil); err == nil {
			t.Errorf("root %s is accepted", root)
		}
	}
	if _, _, err := parceltest.Detect(t, detect, nil, map[string]string{"project.toml": "[x"}); err == nil || !strings.Contains(err.Error(), "your project.toml") {
		t.Errorf("%v", err)
	}
}

func TestDetectAsksForTheBuildScript(t *testing.T) {
	w, _ := parceltest.Work(parcel.Env{"BP_STATIC_ROOT": "dist"})
	r, err := detect(t.Context(), libcnb.DetectContext{ApplicationPath: parceltest.App(t, map[string]string{"package.json": "{}"})}, w)
	if err != nil || len(r.Plans) != 2 || len(r.Plans[0].Requires) != 2 || r.Plans[0].Requires[1].Name != "nodejs" || len(r.Plans[1].Requires) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBuild(t *testing.T) {
	c := parceltest.Context(t, parceltest.App(t, map[string]string{"dist/index.html": "x", "project.toml": "[com.slipway.static]\nroot = \"./dist/\"\nspa = true\n"}))
	parceltest.Write(t, c.Buildpack.Path, map[string]string{"bin/main": "binary"})
	w, _ := parceltest.Work(nil)
	r, err := build(t.Context(), c, w)
	if err != nil {
		t.Fatal(err)
	}
	l := parceltest.Layer(t, r, "server")
	want := []string{filepath.Join(l.Path, "bin/static-server"), "-root", filepath.Join(c.ApplicationPath, "dist"), "-spa"}
	if len(r.Processes) != 1 || !r.Processes[0].Default || !slices.Equal(r.Processes[0].Command, want) {
		t.Errorf("%+v", r.Processes)
	}
	if info, err := os.Stat(want[0]); err != nil || info.Mode().Perm() != 0o755 || l.LaunchEnvironment["PORT.default"] != "8080" {
		t.Errorf("%v, %v, %v", info, err, l.LaunchEnvironment)
	}
	parceltest.Restore(t, c, r)
	if r, err = build(t.Context(), c, w); err != nil {
		t.Fatal(err)
	}
	if l := parceltest.Layer(t, r, "server"); isFile(filepath.Join(l.Path, "bin/static-server")) || len(l.LaunchEnvironment) != 0 {
		t.Error("the server was copied again")
	}
	w.Env = parcel.Env{"BP_STATIC_ROOT": "gone"}
	if _, err := build(t.Context(), c, w); err == nil || !strings.Contains(err.Error(), `BP_STATIC_ROOT names the directory "gone", which does not exist after the build`) {
		t.Errorf("%v", err)
	}
}
