package console

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/work"
)

// TestDeployInABrowser is somebody who follows a deploy button: to an image, and to a build that fails.
func TestDeployInABrowser(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	commit := h.publishGuestbook()
	c := y.chrome()
	c.visit("/deploy")
	c.run("paste", chromedp.SendKeys(chromedp.CSS("#template"), "https://heroku.com/deploy?template="+h.repository()+"/tree/main&env[ACCENT]=teal\n"))
	c.says("Deploy Guestbook")
	c.says(string(commit[:12]))
	if got := js[string](c, `document.getElementById("linked").innerText`); !strings.Contains(got, "ACCENT") {
		t.Errorf("of the link it says %q", got)
	}
	c.run("fill in", c.retype("name", "guests"), chromedp.SendKeys(chromedp.CSS("#var-DATABASE_URL"), "postgres://db.example.com/guests"),
		chromedp.Click(chromedp.CSS("#deploy button.go")))
	if !js[bool](c, `document.querySelector("#var-OWNER").matches(":invalid") && document.activeElement.id === "var-OWNER"`) {
		t.Error("a form without a value that is needed is sent")
	}
	c.run("sign in on the way", chromedp.SendKeys(chromedp.CSS("#var-OWNER"), "Ada <ada@example.com>"), chromedp.Click(chromedp.CSS("#deploy button.go")), chromedp.WaitVisible(chromedp.CSS("#token")),
		chromedp.SendKeys(chromedp.CSS("#token"), y.token+"\n"), chromedp.WaitVisible(chromedp.CSS("#deploy")))
	c.says("You are signed in.")
	for id, want := range map[string]string{"name": "guests", "var-OWNER": "Ada <ada@example.com>", "var-ACCENT": "teal", "var-TITLE": "Our guests", "var-DATABASE_URL": "postgres://db.example.com/guests"} {
		if got := js[string](c, `document.getElementById("`+id+`").value`); got != want {
			t.Errorf("%s is %q now", id, got)
		}
	}
	y.app("taken")
	c.run("another name", c.retype("name", "taken"))
	c.says("That name is taken")
	c.run("the name", c.retype("name", "guests"))
	c.says("The name is free.")
	c.run("deploy", chromedp.Click(chromedp.CSS("#deploy button.go")), chromedp.WaitVisible(chromedp.CSS(".steps")))
	c.says("Making guests")
	c.deployed(y.wait())
	c.deployFails(h)
}

// retype empties an input, and writes something else.
func (c *chrome) retype(id, text string) chromedp.Action[chromedp.Void] {
	c.t.Helper()
	js[string](c, `document.getElementById("`+id+`").value = ""`)
	return chromedp.SendKeys(chromedp.CSS("#"+id), text)
}

// deployed watches a setup to its end, without loading the page again.
func (c *chrome) deployed(j *work.Job) {
	c.t.Helper()
	js[string](c, `window.mark = "the same page"`)
	c.eventually(`document.querySelector(".steps .now[data-step=build]")`)
	must(c.service.Heartbeat(c.t.Context(), j.Claim, work.Progress{Phase: "build", Buildpack: "slipway/nodejs@1.4.0"}))(c.t)
	c.print(j, "[slipway/nodejs] \x1b[32madded\x1b[0m 148 packages\n")
	for _, p := range payloads() {
		c.print(j, p+"\n")
	}
	c.eventually(`document.querySelector("#L1 .f2")`)
	c.eventually(`document.querySelectorAll("#log > div").length > 20`)
	c.says("build slipway/nodejs@1.4.0")
	c.finish(j, good())
	c.says("guests is there")
	c.eventually(`document.querySelectorAll(".steps .done").length === 5 && document.querySelectorAll(".steps .off").length === 2`)
	c.says("slipway run registry.test/shop@" + digest)
	c.says("The log has ended.")
	if js[string](c, `window.mark`) != "the same page" {
		c.t.Error("the page was loaded again")
	}
	c.run("to the app", chromedp.Click(chromedp.CSS(`a[href="/console/apps/guests"]`)), chromedp.WaitVisible(chromedp.CSS("#builds")))
}

// deployFails follows a button, whose build fails.
func (c *chrome) deployFails(h *host) {
	c.t.Helper()
	c.visit(h.link(""))
	c.run("fill in", c.retype("name", "doomed"), chromedp.SendKeys(chromedp.CSS("#var-OWNER"), "ada"),
		chromedp.Click(chromedp.CSS("#deploy button.go")))
	c.says("is not provided here")
	c.run("without", chromedp.Click(chromedp.CSS("#without-addons")), chromedp.Click(chromedp.CSS("#deploy button.go")), chromedp.WaitVisible(chromedp.CSS(".steps")))
	j := c.wait()
	c.print(j, "ERROR: out of cheese\n")
	c.eventually(`document.getElementById("L1")`)
	c.finish(j, failed(build.BlameApp, "slipway/nodejs@1.4.0", "npm install failed"))
	c.says("doomed was not made")
	c.says("npm install failed")
	c.says("its name is free again")
	c.eventually(`document.querySelector(".steps .bad[data-step=build]") && document.querySelectorAll(".steps .later").length === 3`)
	c.says("ERROR: out of cheese")
	c.run("try again", chromedp.Click(chromedp.CSS(`form[action$="/again"] button`)), chromedp.WaitVisible(chromedp.CSS("#deploy")))
	c.says("These are the values of before.")
	if got := js[string](c, `document.getElementById("name").value + " " + document.getElementById("var-OWNER").value`); got != "doomed ada" {
		c.t.Errorf("the form has %q", got)
	}
	c.visit("/console/setups")
	c.says("doomed")
	c.visit("/console/apps/doomed")
	c.says("Not found")
}

// templates are pages, by name, of templates and of what becomes of them.
func (y *yard) templates(h *host) [][2]string {
	y.t.Helper()
	commit := string(h.publishGuestbook())
	h.commit("broken", "x", "app.json", "{\n  \"env\": 7,\n  \"addons\": [\"A B\"]\n}")
	b := y.signIn(y.token)
	pages := [][2]string{
		{"deploy-ask", "/deploy"}, {"deploy-broken", h.link("%2Ftree%2Fbroken")}, {"deploy", h.link("&env%5BTITLE%5D=Welcome&env%5BTRACKING_ID%5D=UA-1")}, {"button", "/console/button?template=" + h.repository()},
	}
	for _, name := range []string{"guests", "doomed", "visitors"} {
		form := url.Values{"commit": {commit}, "name": {name}, "env[OWNER]": {"ada@example.com"}, "env[TITLE]": {"Our guests"}, "without-addons": {"1"}}
		at := b.post(h.link(""), h.link(""), form).want(303).header.Get("Location")
		pages = append(pages, [2]string{"setup-" + name, at})
		var j *work.Job
		for j == nil || string(j.Source.Commit) != commit {
			j = y.wait() // others wait in this record too
		}
		y.print(j, exhibitLog)
		switch name {
		case "guests":
			y.finish(j, good())
			y.ended(at)
		case "doomed":
			y.print(j, "[slipway/nodejs] \x1b[31mnpm ERR! code ERESOLVE\x1b[0m\nERROR: the app failed: slipway/nodejs ended with exit code 1\n")
			y.finish(j, failed(build.BlameApp, "slipway/nodejs@1.4.0", "slipway/nodejs ended with exit code 1"))
			y.ended(at)
		default:
			must(y.service.Heartbeat(y.t.Context(), j.Claim, work.Progress{Phase: "build", Buildpack: "slipway/nodejs@1.4.0"}))(y.t)
		}
	}
	return append(pages, [2]string{"setups", "/console/setups"})
}
