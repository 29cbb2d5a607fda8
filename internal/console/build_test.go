package console

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

func TestBuildPage(t *testing.T) {
	y := newYard(t, nil)
	a := y.app("shop")
	y.submit(a, "first light")
	b := y.signIn(y.token)
	b.get("/console/apps/shop/builds/1").want(200).has("queued", "It is next", "first light", "ada@example.com pushed to main.", "Cancel build")
	j := y.claim()
	y.print(j, "plain\n\x1b[1;31mred\x1b[0m and \x1b[38;5;40mgreen\x1b[m\nERROR: no\n10%\r100%\nhalf")
	b.get("/console/apps/shop/builds/1").want(200).has(
		`<a href="#L1">1</a>plain</div>`, `<span class="f1 b">red</span> and <span class="f2">green</span></div>`, `<div id="L3" class="wrong">`,
		`<a href="#L4">4</a>100%</div>`, `<a href="#L5">5</a>half</div>`, `id="first-error" href="#L3">`, `data-at="`, "running")
	y.print(j, " done\n")
	y.finish(j, good())
	page := b.get("/console/apps/shop/builds/1").want(200).has("succeeded", "half done", "14.2 s", "slipway/nodejs@1.4.0", "5, of which 4 reused", "node server.js", digest, "Retry", "v1", "NODE_ENV")
	if strings.Contains(page.text, "data-stream") {
		t.Error("the log of a build that has ended is followed")
	}
	if r := b.get("/console/apps/shop/builds/1?part=summary").want(200).has(`id="summary"`, `id="state"`, "14.2 s"); strings.Contains(r.text, "half done") {
		t.Error("a page that is followed is sent its log again")
	}
	b.get("/console/apps/shop/builds/1?q=GREEN").want(200).has("1 line", `href="#L2">the first`, `class="hit"`)
	text := b.get("/console/apps/shop/builds/1/log.txt").want(200)
	if want := "plain\nred and green\nERROR: no\n10%\n100%\nhalf done\n"; text.text != want || !strings.Contains(text.header.Get("Content-Disposition"), "shop-1.log") {
		t.Errorf("log %q, %v", text.text, text.header)
	}
	for _, path := range []string{"/2", "/0", "/x", "/01", "/1?at=x", "/1?at=1.2", "/1?at=-1.0.0"} {
		b.get("/console/apps/shop/builds" + path).want(404)
	}
	b.get("/console/apps/shop").want(200).has("#1", "succeeded", "v1", digest, "node worker.js", "badge/shop.svg?key=")
}

func TestCancelAndRetry(t *testing.T) {
	y := newYard(t, nil)
	y.submit(y.app("shop"), "one")
	b := y.signIn(y.token)
	const page = "/console/apps/shop/builds/1"
	b.post(page, page+"/retry", nil).want(303)
	b.get(page).want(200).has("has not ended")
	b.post(page, page+"/cancel", nil).want(303)
	b.get(page).want(200).has("Build 1 is cancelled.", "Cancelled: ada@example.com asked for it.")
	r := b.post(page, page+"/retry", url.Values{"no-cache": {"1"}}).want(303)
	if got := r.header.Get("Location"); got != "/console/apps/shop/builds/2" {
		t.Errorf("sent to %s", got)
	}
	b.get("/console/apps/shop/builds/2").want(200).has("a source that was built before", "left out, as was asked for")
	_, text, err := y.store.CreateToken(t.Context(), build.Token{User: y.admin.ID, Verbs: []build.Verb{build.VerbRead}})
	if err != nil {
		t.Fatal(err)
	}
	reader := y.signIn(text)
	if r := reader.get("/console/apps/shop/builds/2").want(200); strings.Contains(r.text, "Cancel build") {
		t.Error("who may not cancel is offered it")
	}
	reader.post("/console/apps/shop/builds/2", "/console/apps/shop/builds/2/cancel", nil).want(403).has("lacks the scope deploy")
}

func TestStream(t *testing.T) {
	y := newYard(t, nil)
	y.submit(y.app("shop"), "one")
	j := y.claim()
	y.print(j, "one\n\x1b[32mtwo\npart")
	b := y.signIn(y.token)
	page := b.get("/console/apps/shop/builds/1").want(200).has("part")
	_, at, _ := strings.Cut(page.text, `data-at="`)
	at, _, _ = strings.Cut(at, `"`)
	y.print(j, "ly\n\x1b[0mERROR: <b>\n")
	y.finish(j, failed(build.BlameApp, "slipway/nodejs@1.4.0", "npm install failed"))
	r := b.get("/console/apps/shop/builds/1/stream?at=" + at).want(200)
	if r.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("it is %s", r.header.Get("Content-Type"))
	}
	r.has(`[3,false,[["f2","partly"]]]`, `[4,true,[["","ERROR: \u003cb\u003e"]]]`, "event: end\n")
	if strings.Contains(r.text, "two") {
		t.Error("a line that the page has comes again")
	}
	b.get("/console/apps/shop/builds/1/stream?at=999999.1.0").want(204)
	b.get("/console/apps/shop/builds/1/stream?at=nonsense").want(400)
	b.get("/console/apps/shop/builds/1").want(200).has("The app failed", "npm install failed", "stopped after", "not reached")
}

// TestStreamStays holds that whoever follows a build that is silent is not cut off, and hears that it has gone on since the
// page was made.
func TestStreamStays(t *testing.T) {
	y := newYard(t, nil)
	y.console.stall = 100 * time.Millisecond
	y.submit(y.app("shop"), "one")
	j := y.claim()
	b := y.signIn(y.token)
	silent := time.AfterFunc(5*y.console.stall, func() {
		y.print(j, "after a while\n")
		y.finish(j, good())
	})
	defer silent.Stop()
	b.get("/console/apps/shop/builds/1/stream?seen=queued").want(200).has("after a while", "event: change\n", "event: end\n")
}

func TestLongLog(t *testing.T) {
	y := newYard(t, nil)
	y.submit(y.app("shop"), "one")
	j := y.claim()
	var all strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&all, "line %d of many\n", i+1)
		if all.Len() > 100_000 || i == 59_999 {
			y.print(j, all.String())
			all.Reset()
		}
	}
	y.finish(j, good())
	b := y.signIn(y.token)
	r := b.get("/console/apps/shop/builds/1").want(200).has(`<a href="#L1">1</a>line 1 of many`, `<a href="#L60000">60000</a>line 60000 of many`, "left out")
	if len(r.text) > 3<<20 {
		t.Errorf("the page has %d bytes", len(r.text))
	}
	_, next, _ := strings.Cut(r.text, "?at=")
	next, _, _ = strings.Cut(next, `"`)
	middle := b.get("/console/apps/shop/builds/1?at=" + next).want(200)
	_, number, _ := strings.Cut(middle.text, `class="log"`)
	_, number, _ = strings.Cut(number, `<a href="#L`)
	number, _, _ = strings.Cut(number, `"`)
	middle.has(fmt.Sprintf(`<a href="#L%s">%s</a>line %s of many`, number, number, number))
	if number == "1" {
		t.Error("it begins again")
	}
}

func TestAnotherUserSeesNothing(t *testing.T) {
	y := newYard(t, nil)
	y.submit(y.app("shop"), "secret plans")
	u, err := y.store.CreateUser(t.Context(), "eve", false)
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := y.store.CreateToken(t.Context(), build.Token{User: u.ID, Verbs: build.Verbs()})
	if err != nil {
		t.Fatal(err)
	}
	eve := y.signIn(text)
	for _, r := range y.console.routes() {
		if r.method != "GET" || !strings.Contains(r.path, "{app}") {
			continue
		}
		eve.get(strings.NewReplacer("{app}", "shop", "{build}", "1").Replace(r.path)).want(404)
	}
	if r := eve.get("/console/apps").want(200); strings.Contains(r.text, "shop") {
		t.Error("another's app is listed")
	}
	eve.post("/console/apps", "/console/apps/shop/builds/1/cancel", nil).want(404)
	eve.get("/badge/shop.svg").want(404).has("unknown")
}

func TestBadge(t *testing.T) {
	y := newYard(t, nil)
	a := y.app("shop")
	key := "?key=" + y.console.badgeKey(a)
	out := y.browser()
	out.get("/badge/shop.svg" + key).want(200).has("none yet")
	hidden := out.get("/badge/shop.svg").want(404)
	if none := out.get("/badge/no-such.svg" + key).want(404); none.text != hidden.text {
		t.Error("it can be told whether an app exists")
	}
	y.submit(a, "one")
	out.get("/badge/shop.svg" + key).want(200).has("queued")
	j := y.claim()
	y.finish(j, good())
	r := out.get("/badge/shop.svg" + key).want(200).has("build: passing")
	if r.header.Get("Content-Type") != "image/svg+xml" || r.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
		t.Errorf("header %v", r.header)
	}
	if len(r.header["Set-Cookie"]) > 0 {
		t.Error("a badge sets a cookie")
	}
}

// payloads are what must be text wherever it comes to stand.
func payloads() []string {
	return []string{
		`<script>alert(1)</script>`, `"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`, `<svg onload=alert(1)>`, `</div><script>alert(1)</script>`,
		`javascript:alert(1)`, `<a href="javascript:alert(1)">x</a>`, `<iframe srcdoc="<script>alert(1)</script>">`, `<img src="x" onerror="alert(1)">`, `</textarea><script>alert(1)</script>`,
		`</title><script>alert(1)</script>`, `<!--><script>alert(1)</script>-->`, `<style>@import "//evil"</style>`, `<meta http-equiv=refresh content="0;url=//evil">`, `<base href=//evil>`,
		`{{.CSRF}}`, `{{template "layout"}}`, "\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07", `<form action=//evil><button>x</button></form>`, `<link rel=stylesheet href=//evil>`, "\u202ecod.exe",
	}
}

func TestTextFromOutsideIsText(t *testing.T) {
	y := newYard(t, nil)
	a := y.app("shop")
	for i, p := range payloads() {
		one := y.submit(a, p)
		j := y.claim()
		y.print(j, p+"\n"+"\x1b[31m"+p+"\x1b[0m\n")
		o := failed(build.BlameApp, p, p)
		o.Failure.Reasons, o.Failure.Next, o.Failure.Phase = []string{p}, p, "build"
		if i%2 == 0 {
			o = good()
			o.Result.Processes = append(o.Result.Processes, build.Process{Type: p, Command: p})
			o.Result.Buildpacks = append(o.Result.Buildpacks, build.Buildpack{ID: p, Version: p, Homepage: p})
			o.Result.Phases = append(o.Result.Phases, build.PhaseTiming{Phase: "build", Buildpack: p, Elapsed: time.Second})
		}
		y.finish(j, o)
		b := y.signIn(y.token)
		for _, path := range y.readable(one.Number) {
			r := b.get(path).want(200)
			body := r.text
			for _, ours := range []string{"<script src=\"/assets/", "<link rel=\"icon\"", "<link rel=\"stylesheet\" href=\"/assets/"} {
				body = strings.ReplaceAll(body, ours, "")
			}
			low := strings.ToLower(body)
			for _, bad := range []string{"<script>", "<img src=x", "<svg onload", "<iframe", "<style", "<base", "<meta http-equiv=refresh", "<link rel=stylesheet", "<form action=//evil", "\u202e", `href="javascript:`, "<!-->", "\x1b"} {
				if strings.Contains(low, bad) {
					t.Errorf("%s: payload %q: there is %q", path, p, bad)
				}
			}
		}
	}
}

// readable are the pages that show what builds say.
func (y *yard) readable(number int64) []string {
	return []string{"/console/apps", "/console/apps/shop", fmt.Sprintf("/console/apps/shop/builds/%d", number), "/console/apps/shop/builds/" + fmt.Sprint(number) + "?q=%3Cscript%3E",
		"/console/ecosystem", "/console/buildpacks", "/console/buildpacks/slipway/nodejs", "/console/admin"}
}

// TestPagesBuildNothing holds that whoever only looks changes nothing.
func TestPagesBuildNothing(t *testing.T) {
	y, h := templateYard(t)
	y.submit(y.app("shop"), "one")
	y.finish(y.claim(), good())
	h.publishGuestbook()
	before := must(y.store.Counts(t.Context()))(t)
	b := y.signIn(y.token)
	b.get(h.link("")).want(200)
	for _, r := range y.console.routes() {
		if r.method == "GET" {
			b.get(strings.NewReplacer("{$}", "", "{app}", "shop", "{build}", "1", "{file}", "shop.svg", "{id...}", "slipway/nodejs").Replace(r.path))
		}
	}
	if apps, setups := y.rows(); apps != 1 || setups != 0 || h.astray.Load() != 0 {
		t.Errorf("%d apps, %d setups; %s", apps, setups, h)
	}
	all := must(y.store.Builds(t.Context(), must(y.store.AppByName(t.Context(), "shop"))(t).ID, storePage))(t)
	if after := must(y.store.Counts(t.Context()))(t); after != before || len(all) != 1 {
		t.Errorf("%d builds, %+v before and %+v after", len(all), before, after)
	}
}
