package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// asideBuildpack keeps the environment that its build gets, and fails where the app wants that.
const asideBuild = `#!/bin/sh
{ cat /proc/$$/environ | tr '\0' '\n' | sort; echo "$PWD $(id -u) $*"; } >"$CNB_LAYERS_DIR/saw"
test ! -f fail
`

// shellSeat is somebody at a terminal with a builder of the stage, and two buildpacks. The stage's images are empty, so
// this machine's programs are lent to the build.
func shellSeat(t *testing.T, s *stage) (*seat, []string) {
	dir := t.TempDir()
	for _, id := range []string{"acme/one", "acme/two"} {
		bp := filepath.Join(dir, filepath.Base(id))
		write(t, filepath.Join(bp, "buildpack.toml"), fmt.Sprintf("api = \"0.10\"\n[buildpack]\nid = %q\nversion = \"1.0\"\n[[targets]]\nos = \"linux\"\n", id))
		for name, text := range map[string]string{"detect": "#!/bin/sh\ntest ! -f wrong\n", "build": asideBuild} {
			write(t, filepath.Join(bp, "bin", name), text)
			check(t, os.Chmod(filepath.Join(bp, "bin", name), 0o755))
		}
	}
	write(t, filepath.Join(dir, "app", "hello"), "an app\n")
	var lent []string
	for _, d := range []string{"bin", "lib", "lib64", "usr"} {
		if at, err := filepath.EvalSymlinks("/" + d); err == nil {
			lent = append(lent, "--volume", at+":/"+d)
		}
	}
	env := append(s.environ(), "HOME="+dir, "TERM=xterm", "NO_COLOR=1", "CI=1")
	return &seat{t: t, dir: dir, env: env}, lent
}

// At each point a person finds what the buildpack has: its environment, user, directory, arguments and files. What is
// left of it after is nothing.
func TestShell(t *testing.T) {
	s := newStage(t)
	for _, runtime := range []string{"oci", "docker"} {
		if os.Geteuid() != 0 && runtime == "oci" {
			continue
		}
		me, lent := shellSeat(t, s)
		enter := slices.Concat([]string{"buildpack", "shell", "one", "two", "--app", "app", "--runtime", runtime}, lent)
		for _, p := range []struct {
			flags  []string
			prompt string
			ready  bool // the buildpack has run
		}{
			{nil, "slipway: acme/one@1.0 (before build) /workspace $ ", false},
			{[]string{"--before", "acme/two"}, "slipway: acme/two@1.0 (before build) /workspace $ ", false},
			{[]string{"--after", "acme/one@1.0"}, "slipway: acme/one@1.0 (after build) /workspace $ ", true},
		} {
			me.start(slices.Concat(enter, p.flags)...)
			me.sees(p.prompt)
			if !p.ready {
				me.types("build; ")
			}
			me.types(sameEnvironment)
			me.sees("the same")
			me.types("exit 3\n")
			out := me.ends(0)
			if !strings.Contains(out, "acme/two@1.0 built in") {
				t.Errorf("%s, %q: the build did not go on: %s", runtime, p.flags, out)
			}
		}
		write(t, filepath.Join(me.dir, "app", "fail"), "")
		me.start(append(enter, "--on-failure")...)
		me.sees("slipway: acme/one@1.0 (build failed) /workspace $ ")
		me.types(sameEnvironment)
		me.sees("the same")
		me.types("rm fail; build && exit\n")
		if out := me.ends(51); !strings.Contains(out, "ERROR: build of buildpack acme/one@1.0 exited with status 1") {
			t.Errorf("%s: %s", runtime, out)
		}
		write(t, filepath.Join(me.dir, "app", "wrong"), "")
		me.start(slices.Concat([]string{"build", s.name("app"), "--buildpack", "one", "--path", "app", "--output", "store", "--on-error=shell", "--runtime", runtime}, lent)...)
		me.sees("slipway: acme/one@1.0 (detect failed) /workspace $ ")
		me.types("detect; echo again=$?; exit\n")
		if out := me.ends(21); !strings.Contains(out, "again=1") {
			t.Errorf("%s: %s", runtime, out)
		}
		nothingLeft(t, s)
	}
	me, lent := shellSeat(t, s)
	enter := slices.Concat([]string{"buildpack", "shell", "one", "--app", "app"}, lent)
	t.Run("signals", func(t *testing.T) { shellSignals(t, s, me, enter) })
	t.Run("refused", func(t *testing.T) { shellRefused(t, me, enter) })
}

// sameEnvironment compares what a program finds with what the build has kept. bash tells every program its path as "_".
const sameEnvironment = `{ env | grep -v '^_=' | sort; echo "$PWD $(id -u) $*"; } | cmp - $CNB_LAYERS_DIR/saw && test -f hello && echo the' 'same` + "\n"

// shellSignals: a signal ends a shell and all that was made for it.
func shellSignals(t *testing.T, s *stage, me *seat, enter []string) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		me.start(enter...)
		me.sees("(before build) /workspace $ ")
		me.types("sleep 1000 & trap '' HUP; echo rea''dy\n")
		me.sees("ready")
		check(t, me.cmd.Process.Signal(sig))
		me.ends(128 + int(sig))
		nothingLeft(t, s)
	}
}

func shellRefused(t *testing.T, me *seat, enter []string) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{enter, "ERROR: a shell needs a terminal, and standard input is none\n"},
		{append(enter, "--output-format", "json"), "leave out --output-format json"},
		{[]string{"build", "app", "--on-error=shell"}, "ERROR: a shell needs a terminal, and standard input is none\n"},
		{[]string{"build", "app", "--on-error=stop"}, "ERROR: --on-error stop: want shell\n"},
	} {
		cmd := exec.Command("slipway", c.args...)
		cmd.Dir, cmd.Env = me.dir, me.env
		out, _ := cmd.CombinedOutput() // its exit code is looked at
		if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), c.says) {
			t.Errorf("%q: exit code %d, %s", c.args, code, out)
		}
	}
	me.start(append(enter, "--before", "acme/none")...)
	if out := me.ends(1); !strings.Contains(out, "no buildpack acme/none to stop at in the group that detected: acme/one@1.0") {
		t.Error(out)
	}
}

// nothingLeft looks for builds in progress, containers and mounts of the stage.
func nothingLeft(t *testing.T, s *stage) {
	t.Helper()
	for _, dir := range []string{"home/builds", "home/oci/containers"} {
		if left, err := filepath.Glob(s.path(dir + "/*")); err != nil || len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
	}
	if b, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(b), s.path("home/builds")) || strings.Contains(string(b), s.path("home/oci")) {
		t.Errorf("mounts are left: %v\n%s", err, b)
	}
	out, err := exec.Command("docker", "ps", "-a", "--format", `{{.Label "build.slipway.image"}}`).Output()
	if err != nil || strings.Contains(string(out), "slipway/try:") {
		t.Errorf("containers are left in Docker: %s, %v", out, err)
	}
}
