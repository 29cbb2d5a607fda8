package daemon_test

import (
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-build/slipway/internal/daemon"
)

// A visitor is a browser that has signed in to the console.
type visitor struct {
	*server
	t      testing.TB
	client *http.Client
}

// visit signs in, on the way to a page, and returns that.
func (s *server) visit(t testing.TB, next string) (v visitor, page string) {
	t.Helper()
	v = visitor{s, t, &http.Client{Jar: must(cookiejar.New(nil))(t)}}
	door := v.page(v.client.Get(s.url + "/"))
	field := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(door)
	if field == nil {
		t.Fatalf("no form at the door: %.500s", door)
	}
	return v, v.page(v.client.PostForm(s.url+"/console/sign-in", url.Values{"csrf": {field[1]}, "token": {s.token}, "next": {next}}))
}

func (v visitor) page(res *http.Response, err error) string {
	v.t.Helper()
	res = must(res, err)(v.t)
	defer res.Body.Close()
	return string(must(io.ReadAll(res.Body))(v.t))
}

// TestConsole goes through the door of the console, to what a real build has left there.
func TestConsole(t *testing.T) {
	t.Parallel()
	s := common(t)
	a := s.newApp(t, nil)
	commit := a.commit("build.sh", "echo a line for the page\n")
	a.push(true, []string{"slipway", "main"})
	_, inside := s.visit(t, "/console/apps/"+a.name+"/builds/1")
	for _, want := range []string{"a line for the page", "succeeded", "test/script@1.0", commit} {
		if !strings.Contains(inside, want) {
			t.Errorf("the page of the build lacks %q: %.4000s", want, inside)
		}
	}
	s.ask(t, "GET", "/apps/"+a.name, nil).want(200) // the API is where it was
}

// TestEcosystem holds the numbers of the ecosystem page to those of forty real builds, counted by hand. Of 25 that pass,
// 7 that fail in the buildpack, 3 for which no buildpack is, and 5 whose registry takes nothing, all asked test/script,
// which said yes to 37, passed 25 and failed 7; test/other was asked by the 3 and said no.
func TestEcosystem(t *testing.T) {
	t.Parallel()
	s := own(t, func(c *daemon.Config) { c.Worker.Slots = 4 })
	files := http.NewServeMux()
	for path, packed := range map[string][]byte{
		"/good": archive(t, "build.sh", "echo all is well\n"), "/bad": archive(t, "build.sh", "echo 'npm ERR! code E404' >&2\nexit 3\n"), "/strange": archive(t, "README", "nothing to build\n"),
	} {
		files.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed) })
	}
	host := httptest.NewServer(files)
	t.Cleanup(host.Close)
	apps := []*app{s.newApp(t, nil), s.newApp(t, nil), s.newApp(t, nil), s.newApp(t, nil)}
	takes := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			http.Error(w, "no space left on device", http.StatusInsufficientStorage)
			return
		}
		takes.ServeHTTP(w, r)
	}))
	t.Cleanup(full.Close)
	lost := s.newApp(t, map[string]any{"image": strings.TrimPrefix(full.URL, "http://") + "/team/lost"})
	for what, n := range map[string]int{"/good": 25, "/bad": 7, "/strange": 3} {
		for i := range n {
			apps[i%len(apps)].submit(map[string]any{"url": host.URL + what}).want(201)
		}
	}
	for range 5 {
		lost.submit(map[string]any{"url": host.URL + "/good"}).want(201)
	}
	for _, a := range append(apps, lost) {
		for _, b := range a.builds() {
			a.ended(b.Number)
		}
	}
	v, _ := s.visit(t, "/console/apps")
	text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(v.page(v.client.Get(s.url+"/console/ecosystem")), " ")), " ")
	for _, want := range []string{
		"Builds 40 Passed 71.4 % Failed by the app 10 Failed by the platform 5", // 25 of 35
		"test/script 1.0 32 92.5 % 78.1 % 7 0",                                  // 37 of 40, 25 of 32
		"test/other 2.0 0 0 %",
		"7 ✕ app npm ERR! code E404", "3 ✕ app no group of buildpacks detected", "5 ▲ platform push image",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q: %s", want, text)
		}
	}
}
