//go:build forge

package daemon_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/child"
)

// TestGitea has a real forge before the service: make forge builds one, which takes a while, and so the tag.
var (
	giteaBinary = flag.String("gitea", "", "a Gitea, for TestGitea")
	giteaSource = flag.String("gitea.source", "", "the source that it was built of: it reads templates and options from there")
)

// A gitea is a Gitea that runs, with a user who has a token.
type gitea struct {
	t           testing.TB
	url         string // by http, where it listens
	public      string // by https, as it calls itself
	token       string
	dir, config string
	output      bytes.Buffer
}

const giteaUser = "ann"

// newGitea starts it, and ends it with the test.
func newGitea(t testing.TB) *gitea {
	t.Helper()
	address := freeAddress(t)
	g := &gitea{t: t, url: "http://" + address, dir: t.TempDir()}
	proxy := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(must(url.Parse(g.url))(t)))
	t.Cleanup(proxy.Close)
	g.public, g.config = proxy.URL, filepath.Join(g.dir, "app.ini")
	_, port, _ := strings.Cut(address, ":")
	text := fmt.Sprintf(`
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = %[1]s
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[2]s
LOCAL_ROOT_URL = %[3]s/
ROOT_URL = %[4]s/
STATIC_ROOT_PATH = %[5]s
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
[repository]
ROOT = %[1]s/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = of-this-test-only
[webhook]
ALLOWED_HOST_LIST = loopback
[log]
MODE = console
LEVEL = Warn
`, g.dir, port, g.url, g.public, *giteaSource)
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.run("migrate")
	g.run("admin", "user", "create", "--username", giteaUser, "--password", "of-this-test-0nly", "--email", "ann@git.test", "--admin", "--must-change-password=false")
	web := g.command("web")
	web.Stdout, web.Stderr = &g.output, &g.output
	if err := child.Start(web); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = web.Process.Signal(syscall.SIGTERM)
		_ = web.Wait()
		if t.Failed() {
			t.Logf("Gitea said:\n%s", &g.output)
		}
	})
	eventually(t, "Gitea answers", func() bool {
		res, err := http.Get(g.url + "/api/healthz")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	})
	var made struct {
		SHA1 string `json:"sha1"`
	}
	g.api("POST", "/users/"+giteaUser+"/tokens", map[string]any{"name": "slipway", "scopes": []string{"write:repository", "write:user"}}, 201, &made)
	g.token = made.SHA1
	return g
}

func (g *gitea) command(args ...string) *exec.Cmd {
	cmd := exec.Command(*giteaBinary, append(args, "--config", g.config)...)
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "GITEA_WORK_DIR="+g.dir, "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT=true")
	return cmd
}

func (g *gitea) run(args ...string) {
	g.t.Helper()
	if out, err := g.command(args...).CombinedOutput(); err != nil {
		g.t.Fatalf("gitea %v: %v\n%s", args, err, out)
	}
}

// api asks Gitea, as its user.
func (g *gitea) api(method, path string, in any, status int, out any) {
	g.t.Helper()
	req := must(http.NewRequestWithContext(g.t.Context(), method, g.url+"/api/v1"+path, bytes.NewReader(must(json.Marshal(in))(g.t))))(g.t)
	req.Header.Set("Content-Type", "application/json")
	if req.SetBasicAuth(giteaUser, "of-this-test-0nly"); g.token != "" {
		req.Header.Set("Authorization", "token "+g.token)
	}
	res := must(http.DefaultClient.Do(req))(g.t)
	defer res.Body.Close()
	text := must(io.ReadAll(res.Body))(g.t)
	if res.StatusCode != status {
		g.t.Fatalf("gitea: %s %s: %s: %s", method, path, res.Status, text)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(text, out); err != nil {
		g.t.Fatalf("gitea: %s %s: %v: %s", method, path, err, text)
	}
}

// A shown is a status that Gitea shows at a commit.
type shown struct {
	Status      string
	Context     string
	Description string
	Target      string `json:"target_url"`
}

func (g *gitea) statuses(repository, commit string) (all []shown) {
	g.t.Helper()
	g.api("GET", "/repos/"+repository+"/commits/"+commit+"/statuses?sort=oldest", nil, 200, &all)
	return all
}

// A wire passes on what a forge sends to a hook, and can send it once more.
type wire struct {
	to string

	mu   sync.Mutex
	sent []*http.Request
	text []string
	got  []int
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	status, answer := w.send(r, string(body))
	w.mu.Lock()
	w.sent, w.text, w.got = append(w.sent, r), append(w.text, string(body)), append(w.got, status)
	w.mu.Unlock()
	rw.WriteHeader(status)
	fmt.Fprint(rw, answer)
}

func (w *wire) send(r *http.Request, body string) (status int, answer string) {
	req, err := http.NewRequest(r.Method, w.to, strings.NewReader(body))
	if err != nil {
		return 500, err.Error()
	}
	req.Header = r.Header.Clone()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 500, err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func (w *wire) statuses() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

// TestGitea: a push to a real Gitea makes one build of its commit, whose course is at the commit in Gitea with the link to
// the log; what is delivered again gets the same build.
func TestGitea(t *testing.T) {
	s := own(t, nil)
	g := newGitea(t)
	const repository = giteaUser + "/shop"
	g.api("POST", "/user/repos", map[string]any{"name": "shop", "private": true, "default_branch": "main"}, 201, nil)

	a := s.newApp(t, nil)
	a.api("PUT", "/git-credentials/"+strings.TrimPrefix(g.public, "https://"), map[string]string{"username": giteaUser, "password": g.token}).want(200)
	var hook struct{ ID, URL, Secret string }
	a.api("POST", "/hooks", map[string]any{"repository": g.public + "/" + repository + ".git"}).want(201).into(&hook)
	a.api("PUT", "/forge", map[string]string{"forge": "gitea", "token": g.token}).want(200)
	w := &wire{to: hook.URL}
	between := httptest.NewServer(w)
	t.Cleanup(between.Close)
	g.api("POST", "/repos/"+repository+"/hooks", map[string]any{
		"type": "gitea", "active": true, "events": []string{"push"}, "config": map[string]string{"url": between.URL, "content_type": "json", "secret": hook.Secret},
	}, 201, nil)
	var hooks []struct{ ID int }
	g.api("GET", "/repos/"+repository+"/hooks", nil, 200, &hooks)
	a.tree.git("remote", "add", "gitea", strings.Replace(g.url, "http://", "http://"+giteaUser+":"+g.token+"@", 1)+"/"+repository+".git")

	good := a.commit("build.sh", "echo from gitea\nsleep 1\n")
	began := time.Now()
	a.tree.git("push", "gitea", "main")
	eventually(t, "Gitea's push is built", func() bool { return len(a.builds()) > 0 })
	b := a.ended(1)
	if b.State != "succeeded" || b.Source.Commit != good || b.Trigger != "webhook" {
		t.Fatalf("the build: %+v %+v", b, b.Failure)
	}
	all := g.wantStatuses(a, repository, good, "success")
	t.Logf("from the push to the status that it succeeded: %s", time.Since(began).Round(time.Millisecond))
	if all[0].Status != "pending" {
		t.Errorf("the first status: %+v", all[0])
	}
	if log := a.ask(t, "GET", all[0].Target, nil).want(200).text; !strings.Contains(log, "from gitea") {
		t.Errorf("the log at %s: %s", all[0].Target, log)
	}

	if status, text := w.send(w.sent[0], w.text[0]); status != 200 || !strings.Contains(text, b.ID) {
		t.Errorf("delivered again: %d %s", status, text)
	}
	g.api("POST", fmt.Sprintf("/repos/%s/hooks/%d/tests", repository, hooks[0].ID), nil, 204, nil)
	eventually(t, "Gitea has sent its last commit again", func() bool { return len(w.statuses()) == 2 })
	if got := w.statuses(); got[0] != 202 || got[1] != 200 || len(a.builds()) != 1 {
		t.Errorf("Gitea was answered %v, there are %d builds", got, len(a.builds()))
	}

	bad := a.commit("build.sh", "echo no good\nexit 3\n")
	a.tree.git("push", "gitea", "main")
	eventually(t, "the bad commit is built", func() bool { return len(a.builds()) > 1 })
	if b := a.ended(2); b.State != "failed" || b.Source.Commit != bad {
		t.Errorf("the build: %+v", b)
	}
	g.wantStatuses(a, repository, bad, "failure")
	var combined struct{ State string }
	if g.api("GET", "/repos/"+repository+"/commits/"+good+"/status", nil, 200, &combined); combined.State != "success" {
		t.Errorf("the good commit is now %s", combined.State)
	}
}

// wantStatuses waits for the last status of a commit, and returns all.
func (g *gitea) wantStatuses(a *app, repository, commit, last string) (all []shown) {
	g.t.Helper()
	eventually(g.t, "Gitea shows that the build is a "+last, func() bool {
		all = g.statuses(repository, commit)
		return slices.ContainsFunc(all, func(s shown) bool { return s.Status == last })
	})
	for _, s := range all {
		if s.Context != "slipway/"+a.name || !strings.HasPrefix(s.Target, a.url+"/apps/"+a.name+"/builds/") || s.Description == "" {
			g.t.Errorf("the status: %+v", s)
		}
	}
	if s := all[len(all)-1]; s.Status != last {
		g.t.Errorf("the last status: %+v", s)
	}
	g.t.Logf("at %.12s: %+v", commit, all)
	return all
}
