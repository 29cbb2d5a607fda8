package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder"
)

// A sitter is a person at a shell of an agent.
type sitter struct {
	t     *testing.T
	keys  *io.PipeWriter
	sizes chan Size
	over  chan error

	mu     sync.Mutex
	screen strings.Builder
}

// sit opens a shell at cmd.
func sit(ctx context.Context, t *testing.T, a *Agent, cmd builder.Cmd) *sitter {
	r, w := io.Pipe()
	s := &sitter{t: t, keys: w, sizes: make(chan Size), over: make(chan error, 1)}
	go func() {
		s.over <- a.Shell(ctx, cmd, "a/b@1 (before build)", Terminal{In: r, Out: s, Type: "xterm", Size: Size{24, 80}, Resize: s.sizes})
	}()
	return s
}

// Write is the screen's.
func (s *sitter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.Write(b)
}

func (s *sitter) types(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keys, text); err != nil {
		s.t.Fatal(err)
	}
}

// sees waits for a text on the screen, and takes all up to it away.
func (s *sitter) sees(text string) string {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		all := s.screen.String()
		before, after, ok := strings.Cut(all, text)
		if ok {
			s.screen.Reset()
			s.screen.WriteString(after)
		}
		s.mu.Unlock()
		if ok {
			return before
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%q never came: %q", text, all)
		}
	}
}

const atPrompt = "slipway: a/b@1 (before build) "

func TestShell(t *testing.T) {
	both(t, func(t *testing.T, first bool) {
		a := startAgent(t, first).Agent
		dir := t.TempDir()
		cmd := shell(`env >"$1"; printf '%s|' "$@" "$PWD" >"$1.args"`, filepath.Join(dir, "it's $here"), "two words")
		cmd.Env = []string{"HOME=" + dir, "PATH=/usr/bin:/bin", "QUOTE=it's \"$HOME\"\nand more"}
		cmd.Dir = dir
		s := sit(t.Context(), t, a, cmd)
		s.sees(atPrompt + dir + " ")

		// Nothing that the executable does not get is in the environment, but for what bash says of each program.
		s.types("env -0 | sort -z | tr '\\0' '|' | cat - >env; echo do''ne\n")
		s.sees("done")
		got := slices.DeleteFunc(strings.Split(string(readFile(t, filepath.Join(dir, "env"))), "|"), func(e string) bool { return e == "" || e == "_=/usr/bin/env" })
		if !slices.Equal(got, cmd.Env) {
			t.Errorf("environment %q, want %q", got, cmd.Env)
		}
		s.types("build; printf '%s:' \"$#\" \"$5\"; cat \"$4.args\"; echo do''ne\n")
		if out := s.sees("done"); !strings.Contains(out, "5:two words:"+dir+"/it's $here|two words|"+dir+"|") {
			t.Errorf("the executable by hand: %q", out)
		}

		// A terminal: its size, job control, and Ctrl-C to what runs in it.
		s.types("stty size; sleep 1000 & jobs; sh -c 'echo in\"\"side; exec sleep 1000'\n")
		s.sees("24 80")
		s.sees("Running")
		s.sees("inside")
		s.sizes <- Size{30, 100}
		s.types("\x03echo rc=$?\n")
		s.sees("rc=130")
		s.types("stty size\n")
		s.sees("30 100")

		// What a shell leaves running is gone after it.
		s.types("sleep 1000 & echo p''id=$!=; trap '' HUP; exit 7\n")
		s.sees("pid=")
		pid := s.sees("=")
		if err := <-s.over; err != nil {
			t.Error(err)
		}
		if _, _, err := runText(t, a, shell("kill -0 "+pid)); err == nil {
			t.Errorf("it left process %s", pid)
		}
	})
}

// Who goes away, or is taken away, leaves no shell behind, and the agent goes on.
func TestShellEnds(t *testing.T) {
	a := startAgent(t, true).Agent
	why := errors.New("enough")
	for name, end := range map[string]func(s *sitter, cancel context.CancelCauseFunc) error{
		"cancelled": func(_ *sitter, cancel context.CancelCauseFunc) error { cancel(why); return why },
		"hung up":   func(s *sitter, _ context.CancelCauseFunc) error { s.keys.Close(); return nil },
		// More than pipes and windows hold, which nobody reads.
		"typed ahead": func(s *sitter, _ context.CancelCauseFunc) error {
			_, _ = io.WriteString(s.keys, "exec sleep 0.2\n"+strings.Repeat("x\n", 300<<10)) // it may be closed before
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			s := sit(ctx, t, a, shell("exit"))
			s.sees(atPrompt)
			want := end(s, cancel)
			if err := <-s.over; !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			if out, _, err := runText(t, a, shell("ls /proc/[0-9]* -d | wc -l")); err != nil {
				t.Error(out, err)
			}
		})
	}
}

// A plain sh has the same environment.
func TestShellPlain(t *testing.T) {
	dir := t.TempDir()
	for name, env := range map[string][]string{"without": {"A=b", "PATH=/usr/bin:/bin"}, "of its own": {"ENV=mine", "PATH=/usr/bin:/bin", "PWD=" + dir}} {
		req := shellRequest{runRequest: newRunRequest(shell(`echo "by hand: $1"`, "it's")), Where: "a/b@1 (after build)", Type: "xterm"}
		req.Env = env
		script := filepath.Join(dir, name)
		if err := os.WriteFile(script, []byte(plainScript(req)), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/dash", "-i")
		cmd.Env, cmd.Dir = append([]string{"ENV=" + script}, slices.DeleteFunc(slices.Clone(env), func(e string) bool { return e == "ENV=mine" })...), dir
		cmd.Stdin = strings.NewReader("env | sort\nbuild\necho \"$4 $TERM\"\n")
		out, err := cmd.CombinedOutput()
		want := strings.Join(env, "\n") + "\n"
		for _, want := range []string{want, "by hand: it's\n", "it's xterm\n", "slipway: a/b@1 (after build) " + dir + " $ "} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q: %v\n%s", name, want, err, out)
			}
		}
	}
}
