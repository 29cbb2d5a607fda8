package index_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/index"
)

// commits is how many BenchmarkSync's index has.
var commits = flag.Int("index.commits", 15_000, "commits of the index of BenchmarkSync")

// grown is a bare repository of an index to which every commit adds a version, made at once. Each has a version number of
// its own: "1.0.N".
type grown struct {
	t    testing.TB
	dir  string
	rows map[string]*bytes.Buffer // by buildpack
	n    int                      // commits
}

func newGrown(t testing.TB) *grown {
	t.Helper()
	g := &grown{t: t, dir: filepath.Join(t.TempDir(), "index.git"), rows: map[string]*bytes.Buffer{}}
	if out, err := exec.Command("git", "init", "--quiet", "--bare", "--initial-branch", "main", g.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return g
}

// grownName is the buildpack that commit n adds to. They are spread over directories, as those of the public index are.
func grownName(n int) string {
	return fmt.Sprintf("acme/%c%c%c%c-pack", 'a'+n%8, 'a'+n/8%8, 'a'+n/64%8, 'a'+n/32%8)
}

// grow adds so many commits.
func (g *grown) grow(n int) {
	g.t.Helper()
	var in bytes.Buffer
	for i := range n {
		g.n++
		name := grownName(g.n)
		id, err := index.ParseName(name)
		if err != nil {
			g.t.Fatal(err)
		}
		text := g.rows[name]
		if text == nil {
			text = &bytes.Buffer{}
			g.rows[name] = text
		}
		fmt.Fprintf(text, `{"ns":"acme","name":%q,"version":"1.0.%d","yanked":false,"addr":"registry.example/acme/bp@sha256:%064x"}`+"\n", id.Name, g.n, g.n*7919)
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter a <a@example.org> %d +0000\ndata 3\nADD\n", 1_700_000_000+g.n)
		if i == 0 && g.n > 1 {
			in.WriteString("from refs/heads/main^0\n")
		}
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", id.Path(), text.Len(), text.Bytes())
	}
	cmd := exec.Command("git", "--git-dir", g.dir, "fast-import", "--quiet")
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("git fast-import: %v\n%s", err, out)
	}
}

// serve serves the repository by smart HTTP, with git's own server. While left is not below zero, an answer to a fetch
// is cut off after so many bytes.
func (g *grown) serve() (url string, left *atomic.Int64) {
	g.t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		g.t.Fatal(err)
	}
	left = &atomic.Int64{}
	left.Store(-1)
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Stderr: g.t.Output(),
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(g.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := left.Load(); n >= 0 && r.Method == http.MethodPost {
			w = &cutOff{w, n}
		}
		backend.ServeHTTP(w, r)
	}))
	g.t.Cleanup(s.Close)
	return s.URL + "/" + filepath.Base(g.dir), left
}

// cutOff ends its connection after so many bytes.
type cutOff struct {
	http.ResponseWriter
	left int64
}

func (c *cutOff) Write(b []byte) (int, error) {
	if c.left -= int64(len(b)); c.left < 0 {
		_, _ = c.ResponseWriter.Write(b[:max(0, int64(len(b))+c.left)])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(b)
}

// TestRemoteGone: a server that is gone in the middle of a fetch changes nothing of what was known, and the next sync
// makes up for it.
func TestRemoteGone(t *testing.T) {
	g := newGrown(t)
	g.grow(512)
	url, left := g.serve()
	s := emptySet(t)
	if err := s.Add(index.Source{Name: "ours", URL: url}); err != nil {
		t.Fatal(err)
	}
	gone := func() {
		t.Helper()
		left.Store(9000)
		defer left.Store(-1)
		_, err := s.Sync(t.Context(), "ours", false)
		if e, ok := errors.AsType[*index.SyncError](err); !ok || e.Index != "ours" || !strings.HasPrefix(err.Error(), "sync index ours: git fetch "+url+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("the server was gone: %v", err)
		}
	}
	version := func(want string) {
		t.Helper()
		r, err := s.Resolve(grownName(0), "")
		if want == "" && err == nil || want != "" && (err != nil || r.Version != want) {
			t.Errorf("%+v %v, want %q", r, err, want)
		}
	}
	gone()
	version("")
	left.Store(9000)
	if _, err := s.Find(t.Context(), grownName(0), ""); err == nil || !strings.Contains(err.Error(), "git fetch "+url) {
		t.Errorf("a build that has to wait for it: %v", err)
	}
	left.Store(-1)
	first, err := s.Sync(t.Context(), "ours", false)
	if err != nil || first.Versions != 512 {
		t.Fatalf("%+v %v", first, err)
	}
	version("1.0.512")
	g.grow(512)
	gone()
	version("1.0.512")
	if _, err := s.Sync(t.Context(), "ours", false); err != nil {
		t.Fatal(err)
	}
	version("1.0.1024")
}

// TestIncremental: a sync of an index that has grown a little fetches a little.
func TestIncremental(t *testing.T) {
	g := newGrown(t)
	g.grow(1500)
	first, second := syncTwice(t, g, 10)
	if second.Added != 10 || second.Fetched <= 0 || second.Fetched > first.Fetched/10 {
		t.Errorf("1500 commits: %d bytes; 10 more: %d bytes, %d versions", first.Fetched, second.Fetched, second.Added)
	}
}

func syncTwice(t testing.TB, g *grown, more int) (first, second index.Synced) {
	t.Helper()
	url, _ := g.serve()
	dir := t.TempDir()
	text := fmt.Sprintf("[[registries]]\nname = 'ours'\nurl = '%s'\n", url)
	if err := os.WriteFile(filepath.Join(dir, "registries.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := index.OpenSet(dir)
	if err == nil {
		first, err = s.Sync(t.Context(), "ours", false)
	}
	if err == nil {
		g.grow(more)
		second, err = s.Sync(t.Context(), "ours", false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return first, second
}

// BenchmarkSync syncs an index of -index.commits commits by smart HTTP, for the first time and when it has ten more.
func BenchmarkSync(b *testing.B) {
	for b.Loop() {
		g := newGrown(b)
		g.grow(*commits)
		first, second := syncTwice(b, g, 10)
		b.ReportMetric(float64(first.Fetched), "first-bytes")
		b.ReportMetric(float64(first.Took.Milliseconds()), "first-ms")
		b.ReportMetric(float64(second.Fetched), "second-bytes")
		b.ReportMetric(float64(second.Took.Milliseconds()), "second-ms")
	}
}

// TestReadOnly: an index in a directory that cannot be written answers what it knows, and says what it cannot. Root may
// write anywhere, so the test is nobody for its own thread, where it is root.
func TestReadOnly(t *testing.T) {
	source, dir := t.TempDir(), t.TempDir()
	write(t, source, map[string]string{"ja/va/acme_java": row("acme/java", "1.0.0", "1", false)})
	write(t, dir, map[string]string{"registries.toml": "[[registries]]\nname = 'ours'\nurl = '" + source + "'\n"})
	s, err := index.OpenSet(dir)
	if err == nil {
		_, err = s.Sync(t.Context(), "ours", false)
	}
	if err != nil {
		t.Fatal(err)
	}
	old(t, filepath.Join(dir, "ours", "model"), 2*index.Stale)
	for _, p := range []string{filepath.Dir(dir), source} { // which the testing package makes for its user alone
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"ours/lock", "ours/model", "registries.toml", "ours", ""} {
		mode := os.FileMode(0o444)
		if filepath.Ext(p) == "" && !strings.Contains(p, "/") {
			mode = 0o555
		}
		if err := os.Chmod(filepath.Join(dir, p), mode); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "ours"), 0o755)) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if os.Geteuid() == 0 {
			_ = unix.Setfsuid(65534)
		}
		s, err := index.OpenSet(dir)
		if err != nil {
			t.Error(err)
			return
		}
		if r, err := s.Find(t.Context(), "acme/java", ""); err != nil || r.Image != address("1") {
			t.Errorf("what is known: %+v %v", r, err)
		}
		if _, err := s.Sync(t.Context(), "ours", false); !errors.Is(err, os.ErrPermission) || !strings.HasPrefix(err.Error(), "sync index ours: ") {
			t.Errorf("sync: %v", err)
		}
		if _, err := s.Find(t.Context(), "acme/none", ""); !errors.Is(err, index.ErrUnknown) || !errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "\n") {
			t.Errorf("unknown: %v", err)
		}
		if s.Claim("ours") {
			t.Error("somebody is told to sync what nobody can")
		}
		if err := s.Add(index.Source{Name: "more", URL: source}); !errors.Is(err, os.ErrPermission) {
			t.Errorf("add: %v", err)
		}
	}()
	<-done
}

// childVariable makes the test binary one of TestProcesses' processes: it names the directory of indexes.
const childVariable = "SLIPWAY_TEST_INDEX_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child syncs and asks, again and again, as a build would.
func child(dir string) int {
	for i := range 20 {
		s, err := index.OpenSet(dir)
		if err == nil && i%4 == 0 {
			_, err = s.Sync(context.Background(), "ours", false)
		}
		var r index.Resolution
		if err == nil {
			r, err = s.Find(context.Background(), grownName(i+1), "")
		}
		if err != nil || !strings.HasPrefix(r.Image, "registry.example/acme/bp@sha256:") {
			fmt.Println(r, err)
			return 1
		}
	}
	return 0
}

// TestProcesses has eight processes sync and ask one directory of indexes at once, while the index grows and half of them
// are killed at some time: those that live get right answers, and what is left is in order.
func TestProcesses(t *testing.T) {
	g := newGrown(t)
	g.grow(500)
	url, _ := g.serve()
	dir := t.TempDir()
	write(t, dir, map[string]string{"registries.toml": "[[registries]]\nname = 'ours'\nurl = '" + url + "'\n"})
	var all []*exec.Cmd
	var said [8]bytes.Buffer
	for i := range said {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		cmd.Stdout, cmd.Stderr = &said[i], &said[i]
		cmd.WaitDelay = time.Second
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for i, cmd := range all {
		if i%2 == 0 {
			time.Sleep(time.Duration(i) * 40 * time.Millisecond) // in whatever it is about then
			_ = cmd.Process.Kill()
			g.grow(5)
		}
	}
	for i, cmd := range all {
		err := cmd.Wait()
		if e, ok := errors.AsType[*exec.ExitError](err); ok && i%2 == 0 && e.Sys().(syscall.WaitStatus).Signaled() {
			continue
		}
		if err != nil {
			t.Errorf("process %d: %v\n%s", i, err, said[i].String())
		}
	}
	s, err := index.OpenSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.Sync(t.Context(), "ours", false)
	if err != nil || done.Versions != 520 || len(done.Faults) > 0 {
		t.Errorf("%+v %v, want 520 versions", done, err)
	}
	if out, err := exec.Command("git", "--git-dir", filepath.Join(dir, "ours", "repo.git"), "fsck", "--no-dangling").CombinedOutput(); err != nil {
		t.Errorf("git fsck: %v\n%s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(dir, "ours", ".model-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
