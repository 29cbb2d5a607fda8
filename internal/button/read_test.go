package button

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/fetch"
)

func TestMain(m *testing.M) {
	if fetch.IsAskpass(os.Args, os.Environ()) {
		os.Exit(fetch.Askpass(context.Background(), os.Args, os.Environ(), os.Stdout))
	}
	os.Exit(m.Run())
}

// host is a git host of the test's own, with the repository u/r.git.
type host struct {
	t      *testing.T
	dir    string
	url    string // of the repository
	f      *fetch.Fetcher
	asked  atomic.Int64 // requests
	secret atomic.Value // the password that it wants, "" is none
}

func newHost(t *testing.T) *host {
	root := t.TempDir()
	h := &host{t: t, dir: filepath.Join(root, "u", "r.git")}
	h.secret.Store("")
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.git("", "init", "--quiet", "--bare", "--initial-branch=main")
	h.git("", "config", "uploadpack.allowFilter", "true")
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Root: "/", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + root},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		if _, pw, _ := r.BasicAuth(); pw != h.secret.Load() {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	h.url = server.URL + "/u/r.git"
	h.f = &fetch.Fetcher{Dialer: fetch.Dialer{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, CAFile: ca, Dir: t.TempDir()}
	return h
}

func (h *host) git(stdin string, args ...string) string {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = h.dir, strings.NewReader(stdin)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits files, name and content in turn, to a branch. A name that ends in "/" is a directory with an app.json.
func (h *host) commit(branch string, files ...string) fetch.Commit {
	h.t.Helper()
	var entries []string
	for i := 0; i < len(files); i += 2 {
		blob := h.git(files[i+1], "hash-object", "-w", "--stdin")
		if dir, ok := strings.CutSuffix(files[i], "/"); ok {
			entries = append(entries, "040000 tree "+h.git("100644 blob "+blob+"\tapp.json\n", "mktree")+"\t"+dir)
			continue
		}
		entries = append(entries, "100644 blob "+blob+"\t"+files[i])
	}
	c := h.git("", "commit-tree", "-m", "x", h.git(strings.Join(entries, "\n")+"\n", "mktree"))
	h.git("", "update-ref", "refs/heads/"+branch, c)
	return fetch.Commit(c)
}

func (h *host) read(path string, creds fetch.Credentials) (Pinned, error) {
	h.t.Helper()
	tmpl, err := Parse(h.url+path, everywhere)
	if err != nil {
		h.t.Fatal(err)
	}
	bounds := limits()
	bounds.Memory = 1 << 50 // of which the race detector in askpass maps much
	return Read(h.t.Context(), h.f, tmpl, creds, bounds)
}

func TestRead(t *testing.T) {
	h := newHost(t)
	main := h.commit("main", "app.json", `{"name": "main", "env": {"A": 1}}`, "readme.md", "# Hello", "README", "other", "sub/", `{"name": "sub"}`, "Procfile", "web: x", "noise", strings.Repeat("x", 1000))
	slash := h.commit("a/b/c", "app.json", "\xef\xbb\xbf{}", "README.rst", strings.Repeat("é", MaxReadme))
	h.commit("bare", "App.json", "{}")
	h.commit("large", "app.json", strings.Repeat(" ", appjson.MaxBytes+1))
	for path, want := range map[string]Pinned{
		"":                         {Commit: main, Readme: Readme{"readme.md", "# Hello", false}, App: &appjson.App{Name: "main"}},
		"/tree/main":               {Ref: "main", Commit: main, Readme: Readme{"readme.md", "# Hello", false}, App: &appjson.App{Name: "main"}},
		"/blob/main/docs/x.md":     {Ref: "main", Commit: main, Readme: Readme{"readme.md", "# Hello", false}, App: &appjson.App{Name: "main"}},
		"/-/tree/main/sub":         {Ref: "main", Commit: main, Dir: "sub", App: &appjson.App{Name: "sub"}},
		"/src/branch/a/b/c":        {Ref: "a/b/c", Commit: slash, Readme: Readme{"README.rst", strings.Repeat("é", MaxReadme/2), true}, App: &appjson.App{}},
		"/commit/" + string(slash): {Commit: slash, Readme: Readme{"README.rst", strings.Repeat("é", MaxReadme/2), true}, App: &appjson.App{}},
	} {
		got, err := h.read(path, fetch.Credentials{})
		if err != nil || got.Ref != want.Ref || got.Commit != want.Commit || got.Dir != want.Dir || got.Readme != want.Readme || got.App == nil || got.App.Name != want.App.Name {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		if got.Procfile != (got.Commit == main && got.Dir == "") {
			t.Errorf("%s: Procfile %t", path, got.Procfile)
		}
		if len(got.Found) == 0 && got.App != nil && got.App.Name != "sub" {
			t.Errorf("%s: nothing is found", path)
		}
	}
	for path, want := range map[string]string{
		"/tree/bare": `no app.json in https://127.0.0.1`, "/tree/large": "has 1048577 bytes, 1048576 is the most", "/tree/absent/x": `no such branch, tag or commit: "absent/x"`,
		"/tree/" + string(main)[:10]: "by all of its 40 digits", "/tree/main/absent": "no such directory", "/commit/" + strings.Repeat("1", 40): "no such branch, tag or commit",
	} {
		got, err := h.read(path, fetch.Credentials{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", path, err)
		}
		if missing := errors.Is(err, ErrNoAppJSON); missing != (path == "/tree/bare") || missing && got.Commit == "" {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestReadPrivate(t *testing.T) {
	h := newHost(t)
	h.commit("main", "app.json", `{"name": "private"}`)
	h.secret.Store("c4nary")
	if got, err := h.read("", fetch.Credentials{Password: "c4nary"}); err != nil || got.App.Name != "private" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range []fetch.Credentials{{}, {Password: "wr0ng"}} {
		if got, err := h.read("", c); !errors.Is(err, fetch.ErrDenied) || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// An address that is not public is not connected to, whatever host the operator allows templates from.
func TestReadRefusesAddresses(t *testing.T) {
	h := newHost(t)
	h.commit("main", "app.json", "{}")
	h.f.Dialer.Allow = nil
	before := h.asked.Load()
	_, err := h.read("", fetch.Credentials{})
	if _, ok := errors.AsType[*fetch.RefusedError](err); !ok || h.asked.Load() != before {
		t.Errorf("%v, after %d requests", err, h.asked.Load()-before)
	}
}
