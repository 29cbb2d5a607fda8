package console

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
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

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/deploy"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/setups"
)

func TestMain(m *testing.M) {
	if fetch.IsAskpass(os.Args, os.Environ()) {
		os.Exit(fetch.Askpass(context.Background(), os.Args, os.Environ(), os.Stdout))
	}
	os.Exit(m.Run())
}

// A host is a git host of the test's own, with the repository acme/guestbook.git, some that are hostile, and beside it a
// server that nobody may connect to.
type host struct {
	t      testing.TB
	dir    string
	addr   string // host:port
	ca     string
	asked  atomic.Int64 // requests to the host
	astray atomic.Int64 // connections to the other server
	secret atomic.Value // the password that it wants, "" is none
}

func newHost(t testing.TB) *host {
	t.Helper()
	root := t.TempDir()
	h := &host{t: t, dir: filepath.Join(root, "acme", "guestbook.git"), ca: filepath.Join(t.TempDir(), "ca.pem")}
	h.secret.Store("")
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.git("", "init", "--quiet", "--bare", "--initial-branch=main")
	h.git("", "config", "uploadpack.allowFilter", "true")
	h.git("", "config", "uploadpack.allowAnySHA1InWant", "true")
	victim := h.victim()
	out := must(exec.CommandContext(t.Context(), "git", "--exec-path").Output())(t)
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Root: "/", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + root},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		_, pw, _ := r.BasicAuth()
		switch {
		case pw != h.secret.Load():
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasPrefix(r.URL.Path, "/evil/astray"):
			http.Redirect(w, r, "https://"+victim.Addr().String()+r.URL.RequestURI(), http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, "/evil/endless"):
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			for err := error(nil); err == nil; {
				_, err = w.Write([]byte(strings.Repeat("0033"+strings.Repeat("a", 47), 1000)))
			}
		default:
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	if err := os.WriteFile(h.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	h.addr = strings.TrimPrefix(server.URL, "https://")
	return h
}

// victim is the server that nobody may connect to.
func (h *host) victim() net.Listener {
	h.t.Helper()
	l := must(net.Listen("tcp", "127.0.0.2:0"))(h.t)
	h.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.astray.Add(1)
			c.Close()
		}
	}()
	return l
}

// repository is the URL of the host's repository.
func (h *host) repository() string { return "https://" + h.addr + "/acme/guestbook" }

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

// commit commits files, name and content in turn, to a branch.
func (h *host) commit(branch, message string, files ...string) fetch.Commit {
	h.t.Helper()
	c := h.git("", "commit-tree", "-m", message, h.tree(files))
	h.git("", "update-ref", "refs/heads/"+branch, c)
	return fetch.Commit(c)
}

func (h *host) tree(files []string) string {
	h.t.Helper()
	var entries []string
	below := map[string][]string{}
	for i := 0; i < len(files); i += 2 {
		if dir, name, ok := strings.Cut(files[i], "/"); ok {
			below[dir] = append(below[dir], name, files[i+1])
			continue
		}
		entries = append(entries, "100644 blob "+h.git(files[i+1], "hash-object", "-w", "--stdin")+"\t"+files[i])
	}
	for dir, files := range below {
		entries = append(entries, "040000 tree "+h.tree(files)+"\t"+dir)
	}
	return h.git(strings.Join(entries, "\n")+"\n", "mktree")
}

// guestbook is a template as people write them.
const guestbook = `{
  "name": "Guestbook",
  "description": "A page where visitors leave a line.",
  "website": "https://guestbook.example.com/about",
  "success_url": "/welcome",
  "env": {
    "TITLE": {"description": "What stands at the top of the page.", "value": "Our guests"},
    "OWNER": {"description": "Who answers for the page."},
    "ACCENT": {"description": "A colour.", "required": false},
    "SESSION_KEY": {"description": "Signs cookies.", "generator": "secret"}
  },
  "addons": ["heroku-postgresql:essential-0"],
  "buildpacks": [{"url": "heroku/nodejs"}],
  "formation": {"web": {"quantity": 1}},
  "colour": "green"
}`

const guestbookReadme = "# Guestbook\n\nA page where visitors leave a line, and read what others left.\n\n## Run it here\n\n    npm install\n    npm start\n"

// publishGuestbook has the host offer the template.
func (h *host) publishGuestbook() fetch.Commit {
	h.t.Helper()
	return h.commit("main", "Add the guestbook", "app.json", guestbook, "README.md", guestbookReadme, "Procfile", "web: node server.js", "server.js", "x")
}

// withTemplates gives a console the host's templates, and setups.
func withTemplates(h *host) func(*Options) {
	return func(o *Options) {
		f := &fetch.Fetcher{Dialer: fetch.Dialer{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, CAFile: h.ca, Dir: h.t.TempDir()}
		// The race detector in askpass maps much memory.
		o.Templates = Templates{Credentials: o.Templates.Credentials, Hosts: []string{"github.com", h.addr}, Fetcher: f, Limits: fetch.Limits{Archive: 4 << 20, Time: patience, Stall: patience, Memory: 1 << 50}}
		o.Builtin = func(context.Context) ([]Buildpack, error) {
			return []Buildpack{{ID: "slipway/nodejs", Version: "1.4.0"}, {ID: "slipway/procfile", Version: "0.3.1"}}, nil
		}
		host := must(deploy.New(deploy.Options{
			Store: o.Store, Logs: o.Logs, Dir: h.t.TempDir(), Limits: func(build.App) build.Limits { return build.Limits{} }, Fault: o.Fault,
			Machine: func(context.Context, build.Release) (*platform.Machine, error) {
				return nil, errors.New("there are no containers here")
			},
		}))(h.t)
		nothing := func(context.Context, build.App) error { return nil }
		o.Setups = must(setups.New(setups.Options{
			Store: o.Store, Service: o.Service, Logs: o.Logs, Sources: o.Sources, Fetcher: f, Created: nothing, Deleted: nothing, Preflight: nothing,
			Builtin: func(context.Context) ([]string, error) { return []string{"slipway/nodejs", "slipway/procfile"}, nil },
			Deploys: host, ArchiveLimit: 1 << 20, Fault: o.Fault,
		}))(h.t)
	}
}

// templateYard is a console with a host of templates, whose setups go on.
func templateYard(t testing.TB, more ...func(*Options)) (*yard, *host) {
	t.Helper()
	h := newHost(t)
	y := newYard(t, func(o *Options) {
		for _, change := range append(more, withTemplates(h)) {
			change(o)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- y.console.Setups.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return y, h
}

// link is the deploy link of the host's template.
func (h *host) link(more string) string {
	return "/deploy?template=" + strings.NewReplacer(":", "%3A", "/", "%2F").Replace(h.repository()) + more
}

func (h *host) String() string {
	return fmt.Sprintf("%d requests, %d astray", h.asked.Load(), h.astray.Load())
}

// credentialsFor is a credential for a host.
func credentialsFor(addr, password string) func(context.Context, build.ID, string) (fetch.Credentials, bool, error) {
	return func(_ context.Context, _ build.ID, host string) (fetch.Credentials, bool, error) {
		if host != addr {
			return fetch.Credentials{}, false, nil
		}
		return fetch.Credentials{User: "x", Password: password}, false, nil
	}
}
