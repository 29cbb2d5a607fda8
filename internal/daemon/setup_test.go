package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"

	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	heroku "github.com/heroku/heroku-go/v5"

	"github.com/slipway-build/slipway/internal/daemon"
)

// A setupView is what these tests look at of a setup.
type setupView struct {
	ID, Status string
	App        struct{ ID, Name string }
	Failure    string   `json:"failure_message"`
	Errors     []string `json:"manifest_errors"`
	Warnings   []string
	Build      *struct {
		Number        int
		State, Status string
		Stream        string `json:"output_stream_url"`
	}
	Postdeploy *struct {
		Output string
		Exit   int `json:"exit_code"`
	}
	Success  string `json:"resolved_success_url"`
	URL      string `json:"web_url"`
	Image    string
	Template struct{ Name, Commit, Repository, Dir string }
	Steps    []struct{ Name, State, Note string }
}

// steps are the steps in a line, each by the first letters of its state.
func (v setupView) steps() string {
	var all []string
	for _, s := range v.Steps {
		all = append(all, s.Name+" "+s.State)
	}
	return strings.Join(all, ", ")
}

// keep puts an archive, and returns the URL that names it.
func (s *server) keep(t testing.TB, files ...string) string {
	t.Helper()
	var src struct {
		Blob map[string]string `json:"source_blob"`
	}
	s.ask(t, "POST", "/sources", nil).want(201).into(&src)
	s.ask(t, "PUT", src.Blob["put_url"], string(archive(t, files...)), "Authorization: ").want(200)
	return src.Blob["get_url"]
}

// setUp asks for a setup.
func (s *server) setUp(t testing.TB, in map[string]any) (v setupView) {
	t.Helper()
	s.ask(t, "POST", "/app-setups", in).want(202).into(&v)
	return v
}

// setupEnded waits for a setup to end.
func (s *server) setupEnded(t testing.TB, id string) (v setupView) {
	t.Helper()
	eventually(t, "the setup ends", func() bool {
		v = setupView{}
		s.ask(t, "GET", "/app-setups/"+id, nil).want(200).into(&v)
		return v.Status != "pending"
	})
	return v
}

const guestbook = `{
	"name": "Guestbook", "success_url": "/welcome",
	"env": {"SECRET": {"generator": "secret"}, "GREETING": "hello there", "GIVEN": {"description": "somebody gives it"}},
	"addons": ["heroku-postgresql"],
	"formation": {"worker": {"quantity": 2}},
	"scripts": {"postdeploy": "echo secret of ${#SECRET}; echo $GREETING; cat index.txt; [ \"$GIVEN\" = \"by somebody\" ] && echo given"}
}`

// TestSetupByHerokuGo has the Platform API's own Go client set an app up, from an archive with a directory around it.
func TestSetupByHerokuGo(t *testing.T) {
	t.Parallel()
	s, ctx := common(t), t.Context()
	c := heroku.NewService(&http.Client{Transport: &heroku.Transport{BearerToken: s.token}})
	c.URL = s.url
	at := s.keep(t, "guestbook-1234567/app.json", guestbook, "guestbook-1234567/build.sh", "echo building\n", "guestbook-1234567/index.txt", "the index\n")
	appName, version := name("app"), "v7"
	opts := heroku.AppSetupCreateOpts{}
	opts.SourceBlob.URL, opts.SourceBlob.Version = &at, &version
	opts.App = &struct {
		Locked       *bool   `json:"locked,omitempty" url:"locked,omitempty,key"`
		Name         *string `json:"name,omitempty" url:"name,omitempty,key"`
		Organization *string `json:"organization,omitempty" url:"organization,omitempty,key"`
		Personal     *bool   `json:"personal,omitempty" url:"personal,omitempty,key"`
		Region       *string `json:"region,omitempty" url:"region,omitempty,key"`
		Space        *string `json:"space,omitempty" url:"space,omitempty,key"`
		Stack        *string `json:"stack,omitempty" url:"stack,omitempty,key"`
	}{Name: &appName, Stack: heroku.String("cnb"), Personal: heroku.Bool(true)}
	opts.Overrides = &struct {
		Buildpacks []*struct {
			URL *string `json:"url,omitempty" url:"url,omitempty,key"`
		} `json:"buildpacks,omitempty" url:"buildpacks,omitempty,key"`
		Env map[string]string `json:"env,omitempty" url:"env,omitempty,key"`
	}{Env: map[string]string{"GIVEN": "by somebody", "DATABASE_URL": "postgres://db.example/x", "MORE": "than it knows"}}
	opts.Overrides.Buildpacks = append(opts.Overrides.Buildpacks, &struct {
		URL *string `json:"url,omitempty" url:"url,omitempty,key"`
	}{heroku.String("test/script")})
	made := must(c.AppSetupCreate(ctx, opts))(t)
	if made.Status != "pending" || made.App.Name != appName || made.App.ID == "" || made.ID == "" {
		t.Errorf("at first: %+v", made)
	}
	eventually(t, "the setup ends", func() bool { made = must(c.AppSetupInfo(ctx, made.ID))(t); return made.Status != "pending" })
	if made.Status != "succeeded" || made.FailureMessage != nil || len(made.ManifestErrors) > 0 || made.Build == nil || made.Build.Status != "succeeded" || made.ResolvedSuccessURL != nil {
		t.Fatalf("the setup: %+v %v", made, *made.FailureMessage)
	}
	if p := made.Postdeploy; p == nil || p.ExitCode != 0 || p.Output != "secret of 64\n[masked]\nthe index\ngiven\n" {
		t.Errorf("postdeploy: %+v", p)
	}
	stream := must(http.Get(made.Build.OutputStreamURL))(t)
	defer stream.Body.Close()
	if log := must(io.ReadAll(stream.Body))(t); !strings.Contains(string(log), "[test/script] building\n") {
		t.Errorf("the stream: %s", log)
	}
	vars := must(c.ConfigVarInfoForApp(ctx, appName))(t)
	if len(vars) != 5 || len(*vars["SECRET"]) != 64 || *vars["GREETING"] != "hello there" || *vars["MORE"] != "than it knows" {
		t.Errorf("config vars %v", vars)
	}
	installed := must(c.BuildpackInstallationList(ctx, appName, nil))(t)
	releases := must(c.ReleaseList(ctx, appName, nil))(t)
	if len(installed) != 1 || installed[0].Buildpack.Name != "test/script" || len(releases) != 1 {
		t.Errorf("buildpacks %+v, releases %+v", installed, releases)
	}
	v := s.setupEnded(t, made.ID)
	const want = "create succeeded, configure succeeded, add-ons succeeded, build succeeded, release succeeded, postdeploy succeeded, deploy skipped"
	if v.steps() != want || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "2 of worker") || v.Template.Name != "Guestbook" || !strings.Contains(v.Image, "/"+appName+"@sha256:") {
		t.Errorf("%s; %+v", v.steps(), v)
	}
	if log := s.ask(t, "GET", "/app-setups/"+made.ID+"/log", nil).want(200).text; log != made.Postdeploy.Output {
		t.Errorf("its log: %q", log)
	}
	if log := s.ask(t, "GET", "/app-setups/"+made.ID+"/build/log?follow=true", nil).want(200).text; !strings.Contains(log, "building") {
		t.Errorf("its build's log: %q", log)
	}
	s.ask(t, "DELETE", "/app-setups/"+made.ID, nil).want(409)
	var all []setupView
	if s.ask(t, "GET", "/app-setups", nil).want(200).into(&all); !slices.ContainsFunc(all, func(o setupView) bool { return o.ID == v.ID }) {
		t.Errorf("the list: %+v", all)
	}
}

// TestSetupFails: what goes wrong is said, the app is gone, and the setup stays, with the log of its build.
func TestSetupFails(t *testing.T) {
	t.Parallel()
	s := common(t)
	hooked := httptest.NewServer(http.NotFoundHandler())
	defer hooked.Close()
	for _, c := range []struct {
		name, appJSON string
		files         []string
		in            map[string]any
		says, steps   string
		log           string // in the log of its build
	}{
		{name: "no app.json", says: "app.json not found", steps: "configure failed, add-ons pending"},
		{name: "not JSON", appJSON: `{"name": `, says: "invalid app.json: app.json:1:", steps: "configure failed"},
		{name: "invalid", appJSON: `{"env": [], "addons": "x"}`, says: "invalid app.json: app.json:1:9: env: ", steps: "configure failed"},
		{name: "unknown buildpack", appJSON: `{"buildpacks": [{"url": "https://github.com/nobody/heroku-buildpack-none"}]}`, says: "invalid app.json: app.json:1:", steps: "configure failed"},
		{name: "missing var", appJSON: `{"env": {"NEEDED": {}, "ALSO": {}}}`, says: "config var NEEDED is required, and 1 more", steps: "configure failed"},
		{name: "missing add-on", appJSON: `{"addons": ["heroku-redis"]}`, says: "add-on heroku-redis is not provided here: give the config vars that it would set: REDIS_URL", steps: "configure failed"},
		{name: "build fails", appJSON: `{}`, files: []string{"build.sh", "echo it goes wrong\nexit 3\n"}, says: "the build failed: ", steps: "build failed, release pending", log: "it goes wrong"},
		{name: "release command", appJSON: `{}`, files: []string{"build.sh", "true\n", "release.sh", "exit 4\n"}, says: "the release command ended with exit code 4", steps: "release failed"},
		{
			name: "postdeploy", appJSON: `{"scripts": {"postdeploy": "echo half done; exit 3"}}`, files: []string{"build.sh", "echo built well\n"},
			says: "postdeploy exited with code 3", steps: "postdeploy failed, deploy pending", log: "built well",
		},
		{name: "archive is gone", in: map[string]any{"source_blob": map[string]any{"url": hooked.URL + "/a.tgz"}}, says: "fetch the template: ", steps: "configure failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := c.in
			if in == nil {
				files := append([]string{"top/README.md", "x"}, c.files...)
				for i := 2; i < len(files); i += 2 {
					files[i] = "top/" + files[i]
				}
				if c.appJSON != "" {
					files = append(files, "top/app.json", c.appJSON)
				}
				in = map[string]any{"source_blob": map[string]any{"url": s.keep(t, files...)}}
			}
			v := s.setUp(t, in)
			if v.Status != "pending" || v.App.Name == "" {
				t.Errorf("at first: %+v", v)
			}
			v = s.setupEnded(t, v.ID)
			if v.Status != "failed" || !strings.HasPrefix(v.Failure, c.says) || !strings.Contains(v.steps(), c.steps) || strings.Contains(v.Failure, s.data) {
				t.Errorf("%q, want %q; %s", v.Failure, c.says, v.steps())
			}
			s.ask(t, "GET", "/apps/"+v.App.Name, nil).want(404)
			if r := s.ask(t, "GET", "/v2/"+v.App.Name+"/tags/list", nil); r.status != 404 {
				t.Errorf("images of the app are there: %s", r.text)
			}
			if c.log != "" {
				if v.Build == nil || !strings.Contains(s.ask(t, "GET", v.Build.Stream, nil, "Authorization: ").want(200).text, c.log) {
					t.Errorf("the build %+v, its log %s", v.Build, s.ask(t, "GET", "/app-setups/"+v.ID+"/build/log", nil).text)
				}
			}
			if c.name == "postdeploy" && (v.Postdeploy == nil || v.Postdeploy.Exit != 3 || v.Postdeploy.Output != "half done\n") {
				t.Errorf("postdeploy %+v", v.Postdeploy)
			}
			if strings.Contains(c.says, "app.json: ") && (len(v.Errors) == 0 || !strings.Contains(v.Errors[0], "app.json:1:")) {
				t.Errorf("manifest_errors %q", v.Errors)
			}
		})
	}
}

// TestSetupRefused: what can be told at once is, and nothing is made.
func TestSetupRefused(t *testing.T) {
	t.Parallel()
	s := common(t)
	taken := s.newApp(t, nil)
	blob := map[string]any{"url": s.keep(t, "app.json", "{}", "build.sh", "true\n")}
	for _, c := range []struct {
		in     map[string]any
		status int
		says   string
	}{
		{map[string]any{"source_blob": blob, "app": map[string]any{"name": taken.name}}, 422, "the name " + taken.name + " is taken"},
		{map[string]any{"source_blob": blob, "app": map[string]any{"name": "X"}}, 422, "3 to 30 lower-case letters"},
		{map[string]any{"source_blob": blob, "app": map[string]any{"organization": "acme"}}, 422, "neither teams nor spaces"},
		{map[string]any{"source_blob": blob, "overrides": map[string]any{"env": map[string]string{"1X": "y"}}}, 422, "config var 1X"},
		{map[string]any{"source_blob": blob, "deployer": "command"}, 422, "none or local"},
		{map[string]any{"source_blob": map[string]any{"url": "file:///etc/passwd"}}, 422, "source_blob.url"},
		{map[string]any{}, 422, "source_blob.url"},
		{map[string]any{"template": "https://elsewhere.example/a/b"}, 422, "not one of the git hosts"},
		{map[string]any{"template": "https://elsewhere.example/a/b", "source_blob": blob}, 422, "name one"},
	} {
		if r := s.ask(t, "POST", "/app-setups", c.in).want(c.status); !strings.Contains(r.text, c.says) {
			t.Errorf("%v: %s, want %q", c.in, r.text, c.says)
		}
	}
	var less struct{ Token string }
	s.ask(t, "POST", "/account/tokens", map[string]any{"scope": []string{"read", "manage"}}).want(201).into(&less)
	if r := s.ask(t, "POST", "/app-setups", map[string]any{"source_blob": blob}, "Authorization: Bearer "+less.Token).want(403); !strings.Contains(r.text, "lacks the scope config") {
		t.Error(r.text)
	}
	s.ask(t, "GET", "/app-setups/"+taken.name, nil).want(404)
}

// TestSetupCancelled: one that is cancelled, and one whose build is, end, and so does what runs of them.
func TestSetupCancelled(t *testing.T) {
	t.Parallel()
	s := common(t)
	for name, cancel := range map[string]func(t testing.TB, v setupView){
		"it was cancelled: admin asked for it":        func(t testing.TB, v setupView) { s.ask(t, "DELETE", "/app-setups/"+v.ID, nil).want(200) },
		"the build was cancelled: admin asked for it": func(t testing.TB, v setupView) { s.ask(t, "DELETE", "/apps/"+v.App.Name+"/builds/1", nil).want(200) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, script := gate()
			v := s.setUp(t, map[string]any{"source_blob": map[string]any{"url": s.keep(t, "app.json", "{}", "build.sh", script)}})
			eventually(t, "its build runs", func() bool {
				r := s.ask(t, "GET", "/app-setups/"+v.ID+"/build/log", nil)
				return strings.Contains(r.text, "waiting at")
			})
			cancel(t, v)
			v = s.setupEnded(t, v.ID)
			if v.Status != "failed" || v.Failure != name || v.Build == nil || v.Build.State != "cancelled" {
				t.Errorf("%+v, build %+v", v, v.Build)
			}
			s.ask(t, "GET", "/apps/"+v.App.Name, nil).want(404)
			if log := s.ask(t, "GET", v.Build.Stream, nil, "Authorization: ").want(200).text; !strings.Contains(log, "waiting at") {
				t.Errorf("the log of the build: %s", log)
			}
		})
	}
	v := s.setUp(t, map[string]any{"source_blob": map[string]any{"url": s.keep(t, "app.json", `{"scripts": {"postdeploy": "echo begun; exec sleep 1000"}}`, "build.sh", "true\n")}})
	eventually(t, "postdeploy runs", func() bool {
		return strings.Contains(s.ask(t, "GET", "/app-setups/"+v.ID+"/log", nil).text, "begun")
	})
	s.ask(t, "DELETE", "/apps/"+v.App.Name, nil).want(200)
	if v = s.setupEnded(t, v.ID); v.Failure != "its app was deleted" || !strings.Contains(v.steps(), "postdeploy failed") {
		t.Errorf("%q, %s", v.Failure, v.steps())
	}
}

// TestSetupOfTemplate sets an app up of a repository, at the commit that it had when it was asked for, and ends in a
// running app.
func TestSetupOfTemplate(t *testing.T) {
	t.Parallel()
	var to *httputil.ReverseProxy
	public := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { to.ServeHTTP(w, r) }))
	defer public.Close()
	s := own(t, func(c *daemon.Config) {
		c.Fetch.Templates = []string{strings.TrimPrefix(public.URL, "https://")}
		c.Deploy.Setups = "local"
	})
	at := must(url.Parse(s.url))(t)
	to = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at); r.Out.SetBasicAuth("x", s.token) }}
	from := s.newApp(t, nil)
	from.web()
	commit := from.commit("build.sh", "chmod +x testapp\n", "web.sh", "exec ./testapp\n", "version.txt", "1",
		"app.json", `{"name": "Runs", "env": {"KEY": {}}, "success_url": "/start?x=1", "scripts": {"postdeploy": "cat version.txt"}}`)
	from.push(true, []string{"slipway", "main"})
	template := map[string]any{"template": public.URL + "/" + from.name + ".git"}
	if r := s.ask(t, "POST", "/app-setups", template).want(422); !strings.Contains(r.text, "config var KEY is required") {
		t.Error(r.text)
	}
	template["overrides"] = map[string]any{"env": map[string]string{"KEY": "a-value-of-the-app"}}
	v := s.setUp(t, template)
	from.commit("version.txt", "2")
	from.push(true, []string{"slipway", "main"})
	v = s.setupEnded(t, v.ID)
	if v.Status != "succeeded" || v.Template.Commit != commit || v.Postdeploy == nil || v.Postdeploy.Output != "1" || v.URL == "" || v.Success != v.URL+"/start?x=1" {
		t.Fatalf("%+v", v)
	}
	if got := asks(t, v.URL); got != "v1 a-value-of-the-app" {
		t.Errorf("it answers %q", got)
	}
	template["template"] = public.URL + "/" + from.name + "-none.git"
	if r := s.ask(t, "POST", "/app-setups", template).want(422); bytes.Contains([]byte(r.text), []byte("\\n")) {
		t.Error(r.text)
	}
	crash := from.commit("mode.txt", "crash")
	from.push(true, []string{"slipway", "main"})
	template["template"] = public.URL + "/" + from.name + ".git"
	v = s.setUp(t, template)
	if v = s.setupEnded(t, v.ID); v.Template.Commit != crash || !strings.HasPrefix(v.Failure, "the app does not run: the process ended with exit code 7") || !strings.Contains(v.steps(), "postdeploy succeeded, deploy failed") {
		t.Errorf("%q, %s", v.Failure, v.steps())
	}
	s.ask(t, "GET", "/apps/"+v.App.Name, nil).want(404)
	below := from.commit("examples/one/app.json", `{"scripts": {"postdeploy": "ls"}}`, "examples/one/build.sh", "true\n", "examples/one/only", "x")
	from.push(true, []string{"slipway", "main"})
	v = s.setUp(t, map[string]any{"template": public.URL + "/" + from.name + ".git/tree/main/examples/one", "deployer": "none"})
	if v = s.setupEnded(t, v.ID); v.Template.Commit != below || v.Template.Dir != "examples/one" || v.Postdeploy == nil || v.Postdeploy.Output != "app.json\nbuild.sh\nonly\n" {
		t.Errorf("of a directory: %+v, %+v", v, v.Postdeploy)
	}
}

func (k *killed) setsUp() {
	k.setsUpOf("app.json", `{"env": {"SECRET": {"generator": "secret"}}, "scripts": {"postdeploy": "echo done"}}`, "build.sh", "echo set up\n")
}

func (k *killed) setsUpInVain() { k.setsUpOf("build.sh", "echo set up\n") }

func (k *killed) setsUpOf(files ...string) {
	k.name = name("setup")
	in := map[string]any{"source_blob": map[string]string{"url": k.keep(k.t, files...)}, "app": map[string]string{"name": k.name}}
	_, _, _ = k.app.poke("POST", "/app-setups", string(must(json.Marshal(in))(k.t)))
}

// wantSetup: the setup that the trigger has asked for ends in a state.
func (k *killed) wantSetup(status string) setupView {
	k.t.Helper()
	var all []setupView
	k.ask(k.t, "GET", "/app-setups", nil).want(200).into(&all)
	i := slices.IndexFunc(all, func(v setupView) bool { return v.App.Name == k.name })
	if i < 0 {
		k.t.Fatalf("the setup of %s is lost: %+v", k.name, all)
	}
	v := k.setupEnded(k.t, all[i].ID)
	if v.Status != status {
		k.t.Errorf("the setup %s: %q, %s", v.Status, v.Failure, v.steps())
	}
	if status == "failed" {
		k.put = "" // nothing of it is there, and the next app of that name has nothing of it either
		k.wantRemoved()
	}
	return v
}

// wantSetUp: it went on, and did nothing twice.
func (k *killed) wantSetUp() {
	k.t.Helper()
	v := k.wantSetup("succeeded")
	a := &app{server: k.server, tree: newTree(k.t), t: k.t, name: k.name}
	a.tree.git("remote", "add", "slipway", k.server.git(k.name))
	if all := a.builds(); len(all) != 1 || all[0].State != "succeeded" || v.Postdeploy == nil || v.Postdeploy.Output != "done\n" || !strings.Contains(a.log(1), "set up") {
		k.t.Errorf("builds %+v, the setup %+v", all, v)
	}
	k.wantWhole(k.t, a)
}

func (k *killed) wantInterrupted() {
	k.t.Helper()
	if v := k.wantSetup("failed"); !strings.HasPrefix(v.Failure, "the service stopped while postdeploy ran") || !strings.Contains(v.steps(), "release succeeded, postdeploy failed") {
		k.t.Errorf("%q, %s", v.Failure, v.steps())
	}
}

func (k *killed) wantSetupFailed() {
	k.t.Helper()
	if v := k.wantSetup("failed"); v.Failure != "app.json not found" {
		k.t.Errorf("%q, %s", v.Failure, v.steps())
	}
}

// TestSetupStopped: a service that is stopped goes on with setups when it starts again, but for a postdeploy that it cut
// off, whose app is gone.
func TestSetupStopped(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	first := must(theYard(t).start(data, nil))(t)
	cut := first.setUp(t, map[string]any{"source_blob": map[string]any{"url": first.keep(t, "app.json", `{"scripts": {"postdeploy": "echo begun; exec sleep 1000"}}`, "build.sh", "true\n")}})
	eventually(t, "postdeploy runs", func() bool {
		return strings.Contains(first.ask(t, "GET", "/app-setups/"+cut.ID+"/log", nil).text, "begun")
	})
	id, script := gate()
	later := first.setUp(t, map[string]any{"source_blob": map[string]any{"url": first.keep(t, "app.json", `{"scripts": {"postdeploy": "echo done"}}`, "build.sh", script)}})
	eventually(t, "its build runs", func() bool {
		return strings.Contains(first.ask(t, "GET", "/app-setups/"+later.ID+"/build/log", nil).text, "waiting at")
	})
	first.end() // it drains: the build goes on to its end
	(&app{server: first, t: t}).letGo(id)
	if err := errors.Join(first.stop(), first.faulty()); err != nil {
		t.Fatal(err)
	}
	s := at(t, data, func(c *daemon.Config) { c.Listen = first.address() }) // where its images are
	s.token = first.token
	if v := s.setupEnded(t, cut.ID); !strings.HasPrefix(v.Failure, "the service stopped while postdeploy ran") || v.Postdeploy == nil || v.Postdeploy.Output != "begun\n" || v.Postdeploy.Exit == 0 {
		t.Errorf("%+v", v)
	}
	s.ask(t, "GET", "/apps/"+cut.App.Name, nil).want(404)
	if v := s.setupEnded(t, later.ID); v.Status != "succeeded" || v.Postdeploy == nil || v.Postdeploy.Output != "done\n" {
		t.Errorf("%+v %s", v, v.steps())
	}
}
