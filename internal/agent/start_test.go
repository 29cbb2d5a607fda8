package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/builder"
)

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	other := uint16(183) // aarch64
	if elfMachine(t) == other {
		other = 62
	}
	foreign := readFile(t, "/bin/sh")
	foreign[18], foreign[19] = byte(other), byte(other>>8)
	loaderless := bytes.Replace(readFile(t, "/bin/sh"), []byte("/lib64/ld-linux"), []byte("/lib64/ld-linax"), 1)
	loaderless = bytes.Replace(loaderless, []byte("/lib/ld-linux"), []byte("/lib/ld-linax"), 1)
	for _, tc := range []struct {
		name string
		data string
		mode os.FileMode
		want string
	}{
		{"missing", "", 0, "does not exist"},
		{"plain", "#!/bin/sh\n", 0o644, "not executable"},
		{"interpreter", "#!/opt/ruby/bin/ruby\n", 0o755, "interpreter /opt/ruby/bin/ruby does not exist"},
		{"crlf", "#!/bin/sh\r\nexit 0\r\n", 0o755, "CRLF"},
		{"envcrlf", "#!/usr/bin/env bash\r\n", 0o755, "CRLF"},
		{"env", "#!/usr/bin/env no-such-ruby\n", 0o755, "interpreter no-such-ruby is not on PATH"},
		{"text", "hello\n", 0o755, "neither a program"},
		{"arch", string(foreign), 0o755, "another architecture"},
		{"loader", string(loaderless), 0o755, "dynamic loader /lib"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := startAgent(t, false)
			path := filepath.Join(dir, tc.name)
			if tc.mode != 0 {
				if err := os.WriteFile(path, []byte(tc.data), tc.mode); err != nil {
					t.Fatal(err)
				}
			}
			cmd := shell("")
			cmd.Path, cmd.Args = path, nil
			_, _, err := runText(t, a.Agent, cmd)
			e, ok := errors.AsType[*builder.StartError](err)
			if !ok || !strings.Contains(e.Reason, tc.want) || e.Path != path || e.Buildpack.ID != "a/b" {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("dir", func(t *testing.T) {
		a := startAgent(t, false)
		cmd := shell("true")
		cmd.Dir = filepath.Join(dir, "nowhere")
		if _, _, err := runText(t, a.Agent, cmd); err == nil || !strings.Contains(err.Error(), "working directory") {
			t.Errorf("got %v", err)
		}
	})
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func elfMachine(t *testing.T) uint16 {
	b := readFile(t, "/bin/sh")
	return uint16(b[18]) | uint16(b[19])<<8
}

func TestHello(t *testing.T) {
	root := t.TempDir()
	write := func(name, data string, mode os.FileMode) {
		t.Helper()
		p := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(data), mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/os-release", "ID=debian\n", 0o644)
	write("cnb/order.toml", "order", 0o644)
	write("cnb/lifecycle/lifecycle.toml", "life", 0o644)
	if err := syscall.Mkfifo(filepath.Join(root, "cnb/run.toml"), 0o644); err != nil {
		t.Fatal(err)
	}
	write("cnb/stack.toml", strings.Repeat("x", maxTOML+1), 0o644)
	for i := range 20 {
		bp := fmt.Sprintf("cnb/buildpacks/vendor_bp%02d/1.0.0/", i)
		write(bp+"buildpack.toml", strings.Repeat("# padding\n", 2000)+fmt.Sprint(i), 0o644)
		write(bp+"bin/build", "", 0o755)
		if i%2 == 0 {
			write(bp+"bin/detect", "", 0o755)
		}
	}
	write("cnb/buildpacks/win/1/buildpack.toml", "win", 0o644)
	write("cnb/buildpacks/win/1/bin/build.bat", "", 0o755)
	write("cnb/buildpacks/empty/1/README", "", 0o644)
	h := startAgent(t, true, "TEST_ROOT="+root, "CNB_STACK_ID=x").Hello()
	if string(h.OSRelease) != "ID=debian\n" || string(h.Files["order.toml"]) != "order" || string(h.Files["lifecycle.toml"]) != "life" || len(h.Files) != 2 {
		t.Errorf("files %v, os-release %q", h.Files, h.OSRelease)
	}
	if len(h.Buildpacks) != 21 || h.Buildpacks[3].Path != "/cnb/buildpacks/vendor_bp03/1.0.0" || h.Buildpacks[3].HasDetect || !h.Buildpacks[2].HasDetect || !h.Buildpacks[2].HasBuild || !h.Buildpacks[20].Windows {
		t.Errorf("buildpacks: %d, %+v", len(h.Buildpacks), h.Buildpacks[20])
	}
	if len(h.Warnings) != 2 || !strings.Contains(h.Warnings[0], "/cnb/run.toml: it is not a regular file") || !strings.Contains(h.Warnings[1], "/cnb/stack.toml: it is larger") {
		t.Errorf("warnings: %q", h.Warnings)
	}
	if h.UID != os.Getuid() || !strings.Contains(strings.Join(h.Env, " "), "CNB_STACK_ID=x") {
		t.Errorf("uid %d, env %v", h.UID, h.Env)
	}
}
