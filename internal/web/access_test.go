package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// pathOf is where a route is asked for: its path with ids of alice's things.
func pathOf(path string, ids map[string]string) string {
	for name, id := range ids {
		path = strings.ReplaceAll(path, "{"+name+"}", id)
	}
	return path
}

// TestAccess is made of the table: each route is asked for without a token, with a bad one, with another user's, with
// one that is for another app, with one that has every scope but the right one, and with a foreign app's id. Nothing but
// 401, 403 and 404 comes of it, and nothing happens.
func TestAccess(t *testing.T) {
	h := newHouse(t)
	app := h.newApp("shop")
	h.newApp("other")
	webhook := h.newWebhook("shop", "https://listener.test/a-kept-path", "sync")
	h.do("PUT", "/apps/shop/forge", h.alice, `{"repository":"https://github.com/acme/shop.git","token":"a-kept-token"}`).want(200)
	b := h.newBuild("shop")
	h.succeed(h.claim(), digest)
	h.do("PATCH", "/apps/shop/config-vars", h.alice, `{"A":"kept"}`).want(200)
	h.do("PUT", "/apps/shop/bindings/db", h.alice, `{"type":"postgresql"}`).want(200)
	token := h.do("POST", "/account/tokens", h.alice, `{"scope":["read"]}`).want(201)
	hook := h.newHook("shop", `{"repository":"https://git.test/acme/shop.git","secret":"a-kept-secret-of-it"}`)
	hook.deliver("1", hubPush("refs/heads/other", shaA, shaB)).want(200)
	source := h.do("POST", "/sources", h.alice, "").want(201)
	_, upload, _ := strings.Cut(source.str("source_blob.get_url"), "/sources/")

	with := func(verbs []string, app string) string {
		body, _ := json.Marshal(map[string]any{"scope": verbs, "app": app})
		return h.do("POST", "/account/tokens", h.alice, string(body)).want(201).str("token")
	}
	elsewhere := with([]string{"read", "deploy", "config", "manage"}, "other")
	lacking := func(need need) string {
		verb := string(need)
		if need == manageAll || need == admin {
			verb = "manage"
		}
		if need == publish {
			verb = "deploy"
		}
		var verbs []string
		for _, v := range build.Verbs() {
			if string(v) != verb {
				verbs = append(verbs, string(v))
			}
		}
		return with(verbs, "")
	}
	before := h.snapshot()
	asked := 0
	for _, r := range (&server{Options: h.Options}).routes() {
		ids := map[string]string{"app": app.str("id"), "build": "1", "release": "1", "digest": digest, "host": "example.org", "name": "db", "id": token.str("id"), "hook": hook.id, "delivery": "1", "webhook": webhook.str("id"), "event": string(build.NewID())}
		switch r.need {
		case signedFollow:
			ids["id"] = b.str("id")
		case signedPut:
			ids["id"] = strings.TrimSuffix(upload, "/blob")
		}
		path := pathOf(r.path, ids)
		refused := func(who, path, token string, allowed ...int) {
			t.Helper()
			asked++
			body := ""
			if r.in != nil || r.takes != "" {
				body = "{}"
			}
			got := h.do(r.method, path, token, body)
			if !slices.Contains(allowed, got.status) {
				t.Errorf("%s %s for %s: %d %.300s", r.method, path, who, got.status, got.text)
			}
			if text := got.text; strings.Contains(text, "kept") {
				t.Errorf("%s %s for %s tells a secret: %s", r.method, path, who, text)
			}
		}
		switch r.need {
		case nobody, public:
			if got := h.do(r.method, path, "", ""); got.status != 200 && got.status != 404 && (r.need == nobody || got.status != 400) {
				t.Errorf("%s %s for nobody: %d %.300s", r.method, path, got.status, got.text)
			}
			continue
		case hooked:
			for _, token := range []string{"x", hook.id, hook.token + "x", hook.token[:len(hook.token)-1], strings.ToUpper(hook.token), app.str("id")} {
				ids["token"] = token
				refused("a hook that is not there", pathOf(r.path, ids), h.alice, 404)
			}
			h.do(r.method, "/hooks/"+hook.token, h.alice, hubPush("refs/heads/main", shaA, shaB), "Content-Type: application/json", "X-GitHub-Event: push").refused(401, "unsigned", "not signed")
			continue
		case signedPut, signedFollow:
			for _, sig := range []string{"", "?sig=", "?sig=x", "?sig=99999999999.", "?sig=99999999999.AAAA", "?sig=." + strings.Repeat("A", 43)} {
				refused("no signature", path+sig, h.alice, 403)
			}
			continue
		}
		refused("nobody", path, "", 401)
		refused("a bad token", path, "slw_x", 401)
		forged := h.alice[:len(h.alice)-8] + "aaaaaaaa"
		refused("a forged token", path, forged, 401)
		if r.need == bearer {
			continue
		}
		refused("a token without the scope", path, lacking(r.need), 403)
		switch {
		case r.inApp():
			refused("another user", path, h.bob, 404)
			refused("a token for another app", path, elsewhere, 404)
			ids["app"] = "shop"
			refused("another user, by name", pathOf(r.path, ids), h.bob, 404)
			ids["app"] = string(build.NewID())
			refused("an app that is not there", pathOf(r.path, ids), h.alice, 404)
		case r.need == manageAll, r.need == publish:
			refused("a token for one app", path, elsewhere, 403)
		case r.need == admin:
			refused("who is no administrator", path, h.alice, 403)
			refused("a token for one app", path, elsewhere, 403)
		}
	}
	if asked < 200 {
		t.Errorf("only %d requests: the table is not all", asked)
	}
	h.do("DELETE", "/account/tokens/"+token.str("id"), h.bob, "").refused(404, "not_found", "no such token")
	if after := h.snapshot(); after != before {
		t.Errorf("something happened:\n%s\nbefore:\n%s", after, before)
	}
}

// snapshot is what the refused must not change.
func (h *house) snapshot() string {
	h.t.Helper()
	var all strings.Builder
	for _, path := range []string{"/apps", "/apps/shop/builds", "/apps/shop/releases", "/apps/shop/config-vars", "/apps/shop/bindings", "/apps/shop/git-credentials", "/apps/shop/registry-credentials", "/apps/shop/hooks", "/apps/shop/webhooks", "/apps/shop/webhook-deliveries", "/apps/shop/webhook-events", "/apps/shop/forge", "/apps/shop/statuses"} {
		var v any
		h.do("GET", path, h.alice, "").want(200).into(&v)
		all.WriteString(withoutStreams(v) + "\n")
	}
	return all.String() + h.do("GET", "/users", h.root, "").want(200).text
}

func withoutStreams(v any) string {
	if list, ok := v.([]any); ok {
		for _, e := range list {
			if m, ok := e.(map[string]any); ok {
				delete(m, "output_stream_url") // is another every second
			}
		}
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// TestRouteNeedsVerb makes a table with a route that says nothing of its caller.
func TestRouteNeedsVerb(t *testing.T) {
	s := &server{}
	full := s.routes()[0]
	if err := full.check(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*route){func(r *route) { r.need = "" }, func(r *route) { r.need = "reed" }, func(r *route) { r.serve = nil }, func(r *route) { r.status = 0 }} {
		r := full
		change(&r)
		if _, err := s.mux([]route{r}); err == nil {
			t.Errorf("%+v was served", r)
		}
	}
}

// TestTokens makes tokens of less, and never of more.
func TestTokens(t *testing.T) {
	h := newHouse(t)
	id := h.newApp("shop").str("id")
	h.newApp("other")
	made := h.do("POST", "/account/tokens", h.alice, `{"description":"ci","scope":["read","deploy","read"],"app":"shop","expires_in":3600}`).want(201).
		is("scope", "[read deploy]", "app.name", "shop", "app.id", id, "description", "ci")
	ci := made.str("token")
	if !strings.HasPrefix(ci, "slw_") {
		t.Errorf("token %q", ci)
	}
	h.do("GET", "/account", ci, "").want(200).is("email", "alice", "admin", false, "token.id", made.str("id"), "token.app.name", "shop", "token.scope", "[read deploy]")
	basic := h.do("GET", "/account", "", "", "Authorization: "+basicAuth("whoever", ci)).want(200)
	basic.is("token.id", made.str("id"))
	var apps []map[string]any
	h.do("GET", "/apps", ci, "").want(200).into(&apps)
	if len(apps) != 1 || apps[0]["name"] != "shop" {
		t.Errorf("a token for shop sees %v", apps)
	}
	h.do("POST", "/account/tokens", ci, `{}`).refused(403, "forbidden", "manage")
	short := h.do("POST", "/account/tokens", h.alice, `{"scope":["read","manage"],"expires_in":60}`).want(201).str("token")
	h.do("POST", "/account/tokens", short, `{"scope":["read","config"]}`).refused(403, "forbidden", "config")
	h.do("POST", "/account/tokens", short, `{"expires_in":3600}`).refused(422, "invalid_params", "outlive")
	kid := h.do("POST", "/account/tokens", short, `{"description":"kid"}`).want(201).is("scope", "[read manage]")
	if end := kid.at("expires_at"); end == nil {
		t.Error("a token that ends made one that does not")
	}
	for body, part := range map[string]string{
		`{"scope":["root"]}`: "scope", `{"expires_in":-1}`: "expires_in", `{"expires_in":99999999999999}`: "expires_in", `{"description":"a\nb"}`: "description",
		`{"scope":"read"}`: "scope", `{"sope":[]}`: "sope", `{"user":"root"}`: "user",
	} {
		h.do("POST", "/account/tokens", h.alice, body).refused(422, "invalid_params", part)
	}
	h.do("POST", "/account/tokens", h.bob, `{"app":"shop"}`).refused(404, "not_found", "shop")

	var list []map[string]any
	r := h.do("GET", "/account/tokens", h.alice, "").want(200)
	r.into(&list)
	if len(list) != 4 || strings.Contains(r.text, ci) {
		t.Errorf("tokens: %s", r.text)
	}
	h.do("DELETE", "/account/tokens/"+made.str("id"), h.alice, "").want(200).is("description", "ci")
	h.do("GET", "/account", ci, "").refused(401, "unauthorized", "token")
	h.do("DELETE", "/account/tokens/"+made.str("id"), h.alice, "").refused(404, "not_found", "token")

	_, text, err := h.Store.CreateToken(t.Context(), build.Token{User: h.who(h.alice), Verbs: build.Verbs(), ExpiresAt: time.Now().Add(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	h.do("GET", "/account", text, "").refused(401, "unauthorized", "")
}

func basicAuth(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func (h *house) who(token string) build.ID {
	return build.ID(h.do("GET", "/account", token, "").want(200).str("id"))
}

// TestUsers makes users, whose first token may no more than the one that made them.
func TestUsers(t *testing.T) {
	h := newHouse(t)
	h.do("GET", "/users/alice", h.root, "").want(200).is("name", "alice", "email", "alice", "admin", false)
	h.do("GET", "/users/nobody", h.root, "").refused(404, "not_found", "nobody")
	h.do("POST", "/users", h.root, `{"name":"alice"}`).refused(409, "conflict", "alice")
	for _, name := range []string{"", "a b", "-x", "a/b", "ä", "../x", string(build.NewID()), strings.Repeat("x", 255)} {
		h.do("POST", "/users", h.root, fmt.Sprintf(`{"name":%q}`, name)).refused(422, "invalid_params", "name")
	}
	weak := h.do("POST", "/account/tokens", h.root, `{"scope":["manage"],"expires_in":60}`).want(201).str("token")
	second := h.do("POST", "/users", weak, `{"name":"carol@example.org","admin":true}`).want(201).is("admin", true).str("token")
	h.do("GET", "/account", second, "").want(200).is("token.scope", "[manage]")
	if end := h.do("GET", "/account", second, "").want(200).at("token.expires_at"); end == nil {
		t.Error("the token outlives the one that made it")
	}
	h.do("GET", "/apps", second, "").refused(403, "forbidden", "read")
	var names []string
	for _, u := range h.all("/users", h.root, "name ..; max=1") {
		names = append(names, u["name"].(string))
	}
	if got := strings.Join(names, " "); got != "alice bob carol@example.org root" {
		t.Errorf("users: %s", got)
	}
}

// TestDeleteUser: who is gone can nothing any more, and what they did stays; nobody goes who is needed.
func TestDeleteUser(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	dave := h.user("dave")
	source := h.do("POST", "/sources", dave, "").want(201).str("source_blob.put_url")
	second := h.do("POST", "/account/tokens", dave, `{"scope":["read"]}`).want(201).str("token")
	h.do("DELETE", "/users/nobody", h.root, "").refused(404, "not_found", "nobody")
	h.do("DELETE", "/users/alice", h.root, "").refused(409, "conflict", "user alice stays: they own apps")
	h.do("DELETE", "/users/root", h.root, "").refused(409, "conflict", "user root stays: they are the last administrator")
	h.do("DELETE", "/users/dave", h.root, "").want(200).is("name", "dave")
	h.do("DELETE", "/users/dave", h.root, "").refused(404, "not_found", "dave")
	for _, token := range []string{dave, second} {
		h.do("GET", "/account", token, "").refused(401, "unauthorized", "token")
	}
	if got := h.do("PUT", source[strings.Index(source, "/sources/"):], "", "x"); got.status < 400 {
		t.Errorf("a source of who is gone: %d %s", got.status, got.text)
	}
	again := h.user("dave")
	h.do("DELETE", "/users/"+string(h.who(again)), h.root, "").want(200)

	// An administrator may go when there is another, be it themself, and a user by id whose app is deleted.
	other := h.do("POST", "/users", h.root, `{"name":"eve","admin":true}`).want(201).str("token")
	h.do("DELETE", "/apps/shop", h.alice, "").want(200)
	h.do("DELETE", "/users/alice", other, "").want(200)
	h.do("DELETE", "/users/root", h.root, "").want(200)
	h.do("GET", "/account", h.root, "").refused(401, "unauthorized", "token")
	h.do("DELETE", "/users/eve", other, "").refused(409, "conflict", "last administrator")
}
