package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/buildpacks/libcnb/v2"
	"github.com/pelletier/go-toml/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

// converted is the directory of a converted buildpack with executables of a classic one, name and text in turn.
func converted(t *testing.T, executables ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i+1 < len(executables); i += 2 {
		at := filepath.Join(dir, classicDir, "bin", executables[i])
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte("#!/bin/bash\n"+executables[i+1]+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func env(more ...string) parcel.Env { return parcel.ParseEnv(os.Environ()).With(more...) }

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		pass   bool
		says   string
	}{
		"yes":                    {`[ -f "$1/x" ] && echo Node.js`, true, "passed: Node.js"},
		"no":                     {`echo "no package.json"; exit 1`, false, "not for this app: no package.json"},
		"no, as grep says it":    {`grep x "$1/none"`, false, "not for this app: "},
		"silent":                 {`exit 1`, false, "bin/detect ended with exit code 1"},
		"what the commit is":     {`echo "$SOURCE_VERSION $STACK $HOME"`, true, "abc heroku-22 /"},
		"in its own directory":   {`[ -x bin/detect ] && echo here`, true, "here"},
		"a program that is away": {`/no/such`, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, out := parceltest.Work(env("CNB_TARGET_DISTRO_NAME=debian", "CNB_TARGET_DISTRO_VERSION=12"))
			r, err := detect(t.Context(), libcnb.DetectContext{
				ApplicationPath: parceltest.App(t, map[string]string{"x": ""}), Buildpack: libcnb.Buildpack{Path: converted(t, "detect", c.script)},
				Platform: libcnb.Platform{Environment: map[string]string{"SOURCE_VERSION": "abc"}},
			}, w)
			if c.says == "" {
				if err == nil || !strings.Contains(err.Error(), "exit code 127") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || r.Pass != c.pass || !strings.Contains(out.String(), c.says) {
				t.Errorf("%t %q %v", r.Pass, out, err)
			}
		})
	}
}

// run builds an app with a classic buildpack.
func run(t *testing.T, c libcnb.BuildContext, e parcel.Env) (libcnb.BuildResult, string, error) {
	t.Helper()
	w, out := parceltest.Work(e)
	r, err := build(t.Context(), c, w)
	return r, out.String(), err
}

func at(t *testing.T, files map[string]string, executables ...string) libcnb.BuildContext {
	t.Helper()
	return libcnb.BuildContext{
		ApplicationPath: parceltest.App(t, files), Layers: libcnb.Layers{Path: t.TempDir()},
		Buildpack: libcnb.Buildpack{API: "0.10", Path: converted(t, executables...), Info: libcnb.BuildpackInfo{ID: "classic/x", Version: "0.0.0", Name: "x"},
			Metadata: map[string]any{"url": "https://git.test/x.git", "commit": "abc"}},
		Platform: libcnb.Platform{Environment: map[string]string{"TOKEN": "s3cret", "SSL_CERT_FILE": "/certs"}},
	}
}

const compile = `set -eu
echo "build dir $1, $(cat "$3/TOKEN") of ENV_DIR, TOKEN ${TOKEN-is not there}, certificates $SSL_CERT_FILE, in $(basename "$PWD")"
[ -f "$2/n" ] && echo "cached $(cat "$2/n")"
echo 1 > "$2/n"
mkdir -p "$1/.profile.d"
echo 'export GREETING="say \"hi\"
and \\go" PATH="$HOME/bin:$PATH"' > "$1/.profile.d/a.sh"
echo 'GREETING="$GREETING!"' > "$1/.profile.d/b.sh"
echo 'export TOOL="$HOME/tool" PATH="/tool:$PATH"' > export`

func TestBuild(t *testing.T) {
	c := at(t, map[string]string{"Procfile": "web: serve --port $PORT\n# a remark\nnot a process\n"}, "compile", compile, "release", `cat <<'Y'
---
addons:
  - heroku-postgresql
config_vars:
  MODE: prod
default_process_types:
  web: other
  worker: work it
Y`)
	r, said, err := run(t, c, env())
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, want := range []string{"build dir " + c.ApplicationPath + ", s3cret of ENV_DIR, TOKEN is not there, certificates /certs, in buildpack", "add-ons, which an image has none of: heroku-postgresql"} {
		if !strings.Contains(said, want) {
			t.Errorf("not said: %q\n%s", want, said)
		}
	}
	if got := fmt.Sprint(r.Processes); got != "[{web [bash -c serve --port $PORT] []  true} {worker [bash -c work it] []  false}]" {
		t.Errorf("processes %s", got)
	}
	if got := fmt.Sprint(r.Labels); got != `[{io.github.slipway-build.classic.x {"commit":"abc","ref":"","url":"https://git.test/x.git"}}]` {
		t.Errorf("labels %s", got)
	}
	exported := parceltest.Layer(t, r, "export")
	if got := exported.BuildEnvironment; !exported.Build || exported.Launch || got["TOOL.override"] != c.ApplicationPath+"/tool" || !strings.HasPrefix(got["PATH.override"], "/tool:") || len(got) != 2 {
		t.Errorf("export: %v", got)
	}
	app := parceltest.Layer(t, r, "app")
	if got := app.LaunchEnvironment; got["HOME.override"] != c.ApplicationPath || got["MODE.default"] != "prod" {
		t.Errorf("launch: %v", got)
	}
	if b, err := os.ReadFile(app.SBOMPath(libcnb.CycloneDXJSON)); err != nil || !strings.Contains(string(b), "pkg:generic/x@abc?vcs_url=https://git.test/x.git") {
		t.Errorf("SBOM %s, %v", b, err)
	}
	parceltest.Restore(t, c, r)
	if _, said, err = run(t, c, env()); err != nil || !strings.Contains(said, "cached 1") {
		t.Errorf("the second build: %v\n%s", err, said)
	}
	profiles(t, app, c.ApplicationPath)
}

// profiles runs the exec.d of an app: what it prints has to be TOML of what the scripts exported.
func profiles(t *testing.T, app libcnb.Layer, home string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(app.Path, "exec.d", "profile"))
	cmd.Env, cmd.ExtraFiles = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "PORT=80"}, []*os.File{w}
	out, err := cmd.CombinedOutput()
	w.Close()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var vars map[string]string
	if err := toml.NewDecoder(r).Decode(&vars); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"GREETING": "say \"hi\"\nand \\go!", "PATH": home + "/bin:/usr/bin:/bin"}
	if !maps.Equal(vars, want) {
		t.Errorf("the scripts set %q, want %q", vars, want)
	}
}

// TestTest: what is built to be tested runs bin/test-compile, and has bin/test as a process.
func TestTest(t *testing.T) {
	c := at(t, nil, "compile", "exit 1", "test-compile", "echo built to be tested", "test", `echo "testing $1 with $(cat "$2/TOKEN")"`)
	r, said, err := run(t, c, env("CNB_EXEC_ENV=test"))
	if err != nil || !strings.Contains(said, "built to be tested") || len(r.Processes) != 1 || r.Processes[0].Type != "test" {
		t.Fatalf("%v %v\n%s", r.Processes, err, said)
	}
	p := r.Processes[0].Command
	if out, err := exec.CommandContext(t.Context(), p[0], p[1:]...).CombinedOutput(); err != nil || !strings.Contains(string(out), "testing "+c.ApplicationPath+" with s3cret") {
		t.Errorf("%s, %v", out, err)
	}
}

func TestBadBuild(t *testing.T) {
	for name, c := range map[string]struct {
		executables []string
		want        string
	}{
		"compile fails":        {[]string{"compile", "exit 3"}, "bin/compile of the classic buildpack ended with exit code 3"},
		"release fails":        {[]string{"compile", ":", "release", "echo oops >&2; exit 2"}, "bin/release of the classic buildpack ended with exit code 2 (oops)"},
		"release is no YAML":   {[]string{"compile", ":", "release", "echo 'default_process_types:'; echo '  web: a: b'"}, "line 2"},
		"processes are a list": {[]string{"compile", ":", "release", "echo 'default_process_types: [a]'"}, "line 1: default_process_types is no mapping"},
		"release is a word":    {[]string{"compile", ":", "release", "echo hello"}, "line 1: it is no mapping"},
		"release prints much":  {[]string{"compile", ":", "release", "yes | head -c 200000000"}, "prints more than 1048576 bytes"},
		"a bad variable":       {[]string{"compile", ":", "release", "echo 'config_vars: {a-b: c}'"}, `config_vars: "a-b" is no name`},
		"export fails":         {[]string{"compile", "echo 'exit 4' > export"}, "the file export of the classic buildpack: it ends with exit code 4"},
	} {
		if _, said, err := run(t, at(t, nil, c.executables...), env()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.want, said)
		}
	}
	for name, script := range map[string]string{"none": "", "empty": ":", "nothing said": "echo '--- {}'", "null": "echo 'default_process_types:'"} {
		ex := []string{"compile", ":"}
		if script != "" {
			ex = append(ex, "release", script)
		}
		if r, said, err := run(t, at(t, nil, ex...), env()); err != nil || len(r.Processes) != 0 {
			t.Errorf("release %s: %v %v\n%s", name, r.Processes, err, said)
		}
	}
}

func TestStack(t *testing.T) {
	for want, e := range map[string][]string{
		"heroku-20": {"CNB_TARGET_DISTRO_NAME=ubuntu", "CNB_TARGET_DISTRO_VERSION=20.04"}, "heroku-22": {"CNB_TARGET_DISTRO_NAME=debian", "CNB_TARGET_DISTRO_VERSION=12"},
		"heroku-24": {"CNB_TARGET_DISTRO_NAME=debian", "CNB_TARGET_DISTRO_VERSION=13", "CNB_STACK_ID=io.acme"}, "heroku-26": {"CNB_STACK_ID=heroku-26"},
	} {
		if got := stack(parcel.ParseEnv(e), nil); got != want {
			t.Errorf("%s: %s", slices.Sorted(slices.Values(e)), got)
		}
	}
	if got := stack(nil, map[string]string{"STACK": "mine"}); got != "mine" {
		t.Errorf("what was set: %s", got)
	}
}
