package gitserver

import (
	"bufio"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// The test binary is also the hook of the gits that the tests run.
func TestMain(m *testing.M) {
	if IsHook(os.Args, os.Environ()) {
		os.Exit(Hook(context.Background(), os.Stdin, os.Stdout, os.Environ()))
	}
	if os.Getenv(envVictim) != "" {
		os.Exit(victim())
	}
	code := m.Run()
	if k, err := keys(); err == nil {
		os.RemoveAll(k.dir)
	}
	os.Exit(code)
}

const token = "t0ken"

// service is a receiver as the real one is: it classifies, and "builds" the deploy branch with a function.
type service struct {
	app   build.App
	repos *Repos

	mu    sync.Mutex
	build func(ctx context.Context, p *Push, u Update) error
	moves []error // of Moved, in order
	news  chan struct{}
}

func (s *service) Authorize(_ context.Context, c Credential, app string, verb build.Verb) (build.App, build.Actor, error) {
	if c.Key != "" {
		k, err := keys()
		if err != nil {
			return build.App{}, build.Actor{}, err
		}
		c.Token = k.public[c.Key]
	}
	user := build.User{ID: s.app.Owner, Name: "owner"}
	switch {
	case c.Token == "reader" && verb != build.VerbRead:
		return build.App{}, build.Actor{}, build.ErrForbidden
	case c.Token == "foreign" || c.Token == token && app != string(s.app.Name):
		return build.App{}, build.Actor{}, build.ErrNotFound
	case c.Token != token && c.Token != "reader":
		return build.App{}, build.Actor{}, ErrCredential
	}
	return s.app, build.Actor{User: user}, nil
}

func (s *service) Push(ctx context.Context, p *Push) error {
	plan, err := Classify(s.app.Branch, p.Updates)
	if err != nil {
		return err
	}
	for _, line := range plan.Says {
		if _, err := p.Out.Write([]byte("-----> " + line + "\n")); err != nil {
			return err
		}
	}
	s.mu.Lock()
	f := s.build
	s.mu.Unlock()
	if plan.Deploy == nil || f == nil {
		return nil
	}
	return f(ctx, p, *plan.Deploy)
}

// builds says what a build is from now on; nil succeeds at once.
func (s *service) builds(f func(ctx context.Context, p *Push, u Update) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.build = f
}

func (s *service) Moved(_ context.Context, _ build.App, _ Update, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moves = append(s.moves, err)
	s.news <- struct{}{}
}

// world is a server with one app, and what a test needs of it.
type world struct {
	*service
	t       testing.TB
	handler *Handler
	server  *httptest.Server
	dir     string // of the repositories
	address string // where pushes go by SSH; "" over HTTP
}

func newWorld(t testing.TB, limits Limits) *world {
	t.Helper()
	dir := t.TempDir()
	repos, err := OpenRepos(dir, "git")
	must(t, err)
	s := &service{
		app:   build.App{ID: build.NewID(), Name: "demo", Owner: build.NewID(), Branch: "main"},
		repos: repos, news: make(chan struct{}, 100),
	}
	if raced {
		limits.Memory = 1 << 50 // of which the race detector in the hook maps much
	}
	h := &Handler{Repos: repos, Receiver: s, Limits: limits, Fault: func(err error) { t.Error("a fault of ours:", err) }}
	server := httptest.NewServer(h)
	w := &world{service: s, t: t, handler: h, server: server, dir: dir}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(t, h.Stop(ctx))
		server.CloseClientConnections()
		server.Close()
		w.wantClean()
	})
	if strings.HasPrefix(t.Name(), "TestOverSSH/") {
		w.address = w.serveSSH()
	}
	return w
}

func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	return exe
}

// url is where to push with a token, or the key of that name.
func (w *world) url(token string) string {
	if w.address != "" {
		return "ssh://" + token + "@" + w.address + "/demo.git"
	}
	return strings.Replace(w.server.URL, "http://", "http://anybody:"+token+"@", 1) + "/demo.git"
}

// wantClean fails the test when a quarantine, a socket or a temporary file is left.
func (w *world) wantClean() {
	w.t.Helper()
	for _, p := range []string{"*.git/objects/tmp_objdir-*", "*.git/objects/incoming-*", "*.git/objects/pack/tmp_*", "*.git/*.lock", "run/tmp/*", "*.making-*", "*.gone-*"} {
		left, err := filepath.Glob(filepath.Join(w.dir, p))
		must(w.t, err)
		if len(left) > 0 {
			w.t.Errorf("left behind: %v", left)
		}
	}
	entries, err := os.ReadDir(filepath.Join(w.dir, runDir))
	must(w.t, err)
	for _, e := range entries {
		if !e.IsDir() {
			w.t.Errorf("left behind: %s", e.Name())
		}
	}
}

// waitMoved waits for the next Moved and returns what it was told.
func (w *world) waitMoved() error {
	w.t.Helper()
	select {
	case <-w.news:
	case <-time.After(time.Minute):
		w.t.Fatal("Moved was not called")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.moves[0]
	w.moves = w.moves[1:]
	return err
}

// at is where a ref of the app stands.
func (w *world) at(ref RefName) Hash {
	w.t.Helper()
	h, err := w.repos.Ref(w.t.Context(), w.app.ID, ref)
	if errors.Is(err, build.ErrNotFound) {
		return Zero
	}
	must(w.t, err)
	return h
}

// tree is a working tree of somebody who pushes, with the stock git client.
type tree struct {
	t   testing.TB
	dir string
}

// newTree makes one with a commit on main.
func newTree(t testing.TB) *tree {
	t.Helper()
	d := &tree{t, t.TempDir()}
	d.git("init", "-q", "-b", "main")
	d.commit("a", "one\n")
	return d
}

func (d *tree) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", append([]string{"-C", d.dir, "-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "gc.auto=0", "-c", "advice.detachedHead=false"}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_SSH_COMMAND=ssh -F " + filepath.Join(theKeys(d.t).dir, "config"),
	}
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
	return strings.ReplaceAll(string(out), "        \n", "\n"), err
}

// A running is a git that has not ended.
type running struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// start starts a git, in a process group of its own.
func (d *tree) start(env []string, args ...string) *running {
	d.t.Helper()
	cmd := d.command(args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	must(d.t, err)
	cmd.Stdout, cmd.Stderr = w, w
	must(d.t, cmd.Start())
	must(d.t, w.Close())
	g := &running{t: d.t, cmd: cmd, lines: bufio.NewScanner(r)}
	d.t.Cleanup(func() { g.kill(); r.Close() })
	return g
}

// until reads what git prints to a line that has text in it.
func (g *running) until(text string) {
	g.t.Helper()
	var all []string
	for g.lines.Scan() {
		all = append(all, g.lines.Text())
		if strings.Contains(g.lines.Text(), text) {
			return
		}
	}
	g.t.Fatalf("git ended without %q:\n%s", text, strings.Join(all, "\n"))
}

// end reads the rest of what git prints and returns it, and how git ended.
func (g *running) end() (string, error) {
	var all strings.Builder
	for g.lines.Scan() {
		all.WriteString(strings.TrimRight(g.lines.Text(), " ") + "\n")
	}
	return all.String(), g.cmd.Wait()
}

func (g *running) kill() {
	if g.cmd.ProcessState == nil {
		_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
		_ = g.cmd.Wait()
	}
}

// commit writes a file and commits it.
func (d *tree) commit(file, content string) Hash {
	d.t.Helper()
	path := filepath.Join(d.dir, file)
	must(d.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(d.t, os.WriteFile(path, []byte(content), 0o644))
	d.git("add", "--", file)
	d.git("commit", "-q", "-m", file)
	return d.head()
}

func (d *tree) head() Hash {
	d.t.Helper()
	h, err := ParseHash(d.git("rev-parse", "HEAD"))
	must(d.t, err)
	return h
}

// wantPush pushes and fails the test unless that ends as it should, and with these texts.
func (d *tree) wantPush(ok bool, args []string, texts ...string) string {
	d.t.Helper()
	out, err := d.try(append([]string{"push"}, args...)...)
	if (err == nil) != ok {
		d.t.Fatalf("git push %v: %v\n%s", args, err, out)
	}
	wantTexts(d.t, out, texts...)
	return out
}

func wantTexts(t testing.TB, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in:\n%s", text, out)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
