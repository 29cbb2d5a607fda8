package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

func TestHeaders(t *testing.T) {
	y := newYard(t, nil)
	in := y.signIn(y.token)
	for _, path := range []string{"/", "/console/", "/console/sign-in", "/console/apps", "/console/nothing", "/console/apps/nothing", "/assets/nothing.css"} {
		r := in.get(path)
		if got := r.header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';") ||
			!strings.Contains(got, "form-action 'self'; frame-ancestors 'none'; base-uri 'none'") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store"} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if r.header.Get("Request-Id") == "" {
			t.Errorf("%s: no Request-Id", path)
		}
	}
}

func TestPagesNeedASession(t *testing.T) {
	y, _ := templateYard(t)
	b := y.browser()
	for _, r := range y.console.routes() {
		path := strings.NewReplacer("{$}", "", "{setup}", string(y.admin.ID), "{app}", "shop", "{build}", "1", "{id...}", "a/b").Replace(r.path)
		switch {
		case r.method == "GET" && r.need != anybody:
			if got := b.get(path).want(303).header.Get("Location"); !strings.HasPrefix(got, "/console/sign-in?next=%2Fconsole") {
				t.Errorf("%s: sent to %q", path, got)
			}
		case r.method == "POST": // without a session, and then without the field in the form
			b.do("POST", path, url.Values{}).want(403).has("nothing was done")
			y.signIn(y.token).do("POST", path, url.Values{"csrf": {"x"}}).want(403).has("nothing was done")
		}
	}
}

func TestSignIn(t *testing.T) {
	y := newYard(t, nil)
	b := y.browser()
	page := b.get("/console/sign-in?next=/console/apps%3Fa=1").want(200).has("<label for=\"token\">")
	r := b.do("POST", "/console/sign-in", url.Values{"csrf": {page.field()}, "token": {" " + y.token + "\n"}, "next": {"/console/apps?a=1"}}).want(303)
	if got := r.header.Get("Location"); got != "/console/apps?a=1" {
		t.Errorf("sent to %q", got)
	}
	k := cookieOf(t, r, "slipway-session")
	if !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.MaxAge < 6*24*3600 || k.Secure {
		t.Errorf("cookie %+v", k)
	}
	b.get("/console/apps").want(200).has("ada@example.com")
	b.post("/console/apps", "/console/sign-out", nil).want(303)
	b.get("/console/apps").want(303)
	again := y.browser() // the cookie of before is of no use
	again.get("/console/apps", "Cookie: slipway-session="+k.Value).want(303)
}

func cookieOf(t *testing.T, r reply, name string) *http.Cookie {
	t.Helper()
	for _, k := range (&http.Response{Header: r.header}).Cookies() {
		if k.Name == name {
			return k
		}
	}
	t.Fatalf("%s: no cookie %s in %v", r.what, name, r.header["Set-Cookie"])
	return nil
}

func TestSignInSendsNowhereElse(t *testing.T) {
	y := newYard(t, nil)
	for _, next := range []string{"https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/\t/evil.test", "evil"} {
		b := y.browser()
		r := b.post("/console/sign-in", "/console/sign-in", url.Values{"token": {y.token}, "next": {next}}).want(303)
		if got := r.header.Get("Location"); got != "/console/apps" {
			t.Errorf("%q: sent to %q", next, got)
		}
	}
}

func TestWrongTokensAreFew(t *testing.T) {
	y := newYard(t, nil)
	b := y.browser()
	field := b.get("/console/sign-in").field()
	try := func(token string) reply {
		return b.do("POST", "/console/sign-in", url.Values{"csrf": {field}, "token": {token}})
	}
	for range 5 {
		try("slw_guess").want(401).has("That is no token")
	}
	if r := try(y.token).want(429); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestSessionEndsWithItsToken(t *testing.T) {
	y := newYard(t, nil)
	token, text, err := y.store.CreateToken(t.Context(), build.Token{User: y.admin.ID, Verbs: build.Verbs(), ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	b := y.browser()
	k := cookieOf(t, b.post("/console/sign-in", "/console/sign-in", url.Values{"token": {text}}).want(303), "slipway-session")
	if k.MaxAge > 3600 {
		t.Errorf("the session outlives its token: %d s", k.MaxAge)
	}
	b.get("/console/apps").want(200)
	if err := y.store.RevokeToken(t.Context(), y.admin.ID, token.ID); err != nil {
		t.Fatal(err)
	}
	b.get("/console/apps").want(303)
}

func TestSecureCookies(t *testing.T) {
	y := newYard(t, func(o *Options) { o.BaseURL = "https://build.example.com" })
	r := y.browser().get("/console/sign-in").want(200)
	if k := cookieOf(t, r, "__Host-slipway-visitor"); !k.Secure || !k.HttpOnly {
		t.Errorf("cookie %+v", k)
	}
	if r.header.Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security")
	}
}

func TestFormsOfOthers(t *testing.T) {
	y := newYard(t, nil)
	mine, other := y.signIn(y.token), y.signIn(y.token)
	form := url.Values{"csrf": {other.get("/console/apps").field()}, "name": {"stolen"}}
	mine.do("POST", "/console/apps", form).want(403) // another session's field
	form.Set("csrf", mine.get("/console/apps").field())
	mine.do("POST", "/console/apps", form, "Origin: https://evil.test").want(403)
	mine.do("POST", "/console/apps", form, "Sec-Fetch-Site: cross-site").want(403)
	if _, err := y.store.AllApps(t.Context()); err != nil {
		t.Fatal(err)
	}
	mine.get("/console/apps").want(200).has("No app yet")
	mine.do("POST", "/console/apps", form, "Sec-Fetch-Site: same-origin", "Origin: "+y.server.URL).want(303)
	mine.get("/console/apps").want(200).has("stolen", "is there. Push to it")
	if r := mine.get("/console/apps"); strings.Contains(r.text, "is there. Push to it") {
		t.Error("a message is told twice")
	}
}

func TestProblems(t *testing.T) {
	y := newYard(t, nil)
	b := y.signIn(y.token)
	b.get("/console/nothing").want(404).has("Not found", "Request <code>")
	if r := b.do("PUT", "/console/apps", nil).want(405); !strings.Contains(r.header.Get("Allow"), "POST") {
		t.Errorf("Allow: %q", r.header.Get("Allow"))
	}
	r := b.get("/console/nothing", "Request-Id: abc-1").want(404)
	if r.header.Get("Request-Id") != "abc-1" {
		t.Error("a client's Request-Id is not kept")
	}
	y.signIn(y.tokenOf(build.VerbDeploy)).get("/console/apps").want(403).has("lacks the scope read")
	b.get("/console/apps").has(`href="/console/admin"`)
	reader := y.signIn(y.tokenOf(build.VerbRead))
	reader.get("/console/admin").want(403)
	if r := reader.get("/console/apps").want(200); strings.Contains(r.text, "/console/admin") {
		t.Error("there is a link to a page that the token does not have")
	}
	if len(y.faults) > 0 {
		t.Errorf("faults: %v", y.faults)
	}
}

// TestOurFault holds that the visitor is told no more than a number, and the operator all.
func TestOurFault(t *testing.T) {
	y := newYard(t, func(o *Options) {
		o.Disk = func() (Disk, error) { return Disk{}, errors.New("the disk is made of cheese") }
	})
	r := y.signIn(y.token).get("/console/admin", "Request-Id: number-1").want(500).has("Something went wrong on our side", "<code>number-1</code>")
	if strings.Contains(r.text, "cheese") {
		t.Error("the visitor is told what is inside")
	}
	if len(y.faults) != 1 || !strings.Contains(y.faults[0].Error(), "cheese") || !strings.Contains(y.faults[0].Error(), "number-1") {
		t.Errorf("the operator is told %v", y.faults)
	}
}
