package builder

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

// The phases work below Root; executables are told paths without it.
func TestPhasesBelowARoot(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"workspace", "layers", "platform/env", "slipway"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, text string) {
		t.Helper()
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("platform/env/BP_X", "y")
	dirs := Dirs{Root: root, App: "/workspace", Layers: "/layers", Platform: "/platform", Scratch: "/slipway", UID: os.Geteuid(), GID: os.Getegid()}
	one, two := cnb.Ref{ID: "x/one", Version: "1"}, cnb.Ref{ID: "two", Version: "1"}
	catalog := MapCatalog([]*cnb.Descriptor{
		{API: cnb.NewestBuildpackAPI, Ref: one, HasDetect: true, Path: "/cnb/buildpacks/x_one/1"},
		{API: cnb.NewestBuildpackAPI, Ref: two, HasDetect: true, Path: "/cnb/buildpacks/two/1"},
	})
	var cmds []Cmd
	run := runnerFunc(func(_ context.Context, c Cmd) error {
		for _, text := range append(append([]string{c.Path, c.Dir}, c.Args...), c.Env...) {
			if strings.Contains(text, root) {
				t.Errorf("%s of %s is told %s", c.Phase, c.Buildpack, text)
			}
		}
		switch {
		case c.Phase == PhaseDetect && c.Buildpack == one:
			put(c.Args[1], "[[provides]]\nname = \"x\"")
		case c.Phase == PhaseDetect:
			put(c.Args[1], "[[requires]]\nname = \"x\"")
		case c.Buildpack == one:
			put(c.Args[0]+"/deps.toml", "[types]\nbuild = true")
			put(c.Args[0]+"/deps/env/DEPS", "here")
			if err := os.Mkdir(filepath.Join(root, c.Args[0], "deps", "bin"), 0o755); err != nil {
				t.Error(err)
			}
			if err := os.Symlink("/layers/x_one/deps/bin", filepath.Join(root, c.Args[0], "deps", "lib")); err != nil {
				t.Error(err)
			}
		}
		if c.Phase == PhaseBuild {
			cmds = append(cmds, c)
		}
		return nil
	})
	found, err := Detect(t.Context(), DetectInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: dirs, Catalog: catalog, Runner: run,
		Order: cnb.Order{{Elements: []cnb.GroupElement{{Ref: one}, {Ref: two}}}},
	})
	if err != nil || planText(found.Plan) != "x<-x/one:1" {
		t.Fatalf("%v, found %+v", err, found)
	}
	built, err := Build(t.Context(), BuildInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: dirs, Catalog: catalog, Runner: run, Group: found.Group, Plan: found.Plan,
	})
	if err != nil || len(built.Buildpacks[0].Layers) != 1 || len(cmds) != 2 {
		t.Fatalf("%v, built %+v", err, built)
	}
	wantEnv(t, strings.Join(cmds[1].Env, "\n"),
		"BP_X=y", "DEPS=here", "PATH=/layers/x_one/deps/bin", "LD_LIBRARY_PATH=/layers/x_one/deps/lib", "LIBRARY_PATH=/layers/x_one/deps/lib",
		"CNB_LAYERS_DIR=/layers/two", "CNB_PLATFORM_DIR=/platform", "CNB_BP_PLAN_PATH="+cmds[1].Args[2], "CNB_BUILDPACK_DIR=/cnb/buildpacks/two/1", "CNB_EXEC_ENV=production")
	if !strings.HasPrefix(cmds[1].Args[2], "/slipway/build.") || cmds[1].Dir != "/workspace" || cmds[1].Path != "/cnb/buildpacks/two/1/bin/build" {
		t.Errorf("command %+v", cmds[1])
	}
}
