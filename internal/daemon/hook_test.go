package daemon_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// A forge has a repository, which is an app's of the service itself, by https, and a hook that tells of its pushes.
type forge struct {
	url, secret string // of the hook
	id          string
	repository  string
	name        string // owner/name, as it calls the repository
}

// newForge makes a hook of an app for the repository of another one, which wants credentials.
func (a *app) newForge(t testing.TB, from string) *forge {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(must(url.Parse(a.server.url))(t))
	server := httptest.NewTLSServer(http.StripPrefix("/acme", proxy))
	t.Cleanup(server.Close)
	f := &forge{repository: server.URL + "/acme/" + from + ".git", name: "acme/" + from}
	a.api("PUT", "/git-credentials/"+strings.TrimPrefix(server.URL, "https://"), map[string]string{"username": "x", "password": a.token}).want(200)
	var hook struct{ ID, URL, Secret string }
	a.api("POST", "/hooks", map[string]any{"repository": f.repository}).want(201).into(&hook)
	f.id, f.url, f.secret = hook.ID, hook.URL, hook.Secret
	return f
}

// request is what Gitea sends of a push to main.
func (f *forge) request(t testing.TB, delivery, before, after string) *http.Request {
	t.Helper()
	return f.push(t, delivery, "refs/heads/main", before, after)
}

func (f *forge) push(t testing.TB, delivery, ref, before, after string) *http.Request {
	t.Helper()
	body := fmt.Sprintf(`{"ref":%q,"before":%q,"after":%q,"repository":{"full_name":%q,"clone_url":"https://127.0.0.1:1/evil.git"}}`, ref, before, after, f.name)
	m := hmac.New(sha256.New, []byte(f.secret))
	m.Write([]byte(body))
	req := must(http.NewRequest("POST", f.url, strings.NewReader(body)))(t)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-Gitea-Event": "push", "X-GitHub-Event": "push", "X-Gitea-Delivery": delivery, "X-Gitea-Signature": hex.EncodeToString(m.Sum(nil)),
	} {
		req.Header.Set(name, value)
	}
	return req
}

// A told is what the forge is answered.
type told struct {
	Result string
	Build  *struct {
		ID     string
		Number int
	}
}

// tell sends it.
func (f *forge) tell(t testing.TB, delivery, before, after string, status int) (out told) {
	t.Helper()
	res := must(http.DefaultClient.Do(f.request(t, delivery, before, after)))(t)
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != status {
		t.Fatalf("the forge is answered %d, want %d: %+v, %v", res.StatusCode, status, out, err)
	}
	return out
}

const noCommit = "0000000000000000000000000000000000000000"

// TestHook builds what a forge tells of: that commit, although its branch is further on, of the repository that the hook
// has, with the app's credentials.
func TestHook(t *testing.T) {
	t.Parallel()
	s := common(t)
	from := s.newApp(t, nil)
	first := from.commit("build.sh", "echo the first\n")
	from.push(true, []string{"slipway", "main"})
	second := from.commit("build.sh", "echo the second\n")
	from.push(true, []string{"slipway", "main"})

	a := s.newApp(t, nil)
	f := a.newForge(t, from.name)
	made := f.tell(t, "1", noCommit, first, 202)
	b := a.ended(made.Build.Number)
	if log := a.log(1); b.State != "succeeded" || b.Trigger != "webhook" || b.Source.Commit != first || b.Source.URL != f.repository || !strings.Contains(log, "the first") {
		t.Errorf("the build: %+v %+v\n%s", b, b.Failure, log)
	}
	if again := f.tell(t, "1", noCommit, first, 200); again.Result != "duplicate" || again.Build.ID != b.ID {
		t.Errorf("told again: %+v, want build %s", again, b.ID)
	}
	f.tell(t, "2", first, second, 202)
	if b := a.ended(2); b.State != "succeeded" || b.Source.Commit != second {
		t.Errorf("the build: %+v %+v", b, b.Failure)
	}
}

// hook is told of a push by a forge, which may hear nothing back.
func (k *killed) hook() {
	k.forge = k.app.newForge(k.t, k.app.name)
	if res, err := http.DefaultClient.Do(k.forge.request(k.t, "1", noCommit, k.app.remote("refs/heads/main"))); err == nil {
		res.Body.Close()
	}
}

// wantHook: the forge, which was not answered, sends it again, and hears of the build that there is.
func (k *killed) wantHook() {
	all := k.app.builds()
	if again := k.forge.tell(k.t, "1", noCommit, k.app.remote("refs/heads/main"), 200); again.Result != "duplicate" || again.Build.ID != all[len(all)-1].ID {
		k.t.Errorf("told again: %+v", again)
	}
}
