package daemon_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// TestConsole goes through the door of the console, to what a real build has left there.
func TestConsole(t *testing.T) {
	t.Parallel()
	s := common(t)
	a := s.newApp(t, nil)
	commit := a.commit("build.sh", "echo a line for the page\n")
	a.push(true, []string{"slipway", "main"})
	jar := must(cookiejar.New(nil))(t)
	browser := &http.Client{Jar: jar}
	page := func(res *http.Response, err error) string {
		t.Helper()
		res = must(res, err)(t)
		defer res.Body.Close()
		return string(must(io.ReadAll(res.Body))(t))
	}
	door := page(browser.Get(s.url + "/"))
	field := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(door)
	if field == nil {
		t.Fatalf("no form at the door: %.500s", door)
	}
	inside := page(browser.PostForm(s.url+"/console/sign-in", url.Values{"csrf": {field[1]}, "token": {s.token}, "next": {"/console/apps/" + a.name + "/builds/1"}}))
	for _, want := range []string{"a line for the page", "succeeded", "test/script@1.0", commit} {
		if !strings.Contains(inside, want) {
			t.Errorf("the page of the build lacks %q: %.4000s", want, inside)
		}
	}
	s.ask(t, "GET", "/apps/"+a.name, nil).want(200) // the API is where it was
}
