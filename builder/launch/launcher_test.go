package launch

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// image makes the directories of an app image. A file whose name ends in ! is executable.
func image(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "app"), 0o755))
	for name, text := range files {
		mode := os.FileMode(0o644)
		if name, ok := strings.CutSuffix(name, "!"); ok {
			mode = 0o755
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
	}
	return dir
}

const metadata = `
[[buildpacks]]
id = "a/old"
version = "1.0.0"
api = "0.8"
[[buildpacks]]
id = "new"
version = "1.0.0"
api = "0.12"
[[processes]]
type = "web"
command = ["server"]
args = ["default"]
direct = true
buildpack-id = "new"
[[processes]]
type = "fixed"
command = ["server", "always"]
args = ["default"]
direct = true
buildpack-id = "new"
[[processes]]
type = "old"
command = ["server"]
args = ["own"]
direct = true
buildpack-id = "a/old"
[[processes]]
type = "test.only"
command = ["./local"]
direct = true
buildpack-id = "new"
working-dir = "sub"
exec-env = ["test"]
[[processes]]
type = "script"
command = "echo script $V $0"
direct = false
buildpack-id = "a/old"
[[processes]]
type = "words"
command = "$CMD"
args = ["-n", "a  b $V", "*", "it's"]
direct = false
buildpack-id = "a/old"
`

const server = "#!/bin/sh\nprintf '%s\\n' \"$*\"\n"

func files(more map[string]string) map[string]string {
	m := map[string]string{
		"layers/config/metadata.toml": metadata,
		"layers/new/l/bin/server!":    server,
		"app/sub/local!":              server,
	}
	maps.Copy(m, more)
	return m
}

// launcher is a Launcher for an image, at the given Platform API.
func launcher(dir, api, self string, args ...string) *Launcher {
	return &Launcher{
		Self: self, Args: args, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: []string{
			"CNB_PLATFORM_API=" + api, "CNB_APP_DIR=" + dir + "/app", "CNB_LAYERS_DIR=" + dir + "/layers",
			"CNB_DEPRECATION_MODE=quiet", "PATH=/cnb/process:/cnb/lifecycle:/usr/bin:/bin", "V=value",
		},
	}
}

func TestChoose(t *testing.T) {
	dir := image(t, files(nil))
	for _, c := range []struct {
		api, self string
		args      []string
		want      string // the arguments after argv[0], joined
	}{
		{"0.15", "/cnb/process/web", nil, "default"},
		{"0.15", "web", []string{"mine"}, "mine"},
		{"0.9", "web", []string{"mine"}, "default mine"},
		{"0.10", "old", []string{"mine"}, "own mine"},
		{"0.10", "old", nil, "own"},
		{"0.10", "fixed", nil, "always default"},
		{"0.10", "fixed", []string{"mine"}, "always mine"},
		{"0.9", "fixed", []string{"mine"}, "always default mine"},
		{"0.15", "/cnb/lifecycle/launcher", []string{"--", "server", "--", "x"}, "-- x"},
	} {
		cmd, err := launcher(dir, c.api, c.self, c.args...).Command()
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got := strings.Join(cmd.Args[1:], " "); got != c.want || cmd.Args[0] != "server" || cmd.Path != dir+"/layers/new/l/bin/server" {
			t.Errorf("%+v: got %s %q", c, cmd.Path, cmd.Args)
		}
		if cmd.Dir != dir+"/app" {
			t.Errorf("directory %s", cmd.Dir)
		}
		want := []string{"PATH=" + dir + "/layers/new/l/bin:/usr/bin:/bin", "V=value"}
		if !slices.Equal(cmd.Env, want) {
			t.Errorf("environment %q, want %q", cmd.Env, want)
		}
	}
}

func TestExecEnv(t *testing.T) {
	dir := image(t, files(nil))
	l := launcher(dir, "0.15", "test.only")
	_, err := l.Command()
	want := `failed to launch: determine start command: process type test.only was not found for the execution environment "production": the process types are fixed, old, script, web, words (choose one with --entrypoint)`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	l.Environ = append(l.Environ, "CNB_EXEC_ENV=test")
	cmd, err := l.Command()
	if err != nil || cmd.Path != dir+"/app/sub/local" || cmd.Dir != dir+"/app/sub" {
		t.Errorf("got %+v, %v", cmd, err)
	}
	if _, err = launcher(dir, "0.14", "test.only").Command(); err != nil {
		t.Errorf("Platform API 0.14 knows no execution environments: %v", err)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, api, self string
		args            []string
		files           map[string]string
		code            int
		want            string
	}{
		{name: "no command", self: "launcher", code: 82, want: "determine start command: when there is no default process a command is required: the process types are"},
		{name: "nothing after --", self: "launcher", args: []string{"--"}, code: 82, want: "determine start command: no command after --"},
		{name: "not found", self: "launcher", args: []string{"--", "absent"}, code: 82, want: `find the executable "absent": executable file not found in $PATH: the process types are`},
		{name: "not executable", self: "launcher", args: []string{"--", "plain"}, files: map[string]string{"layers/new/l/bin/plain": ""}, code: 82, want: `find the executable "plain": /`},
		{name: "no platform API", api: " ", self: "web", code: 11, want: `platform API version " " is incompatible`},
		{name: "old platform API", api: "0.6", self: "web", code: 11, want: `platform API version "0.6" is incompatible`},
		{name: "new platform API", api: "0.16", self: "web", code: 11, want: `platform API version "0.16" is incompatible`},
		{name: "buildpack API", self: "web", files: map[string]string{"layers/config/metadata.toml": "[[buildpacks]]\nid = \"b\"\nversion = \"1.0.0\"\napi = \"0.99\"\n"}, code: 12, want: "set API for buildpack 'b@1.0.0': buildpack API version '0.99' is incompatible with the lifecycle"},
		{name: "broken metadata", self: "web", files: map[string]string{"layers/config/metadata.toml": "[[processes]]\ntype = 3\n"}, code: 82, want: "read metadata: "},
		{name: "unknown buildpack", self: "w", args: []string{"x"}, files: map[string]string{"layers/config/metadata.toml": "[[processes]]\ntype = \"w\"\ncommand = [\"x\"]\nbuildpack-id = \"gone\"\n"}, code: 82, want: `determine start command: process type w is of buildpack "gone", which metadata.toml does not list`},
		{name: "env file name", self: "web", files: map[string]string{"layers/new/l/env/A=B": "x"}, code: 82, want: `modify env: layer l of buildpack new@1.0.0: env file "A=B": environment variable name`},
		{name: "exec.d fails", self: "web", files: map[string]string{"layers/new/l/exec.d/x!": "#!/bin/sh\nexit 3\n"}, code: 82, want: "exec.d: run "},
		{name: "exec.d writes rubbish", self: "web", files: map[string]string{"layers/new/l/exec.d/x!": "#!/bin/sh\necho A = 3 >&3\n"}, code: 82, want: "exec.d: "},
		{name: "exec.d is no program", self: "web", files: map[string]string{"layers/new/l/exec.d/x": ""}, code: 82, want: "exec.d: run "},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := image(t, files(c.files))
			_, err := launcher(dir, orDefault(c.api, "0.15"), c.self, c.args...).Command()
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.HasPrefix(e.Error(), "failed to launch: "+c.want) || strings.Contains(e.Error(), "\n") {
				t.Errorf("got %v, want %d %s", err, c.code, c.want)
			}
		})
	}
	dir := image(t, files(nil))
	l := launcher(dir, "0.15", "web")
	l.Environ = l.Environ[1:]
	if _, err := l.Command(); err == nil || err.Error() != "failed to launch: please set 'CNB_PLATFORM_API'" {
		t.Errorf("got %v", err)
	}
}

func TestLayers(t *testing.T) {
	dir := image(t, files(map[string]string{
		"layers/a_old/x/bin/tool!":               server,
		"layers/a_old/x/lib/lib.so":              "",
		"layers/a_old/y/bin/tool!":               server,
		"layers/a_old/x/env/A":                   "1",
		"layers/a_old/x/env.launch/A.append":     "2",
		"layers/a_old/x/env.launch/web/A.append": "3",
		"layers/a_old/x/env.launch/old/A.append": "4",
		"layers/a_old/x/env.build/A":             "build",
		"layers/new/l/env/A.prepend":             "n",
		"layers/new/l/exec.d/1!":                 "#!/bin/sh\nprintf 'A = \"%s-d\"\\nPWD_D = \"%s\"\\n' \"$A\" \"$PWD\" >&3\n",
		"layers/new/l/exec.d/web/2!":             "#!/bin/sh\nprintf 'A = \"%s-w\"' \"$A\" >&3\n",
		"layers/new/l/exec.d/old/3!":             "#!/bin/sh\nexit 1\n",
	}))
	cmd, err := launcher(dir, "0.15", "web").Command()
	must(t, err)
	env := NewEnv(cmd.Env)
	for name, want := range map[string]string{
		"A":               "n123-d-w",
		"PWD_D":           dir + "/app",
		"PATH":            dir + "/layers/new/l/bin:" + dir + "/layers/a_old/y/bin:" + dir + "/layers/a_old/x/bin:/usr/bin:/bin",
		"LD_LIBRARY_PATH": dir + "/layers/a_old/x/lib",
	} {
		if got := env.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// output runs a command as Exec would, but as a child.
func output(t *testing.T, c *Command, err error) string {
	t.Helper()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), c.Path, c.Args[1:]...)
	cmd.Args, cmd.Env, cmd.Dir = c.Args, c.Env, c.Dir
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return string(b)
}

func TestShell(t *testing.T) {
	dir := image(t, files(map[string]string{
		"layers/a_old/x/profile.d/1":       "export V=\"$V-p\"\n",
		"layers/a_old/x/profile.d/old/2":   "exit 1\n",
		"layers/a_old/x/profile.d/words/2": "export CMD=server V=\"$V-w\"\n",
		"app/.profile":                     "export V=\"$V-app\"\n",
	}))
	for _, c := range []struct {
		self string
		args []string
		want string
	}{
		{"script", nil, "script value-p-app bash\n"},
		{"words", nil, "-n a  b value-p-w-app * it's\n"},
		{"launcher", []string{"echo \"$V\"; pwd"}, "value-p-app\n" + dir + "/app\n"},
		{"launcher", []string{"server", "$V", "a\"b\""}, "value-p-app ab\n"},
	} {
		cmd, err := launcher(dir, "0.15", c.self, c.args...).Command()
		if got := output(t, cmd, err); got != c.want {
			t.Errorf("%s %q: got %q, want %q", c.self, c.args, got, c.want)
		}
	}
}

func TestHint(t *testing.T) {
	dir := image(t, files(nil))
	l := launcher(dir, "0.15", "launcher", "web")
	var got []string
	l.Warn = func(s string) { got = append(got, s) }
	l.Environ = append(l.Environ, "CNB_PROCESS_TYPE=web")
	if _, err := l.Command(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"CNB_PROCESS_TYPE is not supported in Platform API 0.15",
		"Run with ENTRYPOINT 'web' to invoke the 'web' process type",
		"web is a process type of this image: start it with --entrypoint web",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestExecDLeavesABackgroundProcess(t *testing.T) {
	dir := image(t, files(map[string]string{"layers/new/l/exec.d/1!": "#!/bin/sh\necho 'B = \"1\"' >&3\nsleep 5 >/dev/null 2>&1 &\n"}))
	cmd, err := launcher(dir, "0.15", "web").Command()
	must(t, err)
	if got := NewEnv(cmd.Env).Get("B"); got != "1" {
		t.Errorf("B is %q", got)
	}
}

func TestExecDFloods(t *testing.T) {
	dir := image(t, files(map[string]string{"layers/new/l/exec.d/1!": "#!/bin/sh\ncat /dev/zero >&3\n"}))
	_, err := launcher(dir, "0.15", "web").Command()
	if err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("got %v", err)
	}
}
