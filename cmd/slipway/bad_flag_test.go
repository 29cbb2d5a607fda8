package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func badFlags(t *testing.T, y *yard) {
	envFile := filepath.Join(t.TempDir(), "vars")
	write(t, envFile, "GOOD=1\n# comment\n=2\n")
	untyped := t.TempDir()
	flag := func(name string, code int, args []string, says ...string) bad {
		return bad{name: name, args: args, code: code, says: says, hides: notBuilding}
	}
	y.try(t,
		flag("unknown", 3, []string{"--publsh"}, "--publsh", "--publish"),
		flag("env without a name", 3, []string{"--env", "=1"}, "--env"),
		flag("env file", 3, []string{"--env-file", envFile}, envFile, "line 3", "empty"),
		flag("no env file", 3, []string{"--env-file", "./nowhere"}, "./nowhere"),
		flag("binding", 3, []string{"--binding", "db"}, "--binding db", "NAME=DIR"),
		flag("binding without a directory", 3, []string{"--binding", "db=./nowhere"}, "./nowhere"),
		flag("binding without a type", 3, []string{"--binding", "db=" + untyped}, untyped, "type"),
		flag("binding name", 3, []string{"--binding", "../db=" + untyped}, "../db"),
		flag("volume", 3, []string{"--volume", "/tmp"}, "--volume /tmp", "HOST:TARGET"),
		flag("volume in our way", 3, []string{"--volume", "/tmp:/layers/x"}, "/layers"),
		flag("volume option", 3, []string{"--volume", "/tmp:/x:rx"}, `"rx"`),
		flag("volume of the engine's socket", 1, []string{"--volume", "/var/run:/x"}, "/var/run"),
		flag("volume that is not there", 1, []string{"--volume", "/nowhere/at/all:/x"}, "/nowhere/at/all"),
		flag("creation time", 3, []string{"--creation-time", "yesterday"}, "--creation-time yesterday", "2026-"),
		flag("memory", 3, []string{"--memory", "much"}, "--memory much", "512m"),
		flag("little memory", 3, []string{"--memory", "1k"}, "--memory 1k"),
		flag("disk", 3, []string{"--disk", "-1"}, "--disk -1"),
		flag("timeout", 3, []string{"--timeout", "soon"}, "--timeout soon", "10m"),
		flag("pids", 3, []string{"--pids", "many"}, "--pids many", "number"),
		flag("truth", 3, []string{"--clear-cache=perhaps"}, "--clear-cache perhaps", "true or false"),
		flag("negative timeout", 3, []string{"--timeout", "-1s"}, "--timeout -1s"),
		flag("output", 3, []string{"--output", "nowhere"}, "--output nowhere", "oci:DIR"),
		flag("pull policy", 3, []string{"--pull-policy", "sometimes"}, "--pull-policy sometimes", "never"),
		flag("platform", 3, []string{"--platform", "amiga"}, "--platform amiga"),
		flag("another platform", 1, []string{"--platform", "linux/s390x"}, "linux/s390x"),
		flag("workspace", 3, []string{"--workspace", "app"}, "--workspace app", "absolute"),
		flag("root", 3, []string{"--uid", "0"}, "--uid 0"),
		flag("cache", 3, []string{"--cache", "type=build;format=tape"}, "tape"),
		flag("network", 1, []string{"--network", "no-such-network"}, "no-such-network"),
		flag("CA", 3, []string{"--ca-cert", envFile}, envFile, "certificate"),
		flag("extension", 3, []string{"--extension", "x"}, "--extension x"),
		bad{name: "SOURCE_DATE_EPOCH", env: []string{"SOURCE_DATE_EPOCH=now"}, code: 1, says: []string{"SOURCE_DATE_EPOCH=now"}, hides: notBuilding},
		bad{name: "no builder", args: []string{"--builder", ""}, code: 3, says: []string{"--builder", "config default-builder"}, hides: notBuilding},
	)
}

func badEngines(t *testing.T, y *yard) {
	dead := filepath.Join(t.TempDir(), "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	at := func(host string) []string { return []string{"DOCKER_HOST=" + host} }
	toDocker := []string{"--output", "docker"}
	y.try(t,
		bad{name: "no socket", env: at("unix:///nowhere/docker.sock"), args: toDocker, code: 1, says: []string{"Docker", "/nowhere/docker.sock", "start it"}},
		bad{name: "nobody listens", env: at("unix://" + dead), args: toDocker, code: 1, says: []string{"Docker", dead, "start it"}},
		bad{name: "nobody listens, output to the store", env: at("unix://" + dead), code: 1, says: []string{"Docker", dead, "start it"}},
		bad{name: "no TCP", env: at("tcp://127.0.0.1:1"), args: toDocker, code: 1, says: []string{"Docker", "127.0.0.1:1", "refused"}},
		bad{name: "no address", env: at("nonsense"), args: toDocker, code: 1, says: []string{"DOCKER_HOST", "nonsense"}},
	)
	t.Run("permission denied", func(t *testing.T) {
		t.Parallel()
		w := y.work(t)
		sock := filepath.Join(openDir(t), "docker.sock")
		l, err := net.Listen("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := os.Chmod(sock, 0); err != nil {
			t.Fatal(err)
		}
		home := filepath.Join(openDir(t), "home")
		if err := os.Mkdir(home, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(home, 0o777); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(y.binary(t), w.args("--output", "docker")...)
		cmd.Env = append(w.environ(), "DOCKER_HOST=unix://"+sock, "SLIPWAY_HOME="+home)
		if os.Geteuid() == 0 { // whom no mode stops
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		cmd.Dir = "/"
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%v, want exit code 1: %s", err, stderr.String())
		}
		line := errorLine(t, stderr.String(), w.home)
		t.Log(line)
		for _, s := range []string{"no permission", sock, "usermod -aG docker"} {
			if !strings.Contains(line, s) {
				t.Errorf("the line does not say %q:\n%s", s, line)
			}
		}
		w.good()
	})
}

// noRuntime is a machine with neither Docker nor an OCI runtime: one line says what to install, whatever is asked.
func noRuntime(t *testing.T, y *yard) {
	w := y.work(t)
	says := []string{"Docker", "/nowhere/docker.sock", "start it"}
	argv := []string{y.binary(t)}
	if os.Geteuid() == 0 { // others need Docker in any case
		says = []string{"no container runtime", "apt-get install runc", "apt-get install docker.io", "/nowhere/docker.sock"}
		hide := ""
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
			for _, name := range []string{"runc", "crun"} {
				if at := filepath.Join(dir, name); !strings.Contains(hide, " "+at+"\n") && exists(at) {
					hide += "mount --bind /dev/null " + at + "\n"
				}
			}
		}
		argv = []string{"unshare", "--mount", "sh", "-ec", hide + `exec "$@"`, "sh", argv[0]}
	}
	for _, args := range [][]string{w.args(), w.args("--output", "docker"), {"run", w.name}} {
		cmd := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], args...)...)
		cmd.Env = w.environ("SLIPWAY_RUNTIME=auto", "DOCKER_HOST=unix:///nowhere/docker.sock")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%q: %v, want exit code 1", args, err)
		}
		line := errorLine(t, stderr.String(), w.home)
		t.Log(line)
		for _, s := range says {
			if !strings.Contains(line, s) {
				t.Errorf("%q: the line does not say %q:\n%s", args, s, line)
			}
		}
	}
	w.nothingLeft()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// openDir is a directory that everybody may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", fmt.Sprintf("slipway-bad-%d-", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
