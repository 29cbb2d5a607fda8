package daemon_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/daemon"
)

// TestDeployButton follows a deploy button in the console: from its page, through the door, to an app that runs.
func TestDeployButton(t *testing.T) {
	t.Parallel()
	var to *httputil.ReverseProxy
	forge := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { to.ServeHTTP(w, r) }))
	defer forge.Close()
	s := own(t, func(c *daemon.Config) {
		c.Fetch.Templates = []string{strings.TrimPrefix(forge.URL, "https://")}
		c.Deploy.Setups = "local"
	})
	service := must(url.Parse(s.url))(t)
	to = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(service)
		r.Out.SetBasicAuth("x", s.token)
	}}
	from := s.newApp(t, nil)
	from.web()
	commit := from.commit("build.sh", "echo a line for the page\nchmod +x testapp\n", "web.sh", "exec ./testapp\n", "version.txt", "1",
		"app.json", `{"name": "Runs", "env": {"KEY": {}}, "success_url": "/start", "scripts": {"postdeploy": "echo it is $KEY"}}`)
	from.push(true, []string{"slipway", "main"})

	jar := must(cookiejar.New(nil))(t)
	browser := &http.Client{Jar: jar}
	page := func(res *http.Response, err error) (text, at string) {
		t.Helper()
		res = must(res, err)(t)
		defer res.Body.Close()
		return string(must(io.ReadAll(res.Body))(t)), res.Request.URL.String()
	}
	has := func(text string, all ...string) {
		t.Helper()
		for _, want := range all {
			if !strings.Contains(html.UnescapeString(text), want) {
				t.Fatalf("the page lacks %q: %.5000s", want, text)
			}
		}
	}
	field := regexp.MustCompile(`name="csrf" value="([^"]+)"`)
	link := s.url + "/deploy?template=" + url.QueryEscape(forge.URL+"/"+from.name+".git")
	text, _ := page(browser.Get(link))
	has(text, "Deploy Runs", commit, "echo it is $KEY", "Sign in and deploy")
	made := name("app")
	form := url.Values{"csrf": {field.FindStringSubmatch(text)[1]}, "commit": {commit}, "name": {made}, "env[KEY]": {"a-key"}, "token": {s.token}}
	text, _ = page(browser.PostForm(link, form))
	has(text, "You are signed in.", made, "a-key")
	form.Set("csrf", field.FindStringSubmatch(text)[1])
	form.Del("token")
	text, at := page(browser.PostForm(link, form))
	has(text, "Checklist", made)
	eventually(t, "the setup ends", func() bool {
		text, _ = page(browser.Get(at))
		return !strings.Contains(text, "data-stream")
	})
	has(text, made+" is there", "a line for the page", "Open the app", "/start\"", "sha256:", "it is a-key", "It ended well.", "slipway run ")
}
