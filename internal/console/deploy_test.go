package console

import (
	"context"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// rows are what a page that is only looked at may not add to.
func (y *yard) rows() (apps, setups int) {
	y.t.Helper()
	who := build.Actor{User: y.admin, Token: build.Token{Verbs: build.Verbs()}}
	all := must(y.store.Apps(y.t.Context(), who))(y.t)
	made := must(y.store.Setups(y.t.Context(), who, 1000))(y.t)
	return len(all), len(made)
}

func TestDeployPage(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	first := h.publishGuestbook()
	out := y.browser()
	r := out.get(h.link("&env%5BTITLE%5D=Cheap+%3Cb%3Epills&env%5BEXTRA%5D=1&env%5Bno-name%5D=1")).want(200).has(
		"Deploy Guestbook", "A page where visitors leave a line.", string(first), "of the default branch", `name="commit" value="`+string(first)+`"`, "/commit/"+string(first),
		`id="var-TITLE"`, "What stands at the top of the page.", "Cheap &lt;b&gt;pills", "from the link", "The template itself would have", "Our guests", "Not asked for by the template", `id="var-EXTRA"`,
		"A secret is made up", "SESSION_KEY", "heroku-postgresql:essential-0", `id="var-DATABASE_URL"`, "heroku/nodejs", "slipway/nodejs", "app.json:15:3", "the key is not known", "no-name", "# Guestbook",
		"Sign in and deploy", "2 values below are",
	)
	for _, not := range []string{`id="var-SESSION_KEY"`, "<b>pills", "Is it free?"} {
		if strings.Contains(r.text, not) {
			t.Errorf("there is %s", not)
		}
	}
	out.get("/deploy", "Referer: "+h.repository()+"/src/branch/main").want(200).has("it is the repository that you came from", string(first))
	out.get("/deploy", "Referer: https://blog.example.com/").want(200).has("does not say which repository it means", "Repository or deploy link")
	out.get("/deploy").want(200).has("Deploy a template", h.addr)
	asked := h.asked.Load()
	out.get(h.link("%2Fcommit%2F" + string(first))).want(200).has("The link names a commit and no branch")
	if n := h.asked.Load(); n > asked {
		asked = n
	}
	out.get(h.link("%2Fcommit%2F" + string(first))).want(200)
	if n := h.asked.Load(); n != asked {
		t.Errorf("a commit is read again: %d requests more", n-asked)
	}
	if apps, setups := y.rows(); apps+setups > 0 || h.astray.Load() > 0 {
		t.Errorf("looking made %d apps and %d setups; %s", apps, setups, h)
	}
}

// TestDeployPinned: what was looked at is what is built, whatever the branch has become.
func TestDeployPinned(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	first := h.publishGuestbook()
	b := y.signIn(y.token)
	page := b.get(h.link("")).want(200)
	h.commit("main", "Add mischief", "app.json", `{"scripts": {"postdeploy": "mischief"}}`)
	form := url.Values{"csrf": {page.field()}, "commit": {string(first)}, "name": {"guests"}, "env[OWNER]": {"ada"}, "env[TITLE]": {"Our guests"}, "env[DATABASE_URL]": {"a\r\nb"}}
	r := b.do("POST", h.link(""), form).want(303)
	at := r.header.Get("Location")
	if again := b.do("POST", h.link(""), form).want(303); again.header.Get("Location") != at {
		t.Errorf("sent twice, it goes to %s and to %s", at, again.header.Get("Location"))
	}
	j := y.wait()
	if j.Source.Commit != string(first) || j.Source.URL != h.repository() {
		t.Errorf("built is %+v", j.Source)
	}
	a := must(y.store.AppByName(t.Context(), "guests"))(t)
	vars := must(y.store.Secrets(t.Context(), a.ID, store.SecretVar))(t)
	if len(vars) != 4 || vars["OWNER"] != "ada" || vars["TITLE"] != "Our guests" || vars["DATABASE_URL"] != "a\nb" || len(vars["SESSION_KEY"]) != 64 {
		t.Errorf("config vars %v", vars)
	}
	b.get(at).want(200).has("Making guests", "under way", "Build the image", "running", `data-step="deploy"`, "data-stream", "not reached")
	y.print(j, "installing\n")
	y.finish(j, good())
	y.ended(at)
	r = b.get(at).want(200).has("guests is there", digest, "node server.js", "slipway run registry.test/shop@"+digest, "docker run", "installing", "release v1", "config vars were given for heroku-postgresql:essential-0")
	if strings.Contains(r.text, "data-stream") || strings.Contains(r.text, "Open the app") {
		t.Error("it goes on, or has a URL")
	}
	b.get(at + "/log.txt").want(200).has("installing")
	b.get(at+"/stream").want(200).has(`"installing"`, "event: end")
	b.get("/console/setups").want(200).has("guests", "Guestbook", at)
	b.get("/console/setups/" + string(build.NewID())).want(404)
	b.post("/console/apps", at+"/cancel", nil).want(303)
	b.get(at).want(200).has("It has ended already.")
}

// TestDeployDir: a directory of a repository is a template of its own.
func TestDeployDir(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	commit := h.commit("a/b", "Add examples", "app.json", `{"name": "Whole"}`, "README.md", "of all", "examples/hello/app.json", `{"name": "Hello", "surprise": 1}`, "examples/hello/README.md", "of one", "examples/empty/x", "x")
	b := y.signIn(y.token)
	link := h.link("%2Ftree%2Fa%2Fb%2Fexamples%2Fhello%2F")
	r := b.get(link).want(200).has("Deploy Hello", "examples/hello", "alone is the app", "of one", "of a/b", `value="hello"`)
	if strings.Contains(r.text, "of all") {
		t.Error("it has what is beside the directory")
	}
	at := b.post(link, link, url.Values{"commit": {string(commit)}, "name": {"hello"}}).want(303).header.Get("Location")
	j := y.wait()
	if j.Source.Dir != "examples/hello" || j.Source.Commit != string(commit) {
		t.Errorf("built is %+v", j.Source)
	}
	y.finish(j, failed(build.BlameApp, "slipway/nodejs@1.4.0", "npm install failed"))
	y.ended(at)
	b.get(at).want(200).has(", directory <code>examples/hello</code>")
	b.post(at, at+"/again", nil).want(200).has("Deploy Hello", `value="hello"`)
	y.console.drafts = drafts{}
	b.get(at).want(200).has(html.EscapeString(url.QueryEscape("/-/tree/a/b/examples/hello")))
	for path, c := range map[string]struct {
		status int
		says   string
	}{
		"%2Ftree%2Fa%2Fb%2Fexamples%2Fabsent": {404, "the commit has no such directory: &#34;examples/absent&#34;"}, "%2Ftree%2Fa%2Fb%2Fapp.json": {404, "no such directory"},
		"%2Ftree%2Fa%2Fb%2Fexamples%2Fempty": {422, "in &#34;examples/empty&#34;, at commit"}, "%2Ftree%2Fa%2Fb%2F..%2F..%2Fx": {422, "a dot, two"}, "%2Ftree%2Fa%2Fb%2Fexamples%2F.git": {422, "a path below the root"},
	} {
		b.get(h.link(path)).want(c.status).has(c.says)
	}
}

// wait takes the next build, when there is one.
func (y *yard) wait() *work.Job {
	y.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if j := must(y.service.Claim(y.t.Context(), "test"))(y.t); j != nil {
			return j
		}
	}
	y.t.Fatal("no build came")
	return nil
}

// ended waits for the end of the setup of a page.
func (y *yard) ended(path string) build.Setup {
	y.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if s := must(y.store.SetupByID(y.t.Context(), build.ID(path[strings.LastIndexByte(path, '/')+1:])))(y.t); !s.EndedAt.IsZero() {
			return s
		}
	}
	y.t.Fatalf("%s does not end", path)
	return build.Setup{}
}

func TestDeployFailing(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	commit := h.publishGuestbook()
	b := y.signIn(y.token)
	form := url.Values{"commit": {string(commit)}, "name": {"guests"}, "env[OWNER]": {"ada"}, "without-addons": {"1"}}
	at := b.post(h.link(""), h.link(""), form).want(303).header.Get("Location")
	j := y.wait()
	y.print(j, "ERROR: out of cheese\n")
	y.finish(j, failed(build.BlameApp, "slipway/nodejs@1.4.0", "npm install failed"))
	y.ended(at)
	b.get(at).want(200).has("guests was not made", "npm install failed", "stopped here", "out of cheese", "its name is free again", "fix it and push again")
	b.get("/console/apps/guests").want(404)
	b.post(at, at+"/again", nil).want(200).has("These are the values of before.", `value="guests"`, ">\nada</textarea>", "checked", string(commit))
	b.get(at + "/stream").want(200).has("event: end")
	b.get(at + "/log.txt").want(200).has("out of cheese")
	if r := b.get(at+"?part=summary").want(200).has(`id="summary"`, "npm install failed"); strings.Contains(r.text, "out of cheese") {
		t.Error("a page that is followed is sent its log again")
	}
	other := must(y.store.CreateUser(t.Context(), "eve", false))(t)
	_, text, err := y.store.CreateToken(t.Context(), build.Token{User: other.ID, Verbs: build.Verbs()})
	if err != nil {
		t.Fatal(err)
	}
	eve := y.signIn(text)
	for _, path := range []string{at, at + "/stream", at + "/log.txt"} {
		eve.get(path).want(404)
	}
	eve.post("/console/apps", at+"/cancel", nil).want(404)
	eve.post("/console/apps", at+"/again", nil).want(404)
	reader := y.signIn(y.tokenOf(build.VerbRead)) // of the same user, and it does not see config vars
	if r := reader.get(at).want(200); strings.Contains(r.text, "Try again") {
		t.Error("a token that cannot deploy is offered to")
	}
	if r := reader.post("/console/apps", at+"/again", nil).want(403).has("lacks the scope"); strings.Contains(r.text, "ada</textarea>") {
		t.Error("a token that may only read is shown what was filled in")
	}
	y.console.drafts = drafts{} // as after a restart
	b.get(at).want(200).has("Begin again with the template", h.addr[strings.LastIndexByte(h.addr, ':')+1:])
	b.post(at, at+"/again", nil)
	b.get(at).want(200).has("not known any more")
	at = b.post(h.link(""), h.link(""), form).want(303).header.Get("Location")
	b.post(at, at+"/cancel", nil).want(303)
	b.get(at).want(200).has("It is being stopped")
	for j := range 100 { // the worker, which hears of it
		if s := must(y.store.SetupByID(t.Context(), build.ID(at[strings.LastIndexByte(at, '/')+1:])))(t); !s.EndedAt.IsZero() || j == 99 {
			break
		}
		if j := must(y.service.Claim(t.Context(), "test"))(t); j != nil {
			y.finish(j, work.Outcome{State: build.Cancelled, Failure: &build.Failure{Blame: build.BlameApp, Code: "cancelled", Reason: "asked for"}})
		}
		time.Sleep(10 * time.Millisecond)
	}
	y.ended(at)
	b.get(at).want(200).has("It was cancelled.", "ada@example.com asked for it")
}

func TestDeployRefuses(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	commit := string(h.publishGuestbook())
	y.app("taken")
	b := y.signIn(y.token)
	with := func(more ...string) url.Values {
		form := url.Values{"commit": {commit}, "name": {"guests"}, "env[OWNER]": {"ada"}, "env[TITLE]": {"typed <i>"}, "without-addons": {"1"}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	for _, c := range []struct {
		form   url.Values
		status int
		says   []string
	}{
		{with("env[OWNER]", ""), 422, []string{"The app needs a value here.", "typed &lt;i&gt;", `value="guests"`, "checked"}},
		{with("name", "taken"), 422, []string{"That name is taken"}},
		{with("name", "-x"), 422, []string{"A name has 3 to 30"}},
		{with("without-addons", ""), 422, []string{"is not provided here", "DATABASE_URL"}},
		{with("env[TITLE]", "a\x00b"), 422, []string{"not text that a config var can have"}},
		{with("do", "name"), 200, []string{"The name is free."}},
		{with("do", "name", "name", "taken"), 200, []string{"That name is taken"}},
		{with("commit", "main"), 422, []string{"names no commit"}},
		{with("commit", strings.Repeat("1", 40)), 404, []string{"no such branch, tag or commit"}},
	} {
		b.post(h.link(""), h.link(""), c.form).want(c.status).has(c.says...)
	}
	b.get("/console/app-name?name=taken").want(200).has("That name is taken")
	b.get("/console/app-name?name=guests").want(200).has(`{"wrong":""}`)
	b.do("POST", h.link(""), with("csrf", "wrong")).want(403)
	b.do("POST", h.link(""), with("csrf", b.get("/console/apps").field()), "Sec-Fetch-Site: cross-site").want(403)
	reader := y.signIn(y.tokenOf(build.VerbRead, build.VerbManage))
	reader.get(h.link("")).want(200).has("lacks the scope config", "disabled")
	reader.post(h.link(""), h.link(""), with()).want(403).has("lacks the scope config")
	for _, r := range []reply{reader.get("/console/app-name?name=taken"), reader.post(h.link(""), h.link(""), with("do", "name", "name", "taken"))} {
		if strings.Contains(r.want(403).text, "That name is taken") {
			t.Errorf("%s: a token that cannot make apps learns which there are", r.what)
		}
	}
	y.browser().get("/console/app-name?name=taken").want(303)
	y.browser().do("POST", h.link(""), with()).want(403)
	if apps, setups := y.rows(); apps != 1 || setups != 0 {
		t.Errorf("%d apps and %d setups", apps, setups)
	}
}

// TestDeploySignsIn: who signs in on the way finds the form as it was.
func TestDeploySignsIn(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	commit := string(h.publishGuestbook())
	b := y.browser()
	link := h.link("&env%5BTITLE%5D=given")
	form := url.Values{"commit": {commit}, "name": {"guests"}, "env[OWNER]": {"line one\r\n\"two\" <b>"}, "env[TITLE]": {"given"}, "without-addons": {"1"}}
	door := b.post(link, link, form).want(200).has("What you filled in is kept.", `name="env[OWNER]"`)
	// The browser sends back what the door has.
	back := url.Values{}
	_, fields, _ := strings.Cut(door.text, `class="stack"`)
	for part := range strings.SplitSeq(fields, `<input type="hidden" name="`) {
		name, rest, ok := strings.Cut(part, `" value="`)
		value, _, _ := strings.Cut(rest, `">`)
		if ok {
			back.Set(html.UnescapeString(name), html.UnescapeString(value))
		}
	}
	_, action, _ := strings.Cut(door.text, `<form method="post" action="/deploy`)
	action, _, _ = strings.Cut(action, `"`)
	action = "/deploy" + html.UnescapeString(action)
	back.Set("token", "slw_wrong")
	b.do("POST", action, back).want(401).has("That is no token", `name="env[OWNER]"`)
	back.Set("token", y.token)
	r := b.do("POST", action, back).want(200).has("You are signed in.", "line one\n&#34;two&#34; &lt;b&gt;", "from the link", `value="guests"`, "checked", commit)
	if strings.Contains(r.text, y.token) {
		t.Error("the token is on the page")
	}
	form.Set("csrf", r.field())
	b.do("POST", link, form).want(303)
	y.wait()
	a := must(y.store.AppByName(t.Context(), "guests"))(t)
	if vars := must(y.store.Secrets(t.Context(), a.ID, store.SecretVar))(t); vars["OWNER"] != "line one\n\"two\" <b>" || vars["TITLE"] != "given" {
		t.Errorf("config vars %q", vars)
	}
	y.browser().get(link).want(200).has("Sign in and deploy")
}

// TestHostileTemplates: a page that says why, and no connection but to the template's host.
func TestHostileTemplates(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	h.commit("main", "x", "app.json", strings.Repeat(" ", 50<<20))
	h.commit("empty", "x", "README.md", "x")
	h.commit("broken", "x", "app.json", "{\n  \"env\": 7\n}")
	h.commit("deep", "x", "app.json", strings.Repeat("[", 100_000))
	b := y.browser()
	for template, c := range map[string]struct {
		status int
		asks   bool
		says   string
	}{
		"file:///etc/passwd":                          {422, false, "https://"},
		"/etc/passwd":                                 {422, false, "no URL of a git repository"},
		"ext::sh -c touch% /tmp/x":                    {422, false, "transport"},
		"-oProxyCommand=x":                            {422, false, "dash"},
		"ssh://-oProxyCommand=x/acme/guestbook":       {422, false, ""},
		"https://169.254.169.254/latest/meta-data":    {422, false, "it is an address"},
		"https://127.0.0.2/acme/guestbook":            {422, false, "it is an address"},
		"https://2130706433/acme/guestbook":           {422, false, "neither a name nor an address"},
		"https://[::1]/acme/guestbook":                {422, false, "it is an address"},
		"https://evil.example.com/acme/guestbook":     {422, false, "not one of the git hosts"},
		"https://u:p@" + h.addr + "/acme/guestbook":   {422, false, "user or password"},
		"https://github.com@127.0.0.2/acme/guestbook": {422, false, ""},
		"https://" + h.addr + "/acme/../../etc":       {422, false, ""},
		"https://" + h.addr + "/evil/astray":          {403, true, "127.0.0.2"},
		"https://" + h.addr + "/evil/endless":         {413, true, "more than"},
		"https://" + h.addr + "/acme/absent":          {404, true, "not there"},
		h.repository():                                {413, true, "it has 52428800 bytes"},
		h.repository() + "/tree/absent":               {404, true, "no such branch"},
		h.repository() + "/tree/empty":                {422, true, "No app.json in "},
		h.repository() + "/tree/broken":               {422, true, "app.json:2:10"},
		h.repository() + "/tree/deep":                 {422, true, "app.json:1:"},
		h.repository() + "/tree/main/../x":            {422, false, ""},
		strings.Repeat("x", 2000):                     {422, false, ""},
		"https://github.com/\u202egpj.exe/x":          {422, false, "control characters"},
	} {
		asked := h.asked.Load()
		r := b.get("/deploy?template=" + url.QueryEscape(template))
		if r.status != c.status || !strings.Contains(html.UnescapeString(r.text), c.says) || !strings.Contains(r.text, `id="template"`) {
			t.Errorf("%.80q: %d, want %d with %q: %.3000s", template, r.status, c.status, c.says, r.text)
		}
		if got := h.asked.Load() > asked; got != c.asks || h.astray.Load() > 0 {
			t.Errorf("%.80q: the host was asked: %t; %s", template, got, h)
		}
	}
	b.get("/deploy?template=" + strings.Repeat("x", 70<<10)).want(422)
	if len(y.faults) > 0 {
		t.Errorf("faults: %v", y.faults)
	}
}

func TestPrivateTemplate(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	commit := string(h.publishGuestbook())
	h.secret.Store("c4nary")
	y := newYard(t, func(o *Options) {
		withTemplates(h)(o)
		o.Templates.Credentials = credentialsFor(h.addr, "c4nary")
	})
	y.browser().get(h.link("")).want(404).has("not there, or wants other credentials", "sign in")
	if r := y.signIn(y.token).get(h.link("")).want(200).has("Guestbook"); strings.Contains(r.text, "c4nary") {
		t.Error("the credential is on the page")
	}
	y.browser().get(h.link("")).want(404) // also now that it is in memory
	y.browser().get(h.link("%2Fcommit%2F" + commit)).want(404)
}

// TestOpenTheApp holds that the button leads to the app, wherever the template would have people go.
func TestOpenTheApp(t *testing.T) {
	for _, c := range [][4]string{
		{"https://app.test", "", "https://app.test", ""},
		{"https://app.test", "https://app.test/welcome", "https://app.test/welcome", ""},
		{"https://app.test", "https://evil.test/console/sign-in", "https://app.test", "https://evil.test/console/sign-in"},
		{"https://app.test", "http://app.test/", "https://app.test", "http://app.test/"},
		{"https://app.test", "https://app.test@evil.test/", "https://app.test", "https://app.test@evil.test/"},
		{"https://app.test", "https://app.test:8443/", "https://app.test", "https://app.test:8443/"},
	} {
		d := setupData{Setup: build.Setup{URL: c[0], SuccessURL: c[1]}}
		if d.place(); d.Open != c[2] || d.Onward != c[3] {
			t.Errorf("%q: opens %q and goes on to %q", c, d.Open, d.Onward)
		}
	}
}

// TestPrivateTemplateOfOne: what a user's own credentials open is open to that user alone, and the app that is made of it
// keeps them.
func TestPrivateTemplateOfOne(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t, func(o *Options) {
		o.Templates.Credentials = func(ctx context.Context, user build.ID, host string) (fetch.Credentials, bool, error) {
			c, owner, _, err := o.Store.GitCredentials(ctx, host, user, "")
			return fetch.Credentials{User: c.Username, Password: c.Password}, owner == user, err
		}
	})
	commit := string(h.publishGuestbook())
	h.secret.Store("c4nary")
	u := must(y.store.CreateUser(t.Context(), "eve", false))(t)
	_, token, err := y.store.CreateToken(t.Context(), build.Token{User: u.ID, Verbs: build.Verbs()})
	if err != nil {
		t.Fatal(err)
	}
	b, eve := y.signIn(y.token), y.signIn(token)
	b.get(h.link("")).want(404).has("slipway credentials set git")
	kept := build.JSON(store.GitCredentials{Username: "ada", Password: "c4nary"})
	must(y.store.ChangeSecrets(t.Context(), y.admin.ID, store.SecretGit, map[string]*string{h.addr: &kept}, nil))(t)
	if r := b.get(h.link("")).want(200).has("Guestbook"); strings.Contains(r.text, "c4nary") {
		t.Error("the credential is on the page")
	}
	for _, other := range []*browser{eve, y.browser()} {
		other.get(h.link("")).want(404)
		other.get(h.link("%2Fcommit%2F" + commit)).want(404)
	}
	form := url.Values{"commit": {commit}, "name": {"guests"}, "env[OWNER]": {"ada@example.com"}, "without-addons": {"1"}}
	b.post(h.link(""), h.link(""), form).want(303)
	j := y.wait()
	a := must(y.store.AppByName(t.Context(), string(j.App)))(t)
	all := must(y.store.Secrets(t.Context(), a.ID, store.SecretGit))(t)
	if all[h.addr] != kept {
		t.Errorf("the app has %v", all)
	}
	y.finish(j, good())
}

func TestButtonPage(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	b := y.browser()
	r := b.get("/button.svg").want(200).has("Deploy with Slipway")
	if r.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" || r.header.Get("Content-Type") != "image/svg+xml" || len(r.header["Set-Cookie"]) > 0 {
		t.Errorf("header %v", r.header)
	}
	b.get("/console/button").want(200).has("A deploy button for your README")
	b.get("/console/button?template="+url.QueryEscape(h.repository()+"/tree/main")).want(200).has("[![Deploy with Slipway]("+y.server.URL+"/button.svg)]("+y.server.URL+"/deploy?template=https%3A%2F%2F", "&lt;a href=")
	b.get("/console/button?template=https%3A%2F%2Fgit.example.com%2Fa%2Fb").want(200).has("does not take templates of that host")
	b.get("/console/button?template=nonsense").want(422).has("no URL of a git repository")
	if h.asked.Load() > 0 {
		t.Errorf("a button is made with requests: %s", h)
	}
}

// TestTemplateTextIsText: what a template says becomes text, whatever it is.
func TestTemplateTextIsText(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	b := y.signIn(y.token)
	all := strings.Join(payloads(), " ")
	env, link := map[string]any{}, h.link("")
	for i, p := range payloads() {
		env[fmt.Sprintf("A%d", i)], env[fmt.Sprintf("B%d", i)] = map[string]any{"description": p, "value": p}, p
		link += fmt.Sprintf("&env%%5BA%d%%5D=%s&env%%5BX%d%%5D=%s&env%%5B%s%%5D=1", i, url.QueryEscape(p), i, url.QueryEscape(p), url.QueryEscape(p))
	}
	text := build.JSON(map[string]any{
		"name": all[:250], "description": all, "website": "javascript:alert(1)", "repository": all, "logo": all, "success_url": "javascript:alert(1)", "keywords": payloads(), "stack": all, all: all, "env": env,
		"buildpacks": []any{map[string]string{"url": "heroku/nodejs"}}, "scripts": map[string]string{"postdeploy": all}, "addons": []any{map[string]any{"plan": "heroku-redis", "options": map[string]string{all: all}}},
	})
	h.commit("main", all, "app.json", text, "README.md", all)
	harmless(t, b.get(link).want(200).has("Deploy &lt;script&gt;", `id="var-A20"`, `id="var-X0"`, "&lt;/textarea&gt;&lt;script&gt;"))
	for _, p := range payloads() {
		harmless(t, b.get("/deploy?template="+url.QueryEscape(p)))
		harmless(t, b.get("/console/button?template="+url.QueryEscape(p)))
	}
	form := url.Values{"commit": {h.git("", "rev-parse", "main")}, "name": {"guests"}, "without-addons": {"1"}}
	at := b.post(link, link, form).want(303).header.Get("Location")
	j := y.wait()
	y.print(j, all+"\n")
	y.finish(j, failed(build.BlameApp, all, all))
	y.ended(at)
	harmless(t, b.get(at).want(200).has("&lt;script&gt;"))
	harmless(t, b.get("/console/setups").want(200).has("&lt;script&gt;"))
}

// harmless looks for what a payload would have become.
func harmless(t *testing.T, r reply) {
	t.Helper()
	body := r.text
	for _, ours := range []string{"<script src=\"/assets/", "<link rel=\"icon\"", "<link rel=\"stylesheet\" href=\"/assets/", "<img src=\"/button.svg\""} {
		body = strings.ReplaceAll(body, ours, "")
	}
	low := strings.ToLower(body)
	for _, bad := range []string{"<script>", "<img src", "<svg onload", "<iframe", "<style", "<base", "<meta http-equiv=refresh", "<link rel=stylesheet", "<form action=//evil", "\u202e", `href="javascript:`, "<!-->", "\x1b"} {
		if strings.Contains(low, bad) {
			t.Errorf("%.200s: there is %q", r.what, bad)
		}
	}
}
