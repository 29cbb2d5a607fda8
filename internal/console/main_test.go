package console

import (
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/limit"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/registrar"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// tags takes every name.
type tags struct{}

func (tags) Has(context.Context, []work.Credential, string, string) (bool, error) { return true, nil }

func (tags) Tag(context.Context, []work.Credential, string, string, string) error { return nil }

// A yard is a console with the real store, service and logs behind it, and a server in front. The test is the worker.
type yard struct {
	t       testing.TB
	dir     string
	store   *store.Store
	service *service.Service
	logs    *logs.Dir
	console *Console
	server  *httptest.Server
	admin   build.User
	token   string // the administrator's, for everything
	faults  []error
}

func newYard(t testing.TB, change func(*Options)) *yard {
	t.Helper()
	dir := t.TempDir()
	y := &yard{t: t, dir: dir}
	box := must(secret.Open(filepath.Join(dir, "key")))(t)
	y.store = must(store.Open(t.Context(), filepath.Join(dir, "slipway.db"), box))(t)
	y.logs = must(logs.Open(filepath.Join(dir, "logs")))(t)
	fault := func(err error) { y.faults = append(y.faults, err) }
	y.service = service.New(service.Config{Builder: "slipway/builder", Registry: "registry.test", Lease: time.Minute}, y.store, y.logs, tags{}, fault)
	o := Options{
		Store: y.store, Service: y.service, Logs: y.logs, Sources: must(fetch.OpenSources(filepath.Join(dir, "sources")))(t), Tries: limit.NewTries(5, nil),
		Ready: func(context.Context) error { return nil }, Fault: fault, Builder: "slipway/builder", Registry: "registry.test", Version: "1.2.3", Workers: 2,
		Key: []byte(strings.Repeat("k", 32)),
	}
	if change != nil {
		change(&o)
	}
	y.console = must(New(o))(t)
	y.server = httptest.NewServer(y.console)
	y.token = must(y.store.First(t.Context(), "ada@example.com"))(t)
	y.admin = must(y.store.User(t.Context(), "ada@example.com"))(t)
	t.Cleanup(func() {
		y.server.Close()
		if err := y.store.Close(); err != nil {
			t.Error(err)
		}
		if err := y.logs.Close(); err != nil {
			t.Error(err)
		}
	})
	return y
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A browser keeps cookies and does not follow redirects.
type browser struct {
	*yard
	client *http.Client
}

func (y *yard) browser() *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{y, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// A reply is an answered request.
type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	text   string
}

func (b *browser) do(method, path string, form url.Values, headers ...string) reply {
	b.t.Helper()
	req := must(http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, strings.NewReader(form.Encode())))(b.t)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res := must(b.client.Do(req))(b.t)
	defer res.Body.Close()
	text := must(io.ReadAll(res.Body))(b.t)
	return reply{b.t, method + " " + path, res.StatusCode, res.Header, string(text)}
}

func (b *browser) get(path string, headers ...string) reply {
	b.t.Helper()
	return b.do("GET", path, nil, headers...)
}

var csrfValue = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// field is the CSRF field of a page.
func (r reply) field() string {
	r.t.Helper()
	m := csrfValue.FindStringSubmatch(r.text)
	if m == nil {
		r.t.Fatalf("%s: no form with a CSRF field: %.500s", r.what, r.text)
	}
	return m[1]
}

// post sends a form as the page at from has it.
func (b *browser) post(from, path string, form url.Values) reply {
	b.t.Helper()
	if form == nil {
		form = url.Values{}
	}
	form.Set("csrf", b.get(from).field())
	return b.do("POST", path, form)
}

func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d, want %d: %.2000s", r.what, r.status, status, r.text)
	}
	return r
}

func (r reply) has(all ...string) reply {
	r.t.Helper()
	for _, s := range all {
		if !strings.Contains(r.text, s) {
			r.t.Errorf("%s: no %q in %.6000s", r.what, s, r.text)
		}
	}
	return r
}

// signIn is a browser that has signed in.
func (y *yard) signIn(token string) *browser {
	y.t.Helper()
	b := y.browser()
	b.post("/console/sign-in", "/console/sign-in", url.Values{"token": {token}}).want(303)
	return b
}

// tokenOf is a token of the administrator with some verbs.
func (y *yard) tokenOf(verbs ...build.Verb) string {
	y.t.Helper()
	_, text, err := y.store.CreateToken(y.t.Context(), build.Token{User: y.admin.ID, Verbs: verbs})
	if err != nil {
		y.t.Fatal(err)
	}
	return text
}

func (y *yard) app(name string) build.App {
	y.t.Helper()
	return must(y.store.CreateApp(y.t.Context(), build.App{Name: build.AppName(name), Owner: y.admin.ID, Branch: "main", Disconnect: build.Continue}))(y.t)
}

// submit queues a build of a push.
func (y *yard) submit(a build.App, what string) build.Build {
	y.t.Helper()
	commit := fmt.Sprintf("%x", sha1.Sum([]byte(what)))
	b := build.Build{App: a.ID, User: y.admin.ID, Trigger: build.Trigger{Kind: build.TriggerPush, Ref: "refs/heads/main"}, Source: build.Source{Commit: commit, Description: what}}
	return must(y.service.Submit(y.t.Context(), b))(y.t)
}

// claim takes the next build, as a worker does.
func (y *yard) claim() *work.Job {
	y.t.Helper()
	j := must(y.service.Claim(y.t.Context(), "test"))(y.t)
	if j == nil {
		y.t.Fatal("no build waits")
	}
	return j
}

func (y *yard) print(j *work.Job, text string) {
	y.t.Helper()
	must(y.service.Log(y.t.Context(), j.Claim, work.Piece{Text: []byte(text)}))(y.t)
}

func (y *yard) finish(j *work.Job, o work.Outcome) {
	y.t.Helper()
	if err := y.service.Finish(y.t.Context(), j.Claim, o); err != nil {
		y.t.Fatal(err)
	}
}

// notDetected is a build of an app that no buildpack is for.
func notDetected() work.Outcome {
	return work.Outcome{State: build.Failed, Failure: &build.Failure{Blame: build.BlameApp, Code: "not-detected", Phase: "detect", Reason: "no group of buildpacks detected",
		Reasons: []string{"slipway/go@2.0.0: there is no go.mod", "slipway/nodejs@1.4.0: there is no package.json", "a group of two is not complete"}, Next: "add the file that a buildpack looks for",
		Phases: []build.PhaseTiming{{Phase: "prepare", Elapsed: 300 * time.Millisecond}, {Phase: "detect", Elapsed: 90 * time.Millisecond},
			{Phase: "detect", Buildpack: "slipway/go@2.0.0", Elapsed: 8 * time.Millisecond}, {Phase: "detect", Buildpack: "slipway/nodejs@1.4.0", Elapsed: 9 * time.Millisecond}}}}
}

const digest = "sha256:4c1f0d0b2f3c5d8a9b7e6f5041322314050607080910111213141516171819aa"

// good is what a build has made.
func good() work.Outcome {
	ms := time.Millisecond
	return work.Outcome{State: build.Succeeded, Result: &build.Result{
		Repository: "registry.test/shop", Digest: digest, Builder: "slipway/builder@" + digest, RunImage: "slipway/run@" + digest,
		Buildpacks: []build.Buildpack{{ID: "slipway/nodejs", Version: "1.4.0"}, {ID: "slipway/procfile", Version: "0.3.1"}},
		Processes:  []build.Process{{Type: "web", Command: "node server.js", Default: true}, {Type: "worker", Command: "node worker.js"}},
		Bytes:      48 << 20, Pushed: 3 << 20, Layers: 5, Reused: 4, EnvNames: []string{"NODE_ENV"},
		Phases: []build.PhaseTiming{
			{Phase: "prepare", Elapsed: 300 * ms}, {Phase: "analyze", Elapsed: 40 * ms}, {Phase: "detect", Elapsed: 220 * ms}, {Phase: "restore", Elapsed: 500 * ms},
			{Phase: "build", Elapsed: 14200 * ms}, {Phase: "export", Elapsed: 1800 * ms},
			{Phase: "build", Buildpack: "slipway/nodejs@1.4.0", Elapsed: 13900 * ms}, {Phase: "build", Buildpack: "slipway/procfile@0.3.1", Elapsed: 20 * ms},
			{Phase: "detect", Buildpack: "slipway/go@2.0.0", Elapsed: 8 * ms}, {Phase: "detect", Buildpack: "slipway/nodejs@1.4.0", Elapsed: 12 * ms}, {Phase: "detect", Buildpack: "slipway/procfile@0.3.1", Elapsed: 4 * ms},
		},
	}}
}

// failed is a build that came to a buildpack, or where there is none not even to detect.
func failed(blame build.Blame, buildpack, reason string) work.Outcome {
	f := &build.Failure{Blame: blame, Code: "buildpack-failed", Phase: "build", Buildpack: buildpack, Reason: reason, Next: "fix it and push again"}
	if made := good().Result; buildpack != "" {
		f.Buildpacks, f.Phases = made.Buildpacks, slices.DeleteFunc(made.Phases, func(t build.PhaseTiming) bool {
			return t.Phase == "export" || strings.HasPrefix(t.Buildpack, "slipway/procfile") && t.Phase == "build"
		})
	}
	return work.Outcome{State: build.Failed, Failure: f}
}

var storePage = store.Page{Max: 100}

// withIndex gives the service an index of buildpacks, of which an image is whatever its repository is called.
func withIndex(t testing.TB) func(*Options) {
	return func(o *Options) {
		repos := must(gitserver.OpenRepos(filepath.Join(t.TempDir(), "git"), "git"))(t)
		o.Registrar = &registrar.Registrar{
			Store: o.Store, Repos: repos, Elsewhere: func(string) string { return "" }, Fault: o.Fault,
			Look: func(_ context.Context, _ build.Actor, address string) (registrar.Package, error) {
				name, version, _ := strings.Cut(strings.TrimPrefix(address[:strings.Index(address, "@")], "registry.test/"), "/v")
				return registrar.Package{ID: name, Version: version, Facts: build.BuildpackFacts{
					Name: "A buildpack", Description: "Builds what is in " + name, Homepage: "https://example.com/" + name, API: "0.12", Licenses: []string{"Apache-2.0"}, Keywords: []string{"web"},
					Targets: []build.BuildpackTarget{{OS: "linux", Arch: "amd64"}, {OS: "linux", Arch: "arm64", Distros: []build.BuildpackDistro{{Name: "debian", Version: "13"}}}}, Platforms: []string{"linux/amd64"},
				}}, nil
			},
		}
		if err := o.Registrar.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// publish puts versions into the index.
func (y *yard) publish(name string, versions ...string) {
	y.t.Helper()
	who := build.Actor{User: y.admin, Token: build.Token{Verbs: build.Verbs()}}
	for _, v := range versions {
		must(y.console.Registrar.Register(y.t.Context(), who, "registry.test/"+name+"/v"+v+"@"+digest, "tests"))(y.t)
	}
}
