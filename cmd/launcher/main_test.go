package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// build makes the launcher as releases do.
func build(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "launcher")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return file
}

func TestSmallAndStatic(t *testing.T) {
	file := build(t)
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > 4<<20 {
		t.Errorf("the launcher has %d bytes, the limit is 4 MiB", fi.Size())
	}
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("the launcher is not static: %v %v", libs, err)
	}
}

// TestStart runs the real binary in an image made of directories.
func TestStart(t *testing.T) {
	file := build(t)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("app/x", "")
	write("layers/b/l/bin/serve", "#!/bin/sh\necho \"$$ $0 $1 $A\"; exit 7\n")
	write("layers/b/l/bin/crlf", "#!/bin/sh\r\n")
	write("layers/b/l/bin/text", "text")
	write("layers/b/l/env/A", "from a layer")
	write("layers/config/metadata.toml", `
[[buildpacks]]
id = "b"
version = "1.0.0"
api = "0.12"
[[processes]]
type = "web"
command = ["serve"]
args = ["arg"]
direct = true
buildpack-id = "b"
`)
	web := filepath.Join(dir, "web")
	if err := os.Symlink(file, web); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) (out string, code, pid int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = []string{"CNB_PLATFORM_API=0.15", "CNB_APP_DIR=" + dir + "/app", "CNB_LAYERS_DIR=" + dir + "/layers", "PATH=/usr/bin:/bin"}
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		cmd.Run()
		return b.String(), cmd.ProcessState.ExitCode(), cmd.Process.Pid
	}
	out, code, pid := run(web)
	fields := strings.Fields(out)
	if code != 7 || len(fields) < 3 || fields[2] != "arg" || !strings.HasSuffix(out, "from a layer\n") {
		t.Errorf("exit %d: %q", code, out)
	} else if fields[0] != strconv.Itoa(pid) {
		t.Errorf("the process has pid %s, the launcher had %d: it forked", fields[0], pid)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 82, "ERROR: failed to launch: determine start command: when there is no default process a command is required: the process types are web"},
		{[]string{"--", "crlf"}, 82, "a line that ends in CR LF names none"},
		{[]string{"--", "text"}, 82, "it has no #! line, or is built for another architecture"},
		{[]string{"exit 9"}, 9, ""},
	} {
		out, code, _ := run(file, c.args...)
		if code != c.code || !strings.Contains(out, c.want) || strings.Count(out, "\n") > 1 {
			t.Errorf("%q: exit %d: %s", c.args, code, out)
		}
	}
}
