package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
)

// A seat is somebody at a terminal in which slipway runs.
type seat struct {
	t    *testing.T
	dir  string
	env  []string
	said syncBuffer
	keys io.Writer
	cmd  *exec.Cmd
	over chan struct{} // closed when all was read
}

// start runs slipway in a terminal of its own.
func (s *seat) start(args ...string) {
	s.t.Helper()
	master, name, err := console.NewPty()
	if err != nil {
		s.t.Fatal(err)
	}
	tty, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.said = syncBuffer{}
	s.cmd = exec.Command("slipway", args...)
	s.cmd.Dir, s.cmd.Env = s.dir, s.env
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = tty.Close()
	s.keys, s.over = master, make(chan struct{})
	go func() {
		defer close(s.over)
		_, _ = io.Copy(&s.said, master) // until nobody has the terminal open any more
		_ = master.Close()
	}()
}

// sees waits for something on the screen.
func (s *seat) sees(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.said.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = s.cmd.Process.Kill()
			s.t.Fatalf("%q never came: %q", text, s.said.String())
		}
	}
}

func (s *seat) types(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keys, text); err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for the end, and returns what was on the screen.
func (s *seat) ends(code int) string {
	s.t.Helper()
	_ = s.cmd.Wait() // its exit code is looked at
	<-s.over
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("%q: exit code %d, want %d: %q", s.cmd.Args, got, code, s.said.String())
	}
	return s.said.String()
}

// TestServiceTerminal sits at a terminal: a token that is typed is not shown, a log is safe in its colours, Ctrl-C leaves
// the build alone, and an app is deleted by its name.
func TestServiceTerminal(t *testing.T) {
	dir := t.TempDir()
	url, token, err := startService(t, t.Cleanup, filepath.Join(dir, "service"))
	if err != nil {
		t.Fatal(err)
	}
	src := loudSource(t)
	s := &seat{t: t, dir: dir, env: append(os.Environ(), "HOME="+dir, "SLIPWAY_HOME="+filepath.Join(dir, "home"), "TERM=xterm", "NO_COLOR=", "SLIPWAY_APP=", "SLIPWAY_URL=", "SLIPWAY_TOKEN=", "SSL_CERT_FILE=")}
	s.start("login", url)
	s.sees("Token for " + url + ": ")
	s.types(token + "\n")
	if out := s.ends(0); !strings.Contains(out, "Logged in to "+url) || strings.Contains(out, token) {
		t.Errorf("login: %q", out)
	}
	s.start("apps", "create", "my-app")
	s.ends(0)

	s.start("builds", "create", "--app", "my-app", "--path", src)
	s.sees("and more")
	s.types("\x03")
	out := s.ends(130)
	for _, want := range []string{"Sending the source: ", "\x1b[32mgreen\x1b[0m and more", "Note: build 1 goes on: slipway builds logs 1 -f --app my-app"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if strings.Contains(out, "\x1b[2J") || strings.Contains(out, "title") {
		t.Errorf("what commands a terminal came through: %q", out)
	}
	s.start("builds", "cancel", "--app", "my-app")
	s.ends(0)
	s.start("builds", "logs", "-f", "--app", "my-app")
	s.ends(103)

	s.start("apps", "delete", "my-app")
	s.sees("Its name again: ")
	s.types("another\n")
	if out := s.ends(3); !strings.Contains(out, "not deleted") {
		t.Errorf("delete: %q", out)
	}
	s.start("apps", "delete", "my-app")
	s.sees("Its name again: ")
	s.types("my-app\n")
	s.ends(0)
}

// loudSource is a source whose build waits to be cancelled, and whose log wants to command the terminal.
func loudSource(t *testing.T) string {
	src := t.TempDir()
	for name, text := range map[string]string{"outcome": "hold", "log": "\x1b[32mgreen\x1b[0m\x1b[2J\x1b]0;title\x07 and more\n"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return src
}
