package platform_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/platform"
)

// vars reads the output of env.
func vars(out string) map[string]string {
	m := map[string]string{}
	for l := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(l, "\n"), "="); ok {
			m[k] = v
		}
	}
	return m
}

func checkVars(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		v, ok := got[k]
		switch {
		case want[k] == "-" && ok:
			t.Errorf("%s: %s=%q, want it unset", what, k, v)
		case want[k] != "-" && v != want[k]:
			t.Errorf("%s: %s=%q (%v), want %q", what, k, v, ok, want[k])
		}
	}
}

// TestSemanticsEnv follows variables from layers, users, operators, images and exec.d to builds and processes.
func TestSemanticsEnv(t *testing.T) {
	t.Parallel()
	y := open(t)
	o := platform.Options{
		Image: name(t), Source: app(t), Buildpacks: y.fixtures("env-suffixes", "exec-d", "print-env"),
		Env:   map[string]string{"OF_USER": "one\ntwo", "OF_OPERATOR": "of the user", "OF_BUILD_IMAGE": "of the user", "DEFAULT_env": "of the user"},
		Proxy: []string{"HTTP_PROXY=http://proxy.invalid:1", "no_proxy=localhost"},
	}
	_, r := y.build(t, o)
	build := vars(r.String())
	checkVars(t, "build", build, map[string]string{
		"PLAIN_env": "set", "PLAIN_env_build": "set", "PLAIN_env_launch": "-", "OVERRIDE_env": "override", "OVERRIDE_env_build": "override",
		"DEFAULT_env_build": "default", "DEFAULT_env": "of the user", "PREPEND_env": "first", "APPEND_env": "last", "DEFAULT_env_launch": "-",
		"OF_USER": "one", "OF_OPERATOR": "of the user", "OF_IMAGE_AND_OPERATOR": "operator", "OF_BUILD_IMAGE": "of the user",
		"HTTP_PROXY": "http://proxy.invalid:1", "no_proxy": "localhost", "CNB_TARGET_OS": "linux", "CNB_EXEC_ENV": "-", "FROM_EXEC_D": "-",
	})
	img := y.find(t, o.Image)
	for _, e := range img.Config.Config.Env {
		for _, not := range []string{"PROXY", "proxy", "OF_", "USER"} {
			if strings.Contains(e, not) {
				t.Errorf("the image's environment has %s", e)
			}
		}
	}
	web := vars(y.run(t, o.Image, container.Spec{Env: []string{"APPEND_env=user", "DEFAULT_env=user", "PLAIN_env=user"}}))
	checkVars(t, "web", web, map[string]string{
		"PLAIN_env": "set", "PLAIN_env_build": "-", "PLAIN_env_launch": "set", "PLAIN_env_launch_web": "set", "OVERRIDE_env_launch_web": "override",
		"APPEND_env": "user;last", "DEFAULT_env": "user", "DEFAULT_env_launch": "default", "FROM_EXEC_D": "all", "FROM_EXEC_D_WEB": "web", "OF_USER": "-", "OF_OPERATOR": "-",
	})
	worker := vars(y.run(t, o.Image, container.Spec{Argv: []string{"/cnb/process/worker"}}))
	checkVars(t, "worker", worker, map[string]string{"FROM_EXEC_D": "all", "FROM_EXEC_D_WEB": "-", "PLAIN_env_launch": "set", "PLAIN_env_launch_web": "-"})
}

// TestSemanticsOperator holds what clear-env leaves: the user's variables stay in their files, the operator's come all the same.
func TestSemanticsOperator(t *testing.T) {
	t.Parallel()
	y := open(t)
	clear := script(t, "test/clear", "env; echo \"file $(cat $CNB_PLATFORM_DIR/env/OF_USER)\"")
	b, err := os.ReadFile(filepath.Join(clear, "buildpack.toml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, clear, 0o644, "buildpack.toml", strings.Replace(string(b), "[buildpack]", "[buildpack]\nclear-env = true", 1))
	o := platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: []string{clear}, Env: map[string]string{"OF_USER": "hidden", "OF_IMAGE_AND_OPERATOR": "user"}}
	_, r := y.build(t, o)
	checkVars(t, "clear-env", vars(r.String()), map[string]string{"OF_USER": "-", "OF_OPERATOR": "plain", "OF_IMAGE_AND_OPERATOR": "operator", "OF_BUILD_IMAGE": "-"})
	if missing := r.lacks("file hidden"); len(missing) > 0 {
		t.Errorf("not there: %q\n%s", missing, r)
	}
}

// TestSemanticsProcesses starts the processes of an image: default, named, with arguments, and any command.
func TestSemanticsProcesses(t *testing.T) {
	t.Parallel()
	y := open(t)
	o := platform.Options{Image: name(t), Source: app(t), Buildpacks: y.fixtures("two-processes", "labels")}
	res, _ := y.build(t, o)
	if !slices.Equal(res.Processes, []string{"web", "worker"}) || res.Default != "web" {
		t.Errorf("processes %q, default %q", res.Processes, res.Default)
	}
	for _, tc := range []struct {
		spec container.Spec
		want string
	}{
		{container.Spec{}, "web: one two words in /workspace\n"},
		{container.Spec{Args: []string{"other"}}, "web: other in /workspace\n"},
		{container.Spec{Argv: []string{"/cnb/process/worker"}}, "worker in /tmp\n"},
		{container.Spec{Argv: []string{"/cnb/lifecycle/launcher", "cat", "index.txt"}}, "hello\n"},
		{container.Spec{Argv: []string{"/cnb/lifecycle/launcher", "id", "-u"}}, "1234\n"},
	} {
		// Arguments of a process replace those that may be overridden (Buildpack API 0.9).
		if got := y.run(t, o.Image, tc.spec); got != tc.want {
			t.Errorf("%v %v: %q, want %q", tc.spec.Argv, tc.spec.Args, got, tc.want)
		}
	}
	img := y.find(t, o.Image)
	for k, want := range map[string]string{"com.example.first": "one", "com.example.second": "two words", "base": "run"} {
		if got := img.Label(k); got != want {
			t.Errorf("label %s is %q, want %q", k, got, want)
		}
	}
	var meta cnb.BuildMetadata
	if err := json.Unmarshal([]byte(img.Label(cnb.LabelBuildMetadata)), &meta); err != nil || len(meta.Processes) != 2 || len(meta.Buildpacks) != 2 {
		t.Errorf("label %s: %+v, %v", cnb.LabelBuildMetadata, meta, err)
	}
	worker := o
	worker.DefaultProcess = "worker"
	if res, _ := y.build(t, worker); res.Default != "worker" {
		t.Errorf("default process %q, want worker", res.Default)
	}
	if got := y.run(t, o.Image, container.Spec{}); got != "worker in /tmp\n" {
		t.Errorf("the worker by default: %q", got)
	}
}

// TestSemanticsLayers looks at what each kind of layer is when the app is built again, with the cache and without.
func TestSemanticsLayers(t *testing.T) {
	t.Parallel()
	y := open(t)
	o := platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: y.fixtures("layer-types", "reuse", "sbom", "slices")}
	_, r := y.build(t, o)
	if missing := r.lacks("build number 1"); len(missing) > 0 {
		t.Errorf("not there: %q\n%s", missing, r)
	}
	_, r = y.build(t, o)
	if missing := r.lacks(
		"build number 2", "layer kept: reused", "of-none: not restored", "of-launch: restored without data", "of-build: not restored", "of-cache: restored with data",
		"of-launch-build: not restored", "of-launch-cache: restored with data", "of-build-cache: restored with data", "of-launch-build-cache: restored with data",
	); len(missing) > 0 {
		t.Errorf("with the cache, not there: %q\n%s", missing, r)
	}
	o.Cache.Clear = true
	_, r = y.build(t, o)
	if missing := r.lacks(
		"build number 3", "layer kept: reused", "of-launch: restored without data", "of-cache: not restored", "of-launch-cache: not restored",
		"of-build-cache: not restored", "of-launch-build-cache: not restored",
	); len(missing) > 0 {
		t.Errorf("without the cache, not there: %q\n%s", missing, r)
	}
	files := extract(t, y.find(t, o.Image))
	for name, want := range map[string]string{
		"layers/sample_reuse/kept/file": "content\n", "layers/sample_layer-types/of-launch/data": "data of of-launch\n", "workspace/assets/site.css": "asset\n",
		"workspace/data/deep/file": "data\n", "workspace/index.txt": "hello\n", "layers/sample_layer-types/of-build/data": "", "layers/sample_layer-types/of-cache/data": "",
		"layers/sample_layer-types/of-build-cache/data": "",
	} {
		if got := files[name]; got != want {
			t.Errorf("the image's %s: %q, want %q", name, got, want)
		}
	}
	if files["layers/sbom/launch/sample_sbom/dep/sbom.cdx.json"] == "" || files["layers/sbom/launch/sample_sbom/sbom.cdx.json"] == "" {
		t.Error("the image has no SBOM files")
	}
}

// TestSemanticsSBOM keeps a layer as it is and finds its SBOM again: from the cache, and from the previous image.
func TestSemanticsSBOM(t *testing.T) {
	t.Parallel()
	y := open(t)
	keeps := script(t, "test/keeps", `
if [ -f "$CNB_LAYERS_DIR/launched.toml" ]; then
	for f in launched cached; do
		[ -f "$CNB_LAYERS_DIR/$f.sbom.cdx.json" ] && echo "$f: its SBOM was restored" || echo "$f: no SBOM"
	done
else
	mkdir "$CNB_LAYERS_DIR/launched" "$CNB_LAYERS_DIR/cached"
	for f in launched cached; do echo '{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"'$f'"}]}' >"$CNB_LAYERS_DIR/$f.sbom.cdx.json"; done
fi
printf '[types]\nlaunch = true\n' >"$CNB_LAYERS_DIR/launched.toml"
printf '[types]\ncache = true\nbuild = true\n' >"$CNB_LAYERS_DIR/cached.toml"
`)
	b, _ := os.ReadFile(filepath.Join(keeps, "buildpack.toml"))
	write(t, keeps, 0o644, "buildpack.toml", strings.Replace(string(b), "[buildpack]", "[buildpack]\nsbom-formats = [\"application/vnd.cyclonedx+json\"]", 1))
	o := platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: []string{keeps}}
	first, _ := y.build(t, o)
	for range 2 {
		again, r := y.build(t, o)
		if missing := r.lacks("launched: its SBOM was restored", "cached: its SBOM was restored"); len(missing) > 0 {
			t.Errorf("not there: %q\n%s", missing, r)
		}
		if again.Digest != first.Digest {
			t.Errorf("rebuilt %s, want %s", again.Digest, first.Digest)
		}
	}
	img := y.find(t, o.Image)
	if files := extract(t, img); !strings.Contains(files["layers/sbom/launch/test_keeps/launched/sbom.cdx.json"], "launched") {
		t.Error("the rebuilt image has no SBOM of the layer")
	}
}
