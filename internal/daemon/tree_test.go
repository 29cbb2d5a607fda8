package daemon_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A tree is the working tree of somebody who pushes, with the stock git client.
type tree struct {
	t   testing.TB
	dir string
}

func newTree(t testing.TB) *tree {
	t.Helper()
	d := &tree{t, t.TempDir()}
	d.git("init", "-q", "-b", "main")
	return d
}

func (d *tree) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", append([]string{"-C", d.dir, "-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "gc.auto=0", "-c", "advice.detachedHead=false"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C", "TMPDIR=" + os.TempDir()}
	return cmd
}

// git runs a git that must succeed.
func (d *tree) git(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(out)
}

// try returns all that a git printed, without the blanks with which the client fills lines.
func (d *tree) try(args ...string) (string, error) {
	out, err := d.command(args...).CombinedOutput()
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String(), err
}

// commit commits files, given as pairs of name and text, and returns the commit.
func (d *tree) commit(files ...string) string {
	d.t.Helper()
	all := map[string]string{}
	for i := 0; i+1 < len(files); i += 2 {
		all[files[i]] = files[i+1]
	}
	if err := writeFiles(d.dir, all); err != nil {
		d.t.Fatal(err)
	}
	d.git("add", "-A")
	d.git("commit", "-q", "-m", "m")
	return d.head()
}

func (d *tree) head() string {
	d.t.Helper()
	return d.git("rev-parse", "HEAD")
}

// remote is where a ref of the app stands, "" where it is not there.
func (d *tree) remote(ref string) string {
	d.t.Helper()
	line, _, _ := strings.Cut(d.git("ls-remote", "slipway", ref), "\t")
	return line
}

// push pushes with these arguments, and fails the test unless that ends as it should and says each of the texts, in
// this order.
func (d *tree) push(ok bool, args []string, texts ...string) string {
	d.t.Helper()
	out, err := d.try(append([]string{"push"}, args...)...)
	if (err == nil) != ok {
		d.t.Fatalf("git push %v: %v\n%s", args, err, out)
	}
	inOrder(d.t, out, texts...)
	return out
}

func inOrder(t testing.TB, out string, texts ...string) {
	t.Helper()
	rest := out
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Fatalf("%q is not there, or not in its place:\n%s", text, out)
		}
		rest = after
	}
}

// A running is a git that has not ended.
type running struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines *bufio.Scanner
	seen  strings.Builder
	began time.Time
}

// start starts a git, in a process group of its own.
func (d *tree) start(args ...string) *running {
	d.t.Helper()
	cmd := d.command(args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	w.Close()
	g := &running{t: d.t, cmd: cmd, lines: bufio.NewScanner(r), began: time.Now()}
	d.t.Cleanup(func() { g.kill(); r.Close() })
	return g
}

// until reads what git prints to a line that has text in it.
func (g *running) until(text string) {
	g.t.Helper()
	for g.lines.Scan() {
		g.seen.WriteString(strings.TrimRight(g.lines.Text(), " ") + "\n")
		if strings.Contains(g.lines.Text(), text) {
			return
		}
	}
	g.t.Fatalf("git ended without %q:\n%s", text, &g.seen)
}

// end reads the rest and returns all that git printed, and how it ended.
func (g *running) end() (string, error) {
	for g.lines.Scan() {
		g.seen.WriteString(strings.TrimRight(g.lines.Text(), " ") + "\n")
	}
	return g.seen.String(), g.cmd.Wait()
}

func (g *running) kill() {
	if g.cmd.ProcessState == nil {
		_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
		_ = g.cmd.Wait()
	}
}

// quarantines are what pushes have left in the git directory of a service.
func (s *server) quarantines() (left []string) {
	for _, p := range []string{"*.git/objects/tmp_objdir-*", "*.git/objects/incoming-*", "*.git/objects/pack/tmp_*", "*.git/*.lock", "run/tmp/*"} {
		found, _ := filepath.Glob(filepath.Join(s.data, "git", p))
		left = append(left, found...)
	}
	return left
}
