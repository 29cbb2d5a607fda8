package console

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// A chrome is a real browser, Debian's, as a person has one. Whatever it complains of fails the test: a violation of the
// policy, an error of a script, a dialog.
type chrome struct {
	*yard
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// patience is for what must happen, however busy the machine is.
const patience = 2 * time.Minute

func (y *yard) chrome() *chrome {
	y.t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(patience), chromedp.Flag("force-color-profile", "srgb"), chromedp.UserDataDir(y.t.TempDir()))
	ctx, done := chromedp.NewExecAllocator(context.WithoutCancel(y.t.Context()), options...)
	y.t.Cleanup(done)
	ctx, stop := context.WithTimeout(ctx, 2*patience)
	y.t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	y.t.Cleanup(end)
	c := &chrome{yard: y, ctx: ctx}
	err := chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *log.EventEntryAdded:
			if strings.Contains(e.Entry.Text, netChanged) {
				return
			}
			if strings.Contains(e.Entry.Text, "status of 4") && !strings.Contains(e.Entry.URL, "/assets/") {
				return // a page that says no
			}
			if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
				c.complain("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			c.complain("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
		case *runtime.EventConsoleAPICalled:
			c.complain("console: %s", e.Type)
		case *page.EventJavascriptDialogOpening:
			c.complain("dialog: %s", e.Message)
		}
	})
	if err != nil {
		y.t.Fatalf("start chromium, which make setup installs: %v", err)
	}
	y.t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, text := range c.complaints {
			y.t.Errorf("the browser complains: %s", text)
		}
	})
	return c
}

func (c *chrome) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
}

func (c *chrome) run(what string, actions ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	if err := chromedp.Do(c.ctx, actions...); err != nil {
		text, _ := chromedp.Run(c.ctx, chromedp.Evaluate[string](`document.body && document.body.innerText`))
		c.t.Fatalf("%s: %v; the page says: %.2000s", what, err, text)
	}
}

// netChanged is what Chromium says of every request under way when an interface of the machine comes or goes, as those of
// containers do all the time. The request is then made again.
const netChanged = "net::ERR_NETWORK_CHANGED"

func (c *chrome) visit(path string) {
	c.t.Helper()
	for try := 0; ; try++ {
		err := chromedp.Do(c.ctx, chromedp.Navigate(c.server.URL+path))
		if err == nil && js[bool](c, `[...document.querySelectorAll("link[rel=stylesheet]")].every((e) => e.sheet)`) {
			return
		}
		if try == 20 || err != nil && !strings.Contains(err.Error(), netChanged) {
			c.t.Fatalf("%s: %v", path, err)
		}
	}
}

// js is the value of an expression.
func js[T any](c *chrome, expression string) T {
	c.t.Helper()
	v, err := chromedp.Run(c.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		c.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// eventually waits until an expression is true.
func (c *chrome) eventually(expression string) {
	c.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		is, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if is {
			return
		}
		if time.Now().After(end) || c.ctx.Err() != nil {
			c.t.Fatalf("waited in vain: %s (%v); the page says: %.2000s", expression, err, js[string](c, `document.body.innerText`))
		}
	}
}

func (c *chrome) says(text string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// TestInABrowser is what somebody does on the first day.
func TestInABrowser(t *testing.T) {
	y := newYard(t, nil)
	c := y.chrome()
	c.visit("/console/apps")
	c.says("Sign in")
	c.run("sign in", chromedp.SendKeys(chromedp.CSS("#token"), y.token+"\n"))
	c.says("No app yet")
	c.says("git remote add slipway " + y.server.URL + "/my-app.git")
	c.run("make an app", chromedp.SendKeys(chromedp.CSS("#name"), "shop\n"))
	c.says("The app shop is there")
	c.says("git push slipway main")
	y.submit(must(y.store.AppByName(t.Context(), "shop"))(t), "Add a basket")
	c.run("to the build", chromedp.Navigate(y.server.URL+"/console/apps"), chromedp.Click(chromedp.CSS(`a[href="/console/apps/shop"]`)), chromedp.WaitVisible(chromedp.CSS(`#builds`)), chromedp.Click(chromedp.CSS(`a[href="/console/apps/shop/builds/1"]`)), chromedp.WaitVisible(chromedp.CSS("#log")))
	c.says("It is next")
	c.followed(y.claim())
	c.search()
}

// followed watches a build, and cancels it.
func (c *chrome) followed(j *work.Job) {
	c.t.Helper()
	c.eventually(`document.querySelector("#state .run")`) // without loading the page again
	for i := range 300 {
		c.print(j, fmt.Sprintf("[slipway/nodejs] \x1b[32madded\x1b[0m package %d\n", i+1))
	}
	c.print(j, "10 %")
	for _, p := range payloads() {
		c.print(j, "\r"+p+"\n")
	}
	last := 300 + len(payloads())
	c.eventually(fmt.Sprintf(`document.getElementById("L%d")`, last))
	if n := js[int](c, `document.querySelectorAll("#log > div").length`); n != last {
		c.t.Errorf("the page has %d lines, want %d", n, last)
	}
	if n := js[int](c, `document.querySelectorAll("#log script, #log img, #log iframe, #log svg, #log form, #log style").length`); n != 0 {
		c.t.Errorf("%d elements came out of the log", n)
	}
	if green, ink := js[string](c, `getComputedStyle(document.querySelector("#L300 .f2")).color`), js[string](c, `getComputedStyle(document.querySelector("#L300")).color`); green == ink {
		c.t.Errorf("green is %s, and so is the rest", green)
	}
	const end = `log.scrollHeight - log.scrollTop - log.clientHeight < 4`
	c.eventually(end)
	js[float64](c, `log.scrollTop = 100`)
	c.eventually(`document.getElementById("follow").getAttribute("aria-pressed") === "false"`)
	c.print(j, "\x1b[31mERROR: out of cheese\x1b[0m\n")
	c.eventually(fmt.Sprintf(`document.getElementById("L%d")`, last+1))
	if js[bool](c, end) {
		c.t.Error("the log moves under somebody who reads")
	}
	c.run("follow", chromedp.Click(chromedp.CSS("#follow")))
	c.eventually(end)
	// A tab behind others has no connection, and goes on where it was.
	const look = `Object.defineProperty(document, "hidden", {value: %t, configurable: true}), document.dispatchEvent(new Event("visibilitychange"))`
	js[bool](c, `(() => { const close = EventSource.prototype.close; EventSource.prototype.close = function () { window.left = true; close.call(this); }; return true; })()`)
	js[bool](c, fmt.Sprintf(look, true))
	if !js[bool](c, `window.left === true`) {
		c.t.Error("a page that nobody looks at holds its connection")
	}
	c.print(j, "said behind others\n")
	js[bool](c, fmt.Sprintf(look, false))
	last++
	c.eventually(fmt.Sprintf(`document.getElementById("L%d")`, last+1))
	if n := js[int](c, `document.querySelectorAll("#log > div").length`); n != last+1 {
		c.t.Errorf("after that the page has %d lines, want %d", n, last+1)
	}
	if got := js[string](c, `document.getElementById("first-error").getAttribute("href")`); got != fmt.Sprintf("#L%d", last) {
		c.t.Errorf("the first error is at %s", got)
	}
	c.run("search", chromedp.SendKeys(chromedp.CSS("#q"), "package 17"))
	c.eventually(`document.getElementById("hits").textContent === "11 lines"`)
	c.run("next", chromedp.SendKeys(chromedp.CSS("#q"), "\n"))
	c.eventually(`document.querySelector("#log .now").id === "L17"`)
	c.run("cancel", chromedp.Click(chromedp.CSS("button.stop")))
	c.says("Build 1 is being stopped.")
	if o := must(c.service.Heartbeat(c.t.Context(), j.Claim, work.Progress{Phase: "build", Buildpack: "slipway/nodejs@1.4.0"}))(c.t); !o.Cancel {
		c.t.Error("the worker was not told")
	}
	c.eventually(`document.querySelector(".steps .now.part")`)
	c.finish(j, work.Outcome{State: build.Cancelled, Failure: &build.Failure{Blame: build.BlameApp, Code: "cancelled", Reason: "ada@example.com asked for it"}})
	c.eventually(`document.querySelector("#state .off")`)
	c.says("The log has ended.")
	c.says("Retry")
}

// search finds a buildpack that a build had.
func (c *chrome) search() {
	c.t.Helper()
	c.submit(must(c.store.AppByName(c.t.Context(), "shop"))(c.t), "Add a till")
	c.finish(c.claim(), good())
	c.visit("/console/buildpacks")
	c.run("search", chromedp.SendKeys(chromedp.CSS("#q"), "node\n"))
	c.says("1 buildpack for")
	c.run("open", chromedp.Click(chromedp.CSS(`a[href="/console/buildpacks/slipway/nodejs"]`)))
	c.says("1.4.0")
}

// audit is run in a page and lists what keeps people out. Contrast is that of WCAG 2.2, 1.4.3.
const audit = `(() => {
  const wrong = [];
  const is = (ok, what) => { if (!ok) wrong.push(what); };
  is(document.documentElement.lang, "no language");
  is(document.title.trim(), "no title");
  is(document.querySelectorAll("h1").length === 1, "not one h1");
  is(document.querySelectorAll("main").length === 1, "not one main");
  is(document.querySelector("body > a.skip"), "no skip link");
  is(document.documentElement.scrollWidth <= innerWidth, "wider than the window: " + document.documentElement.scrollWidth + " of " + innerWidth);
  const ids = new Set();
  for (const e of document.querySelectorAll("[id]")) { is(!ids.has(e.id), "twice the id " + e.id); ids.add(e.id); }
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) is(e.labels.length, "no label for " + e.id);
  for (const e of document.querySelectorAll("a[href], button")) is(e.textContent.trim() || e.getAttribute("aria-label") || e.querySelector("img[alt]:not([alt=\"\"])"), "no name for " + e.outerHTML);
  for (const e of document.querySelectorAll("img")) is(e.hasAttribute("alt"), "no text for " + e.src);
  for (const e of document.querySelectorAll("svg")) is(e.getAttribute("aria-hidden") || e.getAttribute("aria-label"), "no text for a drawing");
  for (const e of document.querySelectorAll("th")) is(e.scope, "no scope of a heading");
  for (const e of document.querySelectorAll("pre, .scroll")) is(e.scrollWidth <= e.clientWidth || e.tabIndex === 0 || e.querySelector("a, button"), "no keyboard scrolls " + e.textContent.slice(0, 40));
  for (const e of document.querySelectorAll("[tabindex]")) is(e.tabIndex <= 0, "an order of its own");
  let level = 0;
  for (const e of document.querySelectorAll("h1, h2, h3")) { const n = +e.tagName[1]; is(n <= level + 1, "a heading too deep: " + e.textContent); level = n; }
  const channel = (v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  const parse = (s) => s.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  const seen = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.data.trim() || seen.has(e) || !e.checkVisibility() || e.closest("svg, noscript, script, [disabled]")) continue;
    seen.add(e);
    const style = getComputedStyle(e), a = light(parse(style.color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && +style.fontWeight >= 700;
    is(ratio >= (large ? 3 : 4.5), "contrast " + ratio.toFixed(2) + ": " + n.data.trim().slice(0, 40));
  }
  return wrong;
})()`

var axeScript = flag.String("axe", "", "axe.js of axe-core, which TestPagesForEverybody has look at every page too: make audit")

// axe has axe-core look at the page, and returns what it finds wrong, and how many of its rules hold.
func (c *chrome) axe() (wrong []string, hold int) {
	c.t.Helper()
	js[bool](c, string(must(os.ReadFile(*axeScript))(c.t))+`; axe.run(document).then((r) => { window.axeFound = r; }); true`)
	c.eventually(`window.axeFound`)
	return js[[]string](c, `axeFound.violations.flatMap((v) => v.nodes.map((n) => v.id + " at " + n.target.join(" ") + ": " + n.failureSummary))`), js[int](c, `axeFound.passes.length`)
}

// TestPagesForEverybody looks at every page in light, dark, and on a phone: what it finds wrong it tells, and with
// SLIPWAY_SCREENSHOTS it leaves pictures of them in that directory.
func TestPagesForEverybody(t *testing.T) {
	y, h := templateYard(t, withIndex(t))
	pages := append(y.exhibits(), y.templates(h)...)
	c := y.chrome()
	c.visit("/console/sign-in") // what is wrong is found
	js[bool](c, `(() => { for (const e of document.querySelectorAll("h1")) e.style.color = "rgb(200, 200, 200)"; document.querySelector("label").remove(); return true; })()`)
	if wrong := strings.Join(js[[]string](c, audit), "; "); !strings.Contains(wrong, "contrast") || !strings.Contains(wrong, "no label for token") {
		t.Errorf("the audit finds nothing in a bad page: %s", wrong)
	}
	dir := os.Getenv("SLIPWAY_SCREENSHOTS")
	looks := []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 390}}
	for _, look := range looks {
		scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}}
		c.run("look", chromedp.EmulateViewport(look.width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, scheme)
			return err
		}))
		c.run("sign out", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, network.ClearBrowserCookies, cdp.Empty{})
			return err
		}))
		for _, p := range pages {
			c.visit(p[1])
			if strings.HasPrefix(js[string](c, `location.pathname`), "/console/sign-in") && p[0] != "sign-in" {
				c.run("sign in", chromedp.SendKeys(chromedp.CSS("#token"), y.token+"\n"), chromedp.WaitVisible(chromedp.CSS(".who")))
				c.visit(p[1])
			}
			for _, wrong := range js[[]string](c, audit) {
				t.Errorf("%s, %s: %s", p[1], look.name, wrong)
			}
			if *axeScript != "" {
				wrong, hold := c.axe()
				for _, text := range wrong {
					t.Errorf("%s, %s: axe: %s", p[1], look.name, text)
				}
				t.Logf("axe: %-20s %-6s %2d rules hold, %d violations", p[0], look.name, hold, len(wrong))
			}
			if dir == "" {
				continue
			}
			picture, err := chromedp.Run(c.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, p[0]+"-"+look.name+".png"), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// exhibits are pages, by name, of a service that has done something.
func (y *yard) exhibits() [][2]string {
	y.t.Helper()
	shop := y.app("shop")
	for i, what := range []string{"Add a basket", "Let the basket be emptied", "Charge cards", "Fix the till", "Show prices with tax"} {
		y.submit(shop, what)
		j := y.claim()
		y.print(j, exhibitLog)
		switch i {
		case 2:
			y.print(j, "[slipway/nodejs] \x1b[31mnpm ERR! code ERESOLVE\x1b[0m\n[slipway/nodejs] npm ERR! could not resolve stripe@12\nERROR: the app failed: slipway/nodejs ended with exit code 1\n")
			y.finish(j, failed(build.BlameApp, "slipway/nodejs@1.4.0", "slipway/nodejs ended with exit code 1"))
		default:
			y.finish(j, good())
		}
	}
	y.furnish(shop)
	y.spread()
	y.app("blog")
	docs := y.app("docs")
	y.submit(docs, "Write the first page")
	y.finish(y.claim(), notDetected())
	y.submit(docs, "Add an index")
	j := y.claim()
	y.print(j, exhibitLog)
	must(y.service.Heartbeat(y.t.Context(), j.Claim, work.Progress{Phase: "build", Buildpack: "slipway/nodejs@1.4.0"}))(y.t)
	y.submit(docs, "Add a search")
	return [][2]string{
		{"sign-in", "/console/sign-in"}, {"apps", "/console/apps"}, {"app", "/console/apps/shop"}, {"app-empty", "/console/apps/blog"}, {"build", "/console/apps/shop/builds/5"},
		{"build-failed", "/console/apps/shop/builds/3"}, {"build-running", "/console/apps/docs/builds/2"}, {"build-queued", "/console/apps/docs/builds/3"}, {"build-undetected", "/console/apps/docs/builds/1"},
		{"buildpacks", "/console/buildpacks"}, {"buildpack", "/console/buildpacks/slipway/nodejs"}, {"buildpack-yanked", "/console/buildpacks/acme/static"}, {"ecosystem", "/console/ecosystem"}, {"admin", "/console/admin"},
	}
}

// furnish gives an app what most have.
func (y *yard) furnish(a build.App) {
	y.t.Helper()
	ctx := y.t.Context()
	value := "not to be seen"
	vars := map[string]*string{"DATABASE_URL": &value, "NODE_ENV": &value, "STRIPE_KEY": &value}
	must(y.store.ChangeSecrets(ctx, a.ID, store.SecretVar, vars, nil))(y.t)
	h, _, err := y.store.CreateHook(ctx, build.Hook{App: a.ID, User: y.admin.ID, Repository: "https://git.example.com/acme/shop.git", Branches: []string{"main"}}, "a secret of a hook")
	if err != nil {
		y.t.Fatal(err)
	}
	must(y.store.Receive(ctx, h.ID, []store.Arrival{{Delivery: build.Delivery{Forge: "gitea", Event: "push", Key: "1", Ref: "refs/heads/try", Result: build.DeliveryIgnored, Reason: "the hook builds main only"}}}))(y.t)
	must(y.store.CreateWebhook(ctx, build.Webhook{App: a.ID, User: y.admin.ID, URL: "https://chat.example.com/hooks/secret", Include: build.Includes(), Level: build.LevelSync}))(y.t)
	if _, _, err := y.store.CreateToken(ctx, build.Token{User: y.admin.ID, App: a.ID, Description: "CI", Verbs: []build.Verb{build.VerbDeploy}}); err != nil {
		y.t.Fatal(err)
	}
	y.publish("acme/static", "1.0.0", "1.1.0", "2.0.0")
	y.publish("slipway/nodejs", "1.3.2", "1.4.0")
	name := must(index.ParseName("acme/static"))(y.t)
	must(y.console.Registrar.Yank(ctx, build.Actor{User: y.admin, Token: build.Token{Verbs: build.Verbs()}}, name, "1.1.0", true, "tests"))(y.t)
}

// spread sets the builds that there are over the last weeks, some of them many times, as the record would have them.
func (y *yard) spread() {
	y.t.Helper()
	db := must(sql.Open("sqlite", filepath.Join(y.dir, "slipway.db")+"?_pragma=busy_timeout(10000)"))(y.t)
	defer db.Close()
	const copies = `INSERT INTO builds (id, app_id, number, user_id, trigger, trigger_kind, ref, session, source, state, attempt, failure, result, created_at, started_at, ended_at)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90)
		SELECT id || '-' || i, app_id, -number * 1000 - i, user_id, trigger, trigger_kind, ref, session, source, state, attempt, failure, result, at, at, at + 9000000 + (i * 7919 % 13000) * 1000
		FROM (SELECT b.*, n.i AS i, b.created_at - (1 + i * i % 29) * 86400000000 AS at FROM builds b, n WHERE ended_at > 0 AND (state = 'succeeded' OR i % 5 = 0))`
	const aged = `UPDATE builds SET created_at = created_at - (6 - number) * 5000000000, started_at = started_at - (6 - number) * 5000000000, ended_at = ended_at - (6 - number) * 5000000000 + 17000000 + number * 900000 WHERE number > 0`
	for _, text := range []string{copies, aged} {
		must(db.ExecContext(y.t.Context(), text))(y.t)
	}
}

const exhibitLog = "-----> Preparing\nBuilder slipway/builder@sha256:4c1f0d0b2f3c\n-----> Detecting\n3 of 5 buildpacks are for this app\n-----> Building\n" +
	"[slipway/nodejs] \x1b[1mNode.js 24.11.1\x1b[0m\n[slipway/nodejs] \x1b[36mnpm ci\x1b[0m\n[slipway/nodejs] \x1b[2madded 148 packages in 6s\x1b[0m\n[slipway/nodejs] \x1b[33mwarning\x1b[0m 2 packages look for funding\n" +
	"[slipway/nodejs] \x1b[32m✓ built in 4.1 s\x1b[0m\n[slipway/procfile] web: node server.js\n"
