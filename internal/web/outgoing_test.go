package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/work"
)

// newWebhook makes a webhook of an app of alice's that is told of everything.
func (h *house) newWebhook(app, url, level string) reply {
	h.t.Helper()
	return h.do("POST", "/apps/"+app+"/webhooks", h.alice, fmt.Sprintf(`{"url":%q,"level":%q,"include":["api:release","api:build","api:build"]}`, url, level)).want(201)
}

// TestWebhooks makes, shows, changes and deletes a webhook. Its secret is told once, in the body and in Heroku's header.
func TestWebhooks(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	made := h.newWebhook("shop", "https://listener.test/x?key=1", "sync").is("level", "sync", "include", "[api:build api:release]", "signed", true, "disabled", nil, "app.name", "shop")
	secret := made.str("secret")
	if !strings.HasPrefix(secret, "whsec_") || made.header.Get("Heroku-Webhook-Secret") != secret {
		t.Errorf("secret %q, header %q", secret, made.header.Get("Heroku-Webhook-Secret"))
	}
	path := "/apps/shop/webhooks/" + made.str("id")
	for _, r := range []reply{h.do("GET", path, h.alice, "").want(200), h.do("GET", "/apps/shop/webhooks", h.alice, "").want(200), h.do("PATCH", path, h.alice, `{"authorization":"Bearer hidden"}`).want(200)} {
		if strings.Contains(r.text, secret) || strings.Contains(r.text, "hidden") || !strings.Contains(r.text, "https://listener.test/x?key=1") {
			t.Errorf("%s: %s", r.what, r.text)
		}
	}
	own := h.do("POST", "/apps/shop/webhooks", h.alice, `{"url":"https://listener.test/y","level":"notify","include":["api:release"],"secret":"mine-it-is","authorization":"Basic x"}`).want(201).is("secret", "mine-it-is")
	id := build.ID(own.str("id"))
	stored := func() build.Webhook {
		t.Helper()
		return must(h.Store.Webhook(t.Context(), build.ID(h.do("GET", "/apps/shop", h.alice, "").str("id")), string(id)))(t)
	}
	h.do("PATCH", "/apps/shop/webhooks/"+string(id), h.alice, `{"url":"https://listener.test/z","level":"sync"}`).want(200).is("url", "https://listener.test/z", "level", "sync")
	if w := stored(); w.Secret != "mine-it-is" || w.Authorization != "Basic x" {
		t.Errorf("the webhook: %+v", w)
	}
	h.do("PATCH", "/apps/shop/webhooks/"+string(id), h.alice, `{"url":"https://elsewhere.test/"}`).want(200)
	if w := stored(); w.Authorization != "" {
		t.Errorf("the authorization for listener.test would be sent to elsewhere.test")
	}
	if n := len(h.all("/apps/shop/webhooks", h.alice, "")); n != 2 {
		t.Errorf("%d webhooks", n)
	}
	h.do("DELETE", path, h.alice, "").want(200).is("url", "https://listener.test/x?key=1")
	h.do("GET", path, h.alice, "").refused(404, "not_found", "not found")
	for range build.MaxWebhooks - 1 {
		h.newWebhook("shop", "https://listener.test/", "notify")
	}
	h.do("POST", "/apps/shop/webhooks", h.alice, `{"url":"https://a.test","level":"sync","include":["api:build"]}`).refused(409, "conflict", "20 webhooks")
}

// with is the JSON of an object with other fields, or other values of its own: ",key:value".
func with(t *testing.T, object, more string) string {
	t.Helper()
	m := map[string]any{}
	for _, text := range []string{object, "{" + strings.TrimPrefix(more, ",") + "}"} {
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWebhookRequests: what cannot be a webhook, or a forge, is not made, and what is secret in it is not told.
func TestWebhookRequests(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	webhook := func(more string) string {
		return with(t, `{"url":"https://a.test/","level":"sync","include":["api:build"]}`, more)
	}
	for body, part := range map[string]string{
		`{}`: "needs url", `{"url":"https://a.test","level":"sync"}`: "include", webhook(`,"level":"often"`): "level", webhook(`,"include":[]`): "include", webhook(`,"include":["api:dyno"]`): "include[0]",
		webhook(`,"url":"http://a.test/hidden"`): "fetch.http", webhook(`,"url":"file:///etc/hidden"`): "url", webhook(`,"url":"https://u:hidden@a.test/"`): "url", webhook(`,"url":"https://a.test/#hidden"`): "url",
		webhook(`,"url":"https:///hidden"`): "url", webhook(`,"url":"https://a.test/hidden\n"`): "url", webhook(`,"secret":"hidden"`): "secret", webhook(`,"authorization":"hidden\r\nX: y"`): "authorization",
		webhook(`,"color":"x"`): "color",
	} {
		r := h.do("POST", "/apps/shop/webhooks", h.alice, body)
		if r.refused(422, "invalid_params", part); strings.Contains(r.text, "hidden") {
			t.Errorf("%s: %s", body, r.text)
		}
	}
	forge := func(more string) string {
		return with(t, `{"repository":"https://github.com/acme/shop.git","token":"hidden-token"}`, more)
	}
	for body, part := range map[string]string{
		`{"token":"hidden-token"}`: "no hook", forge(`,"repository":"https://git.test/acme/shop.git"`): "forge", forge(`,"forge":"sourceforge"`): "forge", forge(`,"token":"hidden"`): "token",
		forge(`,"token":"hidden-token\n"`): "token", forge(`,"repository":"https://x:hidden@github.com/acme/shop.git"`): "repository", forge(`,"repository":"https://github.com/shop.git"`): "OWNER/NAME",
		forge(`,"repository":"https://github.com/a/../shop.git"`): "OWNER/NAME", forge(`,"api_url":"http://github.com"`): "api_url", forge(`,"api_url":"https://x:hidden@github.com"`): "api_url",
		forge(`,"api_url":"https://github.com/?hidden"`): "api_url", forge(`,"context":"` + strings.Repeat("x", 41) + `"`): "context",
	} {
		r := h.do("PUT", "/apps/shop/forge", h.alice, body)
		if r.refused(422, "invalid_params", part); strings.Contains(r.text, "hidden") {
			t.Errorf("%s: %s", body, r.text)
		}
	}
	h.do("GET", "/apps/shop/forge", h.alice, "").refused(404, "not_found", "no forge")
	h.do("DELETE", "/apps/shop/forge", h.alice, "").refused(404, "not_found", "no forge")
}

// TestForge: where statuses go follows from the hooks' repository, as far as it can.
func TestForge(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	h.newHook("shop", `{"repository":"git@github.com:acme/shop.git"}`)
	h.do("PUT", "/apps/shop/forge", h.alice, `{"token":"hidden-token"}`).want(200).
		is("forge", "github", "repository", "git@github.com:acme/shop.git", "api_url", "https://api.github.com", "context", "slipway/shop")
	for _, c := range []struct{ body, forge, api string }{
		{`{"repository":"https://gitlab.com/a/b/c.git"`, "gitlab", "https://gitlab.com/api/v4"},
		{`{"repository":"ssh://git@git.test:2222/a/b","forge":"gitea"`, "gitea", "https://git.test/api/v1"},
		{`{"repository":"https://git.test:8443/a/b.git","forge":"github"`, "github", "https://git.test:8443/api/v3"},
		{`{"repository":"https://bitbucket.org/a/b.git"`, "bitbucket", "https://api.bitbucket.org/2.0"},
		{`{"repository":"https://git.test/scm/prj/b.git","forge":"bitbucket-server"`, "bitbucket-server", "https://git.test/rest/api/latest"},
		{`{"repository":"https://git.test/stash/scm/prj/b.git","forge":"bitbucket-server"`, "bitbucket-server", "https://git.test/stash/rest/api/latest"},
		{`{"repository":"https://codeberg.org/a/b","api_url":"https://api.test/v1/"`, "gitea", "https://api.test/v1"},
	} {
		r := h.do("PUT", "/apps/shop/forge", h.alice, c.body+`,"token":"hidden-token"}`).want(200).is("forge", c.forge, "api_url", c.api)
		if got := h.do("GET", "/apps/shop/forge", h.alice, "").want(200); got.text != r.text || strings.Contains(r.text, "hidden") {
			t.Errorf("%s and then %s", r.text, got.text)
		}
	}
	h.newHook("shop", `{"repository":"https://github.com/acme/other.git"}`)
	h.do("PUT", "/apps/shop/forge", h.alice, `{"token":"hidden-token"}`).refused(422, "invalid_params", "several")
	h.do("DELETE", "/apps/shop/forge", h.alice, "").want(200)
	h.do("GET", "/apps/shop/forge", h.alice, "").refused(404, "not_found", "no forge")
}

// TestEvents follows a build by webhook, and its release, through what is told of them: to a webhook, and to a forge.
func TestEvents(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	k := h.newHook("shop", shopHook)
	k.deliver("0", hubPush("refs/heads/main", shaC, none)).want(200)
	h.newWebhook("shop", "https://listener.test/", "sync")
	h.do("POST", "/apps/shop/webhooks", h.alice, `{"url":"https://a.test","level":"notify","include":["api:release"]}`).want(201)
	h.do("PUT", "/apps/shop/forge", h.alice, `{"forge":"gitea","token":"hidden-token"}`).want(200)
	h.newBuild("shop") // nothing of it is on a forge
	k.deliver("1", hubPush("refs/heads/main", none, shaA)).want(202)
	h.succeed(h.claim(), digest)
	for range build.MaxAttempts {
		o := work.Outcome{State: build.Failed, Failure: &build.Failure{Blame: build.BlamePlatform, Code: "disk", Reason: "the disk is full"}}
		if err := h.Service.Finish(t.Context(), h.claim().Claim, o); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range h.all("/apps/shop/webhook-events", h.alice, "") {
		p := e["payload"].(map[string]any)
		data := p["data"].(map[string]any)
		got = append(got, fmt.Sprint(e["include"], " ", p["action"], " ", data["status"], " ", data["current"]))
		if p["resource"] == "build" && data["log_url"] != fmt.Sprintf("%s/apps/shop/builds/%v/log?follow=true&plain=true", h.url, data["number"]) {
			t.Errorf("log %v", data["log_url"])
		}
		if one := h.do("GET", "/apps/shop/webhook-events/"+e["id"].(string), h.alice, "").want(200); one.at("payload.sequence") != p["sequence"] {
			t.Errorf("%s", one.text)
		}
	}
	want := []string{
		"api:build create pending <nil>", "api:build create pending <nil>", "api:build update pending <nil>", "api:release create succeeded false", "api:build update succeeded <nil>",
		"api:release update succeeded true", "api:build update pending <nil>", "api:build update pending <nil>",
		"api:build update pending <nil>", "api:build update pending <nil>", "api:build update pending <nil>", "api:build update failed <nil>",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := len(h.all("/apps/shop/webhook-deliveries", h.alice, "seq ..; order=desc,max=5")); n != 14 {
		t.Errorf("%d deliveries as the Platform API's client lists them", n)
	}
	for status, want := range map[string]bool{"pending": true, "succeeded": false} {
		if some := len(h.all("/apps/shop/webhook-deliveries?eq[status]="+status, h.alice, "")) > 0; some != want {
			t.Errorf("there are %s ones: %t", status, some)
		}
	}
	if n := len(h.all("/apps/shop/webhook-deliveries", h.alice, "number ..; max=5")); n != 14 {
		t.Errorf("%d deliveries, want 12 and 2", n)
	}
	all := h.all("/apps/shop/statuses", h.alice, "")
	var states []string
	for _, s := range all {
		states = append(states, fmt.Sprintf("%v %v: %v", s["result"], s["state"], s["description"]))
	}
	if text := strings.Join(states, "\n"); text != strings.Join([]string{
		"replaced pending: Build 2 waits", "replaced running: Build 2 runs", "replaced pending: Build 2 is tried again", "replaced running: Build 2 runs", "replaced pending: Build 2 is tried again",
		"replaced running: Build 2 runs", "waiting error: Build 2: the build service failed, not the app: the disk is full",
	}, "\n") {
		t.Errorf("statuses\n%s", text)
	}
	old := fmt.Sprint(all[0]["number"])
	h.do("GET", "/apps/shop/statuses/"+old, h.alice, "").want(200).is("commit", shaA, "build.number", 2, "num_attempts", 0, "code", nil)
	h.do("POST", "/apps/shop/statuses/"+old+"/actions/redeliver", h.alice, "").refused(409, "conflict", "a newer status of the commit was made")
	h.do("POST", "/apps/shop/statuses/"+fmt.Sprint(all[6]["number"])+"/actions/redeliver", h.alice, "").want(200).is("result", "waiting")
	h.do("GET", "/apps/shop/statuses/x", h.alice, "").refused(404, "not_found", "a number or an id")
	d := h.all("/apps/shop/webhook-deliveries", h.alice, "")[0]
	h.do("POST", "/apps/shop/webhook-deliveries/"+d["id"].(string)+"/actions/redeliver", h.alice, "").want(200).is("status", "pending", "last_attempt", nil, "num_attempts", 0)
	if _, err := time.Parse(time.RFC3339, d["next_attempt_at"].(string)); err != nil {
		t.Error(err)
	}
	h.do("GET", "/apps/shop/statuses/"+fmt.Sprint(d["number"]), h.alice, "").refused(404, "not_found", "not found")
}

// TestLogLink: a person who follows the link of a status is asked for a token by the browser, and nobody else is.
func TestLogLink(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	h.newBuild("shop")
	r := h.do("GET", "/apps/shop/builds/1/log?follow=true&plain=true", "", "", "Accept: text/html,*/*").want(401)
	if all := r.header.Values("WWW-Authenticate"); len(all) != 2 || !strings.HasPrefix(all[1], "Basic ") {
		t.Errorf("%q", all)
	}
	if all := h.do("GET", "/apps", "", "", "Accept: text/html").want(401).header.Values("WWW-Authenticate"); len(all) != 1 {
		t.Errorf("%q", all)
	}
}
