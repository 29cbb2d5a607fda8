package daemon_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/daemon"
)

// A canary is a secret that is looked for where it must not be.
type canary struct{ what, value string }

// spill looks for secrets wherever a build can, prints what it finds, and keeps it in a layer; but for the app's own
// config var and binding, which a build may do with as it likes, and which this one prints only.
const spill = `
look() {
	env
	for p in /proc/[0-9]*; do
		tr '\0' '\n' <$p/cmdline || true
		tr '\0' '\n' <$p/environ || true
		cat $p/mountinfo || true
	done
	for m in /workspace /layers /platform /cnb /tmp /etc /home; do find $m -type f -size -256k -exec cat {} + || true; done
	find / -xdev -name '*.db' || true
	ls -A /platform/env /platform/bindings
}
l=$CNB_LAYERS_DIR/seen
mkdir -p $l
look >/tmp/all 2>&1
sed "s/$OWN_VAR/OWN/g; s/$(cat /platform/bindings/db/password)/BOUND/g" /tmp/all >$l/all
printf '[types]\nlaunch = true\nbuild = true\ncache = true\n' >$l.toml
cat /tmp/all
echo "own var: $OWN_VAR"
echo "in platform: $(ls /platform/env | tr '\n' ' ')"
`

// TestCanaries builds with secrets of every kind about, and looks for them in all that the service keeps and says.
func TestCanaries(t *testing.T) {
	t.Parallel()
	s := own(t, func(c *daemon.Config) { c.Ops = "127.0.0.1:0" })
	other, a := s.newApp(t, nil), s.newApp(t, nil)
	secret := func(what string) canary { return canary{what, "c4nary" + name("x") + name("y")} }
	token := canary{"the token in the push URL", s.token}
	foreign, mine, bound := secret("another app's config var"), secret("the app's own config var"), secret("a binding")
	registry, git := secret("a registry password"), secret("a git password")
	inURL, hook := secret("a password in a URL that is refused"), secret("a hook's secret")
	forgeToken, webhook, authorization, address := secret("a forge's token"), secret("a webhook's secret"), secret("a webhook's authorization"), secret("a webhook's URL")
	echo := newListener(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, r.URL, r.Header) // a server may send back what it was sent
	})
	a.api("PUT", "/forge", map[string]string{"forge": "github", "repository": "https://127.0.0.1:1/x/y.git", "api_url": echo.url, "token": forgeToken.value}).want(200)
	a.api("POST", "/webhooks", map[string]any{
		"url": echo.url + "/" + address.value, "level": "sync", "include": []string{"api:build"}, "secret": webhook.value, "authorization": "Bearer " + authorization.value,
	}).want(201)
	var hooked struct{ URL string }
	a.api("POST", "/hooks", map[string]string{"repository": "https://127.0.0.1:1/x/y.git", "secret": hook.value}).want(201).into(&hooked)
	all := []canary{token, foreign, mine, bound, registry, git, inURL, hook, forgeToken, webhook, authorization, address, {"a hook's URL", hooked.URL[strings.LastIndexByte(hooked.URL, '/')+1:]}}

	other.api("PATCH", "/config-vars", map[string]string{"OTHER_VAR": foreign.value}).want(200)
	a.api("PATCH", "/config-vars", map[string]string{"OWN_VAR": mine.value}).want(200)
	a.api("PUT", "/bindings/db", map[string]any{"type": "postgresql", "files": map[string]string{"password": bound.value}}).want(200)
	for _, host := range []string{"registry.invalid", "127.0.0.1:1"} {
		a.api("PUT", "/registry-credentials/"+host, map[string]string{"username": "u", "password": registry.value}).want(200)
		a.api("PUT", "/git-credentials/"+host, map[string]string{"username": "u", "password": git.value}).want(200)
	}
	a.commit("build.sh", spill)
	out := a.push(true, []string{"slipway", "main"}, "own var: [masked]", "in platform: OWN_VAR", "Released v1")
	a.commit("build.sh", spill+"\nexit 3\n")
	out += a.push(false, []string{"slipway", "main"}, "own var: [masked]")

	replies := a.everything(t)
	refused := []reply{
		a.submit(map[string]any{"url": "https://u:" + inURL.value + "@127.0.0.1:1/x.git", "git": true}),
		a.submit(map[string]any{"url": "https://u:" + inURL.value + "@127.0.0.1:1/x.tgz"}),
		a.submit(map[string]any{"url": "https://127.0.0.1:1/x.git", "git": true, "ref": "main"}),
		a.api("PATCH", "/config-vars", map[string]any{"BAD-NAME": inURL.value}),
		a.api("PATCH", "/config-vars", map[string]any{"GOOD": map[string]string{"x": inURL.value}}),
		a.api("PUT", "/git-credentials/a%20b", map[string]string{"username": "u", "password": inURL.value}),
		a.api("PUT", "/bindings/db", map[string]any{"files": map[string]string{"password": inURL.value}}),
		a.ask(t, "GET", "/account", nil, "Authorization: Bearer "+inURL.value),
		a.api("POST", "/hooks", map[string]string{"repository": "https://u:" + inURL.value + "@127.0.0.1:1/x.git"}),
		a.ask(t, "POST", hooked.URL, "{}", "Content-Type: application/json", "X-Gitlab-Event: Push Hook", "X-Gitlab-Token: "+inURL.value),
	}
	for _, r := range refused {
		if r.status < 400 || r.status >= 500 {
			t.Errorf("%s: %d %s", r.what, r.status, r.text)
		}
	}
	b := a.submit(map[string]any{"url": "https://127.0.0.1:1/x.tgz?signature=" + inURL.value}).want(201)
	var fetched buildView
	b.into(&fetched)
	if fetched = a.ended(fetched.Number); fetched.State != "failed" {
		t.Errorf("the build of a URL where nobody is: %+v", fetched)
	}
	a.api("POST", "/builds", map[string]any{"source_blob": map[string]any{"url": "https://127.0.0.1:1/x/y.git", "git": true, "commit": noCommit}}).want(201)
	eventually(t, "the echo was told of a commit, and of an event", func() bool {
		all := a.statuses()
		return len(all) > 0 && all[len(all)-1].Code == 401 && strings.Contains(a.api("GET", "/webhook-deliveries", nil).text, "Authorization:[[masked]]")
	})
	replies = append(append(replies, refused...), a.everything(t)...)
	for _, c := range all {
		clean(t, c, "what git printed", strings.ReplaceAll(out, s.git(a.name), "")) // its own last line has what it was given
		for _, r := range replies {
			clean(t, c, r.what, r.text)
		}
		if err := s.faulty(); err != nil {
			clean(t, c, "what the operator is told", err.Error())
		}
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	files := 0
	for _, dir := range []string{s.data, filepath.Join(s.state(), "images"), filepath.Join(s.state(), "rootfs")} {
		files += search(t, dir, all, s.data)
	}
	if files < 50 {
		t.Errorf("only %d files were looked at", files)
	}
}

// clean fails the test when a text has a secret, as it is or in base64.
func clean(t testing.TB, c canary, where, text string) {
	t.Helper()
	for _, form := range []string{c.value, base64.StdEncoding.EncodeToString([]byte(c.value)), base64.StdEncoding.EncodeToString([]byte("u:" + c.value))} {
		if i := strings.Index(text, form); i >= 0 {
			t.Errorf("%s is in %s: ...%q", c.what, where, text[max(0, i-80):i])
			return
		}
	}
}

// everything asks for all that the API shows of the app and the service, but for the config vars.
func (a *app) everything(t testing.TB) (out []reply) {
	for _, path := range []string{
		"/account", "/account/tokens", "/users", "/apps", "/status", "/healthz", "/readyz", "/openapi.json", "http://" + a.daemon.Ops() + "/metrics",
		"http://" + a.daemon.Ops() + "/debug/pprof/cmdline", "http://" + a.daemon.Ops() + "/debug/pprof/goroutine?debug=2",
	} {
		out = append(out, a.ask(t, "GET", path, nil))
	}
	for _, path := range []string{"", "/builds", "/bindings", "/git-credentials", "/registry-credentials", "/releases", "/releases/1", "/builds/1", "/builds/2", "/builds/1/log?follow=true", "/builds/2/log?follow=true", "/forge", "/statuses", "/webhook-deliveries", "/webhook-events"} {
		out = append(out, a.api("GET", path, nil).want(200))
	}
	digest := a.build(1).Result.Digest
	out = append(out, a.api("GET", "/oci-images/"+digest, nil).want(200), a.manifest(digest).want(200))
	var m struct{ Config struct{ Digest string } }
	out[len(out)-1].into(&m)
	return append(out, a.ask(t, "GET", "/v2/"+a.name+"/blobs/"+m.Config.Digest, nil).want(200))
}

// search looks for secrets in every file below a directory, in those that are compressed too.
func search(t testing.TB, dir string, all []canary, data string) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || path == filepath.Join(data, "key") {
			if os.IsNotExist(err) {
				return nil // of another test
			}
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		files++
		text := string(b)
		if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
			plain, err := io.ReadAll(z)
			if err != nil && !strings.Contains(path, "tmp") {
				t.Errorf("%s: %v", path, err)
			}
			text += string(plain)
		}
		for _, c := range all {
			clean(t, c, path, text)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return files
}
