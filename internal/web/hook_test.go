package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/webhook"
)

const (
	shaA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	shaB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	shaC = "cccccccccccccccccccccccccccccccccccccccc"
	none = "0000000000000000000000000000000000000000"
)

// A hooked app's hook, and what a forge knows of it.
type testHook struct {
	reply
	h                 *house
	id, token, secret string
	path              string // of the API
}

func (h *house) newHook(app, body string) *testHook {
	h.t.Helper()
	r := h.do("POST", "/apps/"+app+"/hooks", h.alice, body).want(201)
	k := &testHook{reply: r, h: h, id: r.str("id"), secret: r.str("secret"), path: "/apps/" + app + "/hooks/" + r.str("id")}
	k.at(r)
	return k
}

// at takes the URL that an answer tells.
func (k *testHook) at(r reply) {
	k.h.t.Helper()
	url := r.str("url")
	token, ok := strings.CutPrefix(url, k.h.url+"/hooks/slh_")
	if !ok || len(token) != 52 {
		k.h.t.Errorf("the URL of a hook: %s", url)
	}
	k.token = "slh_" + token
}

func hubPush(ref, before, after string, more ...string) string {
	return fmt.Sprintf(`{"ref":%q,"before":%q,"after":%q,%s"repository":{"full_name":"acme/shop","clone_url":"https://evil.test/x.git"}}`, ref, before, after, strings.Join(more, ""))
}

func signed(secret, body string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(body))
	return hex.EncodeToString(m.Sum(nil))
}

// deliver is what GitHub does.
func (k *testHook) deliver(id, body string) reply {
	k.h.t.Helper()
	return k.h.do("POST", "/hooks/"+k.token, "", body, "Content-Type: application/json", "X-GitHub-Event: push", "X-GitHub-Delivery: "+id, "X-Hub-Signature-256: sha256="+signed(k.secret, body))
}

func (h *house) count(app string) int {
	h.t.Helper()
	return len(h.all("/apps/"+app+"/builds", h.alice, "number ..; max=1000"))
}

const shopHook = `{"repository":"https://git.test/acme/shop.git"}`

// TestHook is the life of a hook: made, used, changed, and gone.
func TestHook(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	h.newApp("other")
	k := h.newHook("shop", `{"repository":"https://git.test/acme/shop.git","tags":["v*"],"paths":["src/**"],"submodules":true}`)
	k.reply.is("app.name", "shop", "user.email", "alice", "branches", "[]", "tags", "[v*]", "paths", "[src/**]", "submodules", true, "previous_secret_until", nil)
	if !strings.HasPrefix(k.secret, "whsec_") {
		t.Errorf("secret %s", k.secret)
	}
	r := k.deliver("d1", hubPush("refs/heads/main", shaA, shaB, `"head_commit":{"id":"`+shaB+`","message":"Mend it\n\nfor good"},`)).want(202).is("result", "accepted", "build.number", 1, "reason", nil)
	h.do("GET", "/apps/shop/builds/"+r.str("build.id"), h.alice, "").want(200).is("trigger", "webhook", "state", "queued", "user.email", "alice",
		"source_blob.git", true, "source_blob.url", "https://git.test/acme/shop.git", "source_blob.ref", "refs/heads/main", "source_blob.commit", shaB, "source_blob.version_description", "Mend it")
	if j := h.claim(); j.Source.URL != "https://git.test/acme/shop.git" || j.Source.Commit != shaB || !j.Source.Submodules {
		t.Errorf("what a worker is told: %+v", j.Source)
	}
	k.deliver("d1", hubPush("refs/heads/main", shaA, shaB)).want(200).is("result", "duplicate", "build.id", r.str("build.id"))
	k.deliver("d2", hubPush("refs/heads/dev", shaA, shaB)).want(200).is("result", "ignored", "build", nil, "reason", "the branch dev is not one of those that are built: main")
	k.deliver("d3", hubPush("refs/tags/v1", none, shaC)).want(202)
	k.deliver("d4", hubPush("refs/heads/main", shaB, none, `"deleted":true,`)).want(200).is("result", "ignored")
	k.deliver("d5", hubPush("refs/heads/main", shaB, shaC, `"commits":[{"id":"`+shaC+`","message":"m","added":["docs/x"]}],`)).want(200).is("result", "ignored")
	k.deliver("d6", strings.Replace(hubPush("refs/heads/main", shaB, shaC), "acme/shop", "acme/theirs", 1)).want(200).is("result", "ignored")

	h.do("PATCH", k.path, h.alice, `{"branches":["main","dev"],"paths":[]}`).want(200).is("branches", "[main dev]", "tags", "[v*]")
	journal := h.all(k.path+"/deliveries", h.alice, "number ..; order=desc, max=3")
	var codes []string
	for _, d := range journal {
		codes = append(codes, fmt.Sprintf("%v %v %v", d["delivery"], d["result"], d["code"]))
	}
	want := "d6 ignored other-repository, d5 ignored paths, d4 ignored deleted, d3 accepted <nil>, d2 ignored branch, d1 accepted <nil>"
	if got := strings.Join(codes, ", "); got != want {
		t.Errorf("journal\n%s\nwant\n%s", got, want)
	}
	h.do("GET", k.path+"/deliveries/1", h.alice, "").want(200).is("times", 2, "build.number", 1, "event", "push", "forge", "github", "commit", shaB, "before", shaA)

	// What was ignored is built when the rule has changed, and only once.
	second := h.do("POST", k.path+"/deliveries/2/redeliver", h.alice, "").want(200).is("result", "accepted", "number", 2, "code", nil, "times", 2)
	h.do("POST", k.path+"/deliveries/2/redeliver", h.alice, "").want(200).is("result", "accepted", "build.id", second.str("build.id"))
	k.deliver("d2", hubPush("refs/heads/dev", shaA, shaB)).want(200).is("result", "duplicate", "build.id", second.str("build.id"))
	h.do("POST", k.path+"/deliveries/6/redeliver", h.alice, "").want(200).is("result", "ignored", "code", "other-repository")
	h.do("POST", k.path+"/deliveries/5/redeliver", h.alice, "").want(200).is("result", "accepted")
	h.do("POST", k.path+"/deliveries/9/redeliver", h.alice, "").refused(404, "not_found", "9")
	if n := h.count("shop"); n != 4 {
		t.Errorf("%d builds", n)
	}
	var hooks []map[string]any
	list := h.do("GET", "/apps/shop/hooks", h.alice, "").want(200)
	list.into(&hooks)
	if len(hooks) != 1 || strings.Contains(list.text, k.secret) || strings.Contains(list.text, k.token) {
		t.Errorf("hooks: %s", list.text)
	}
	h.do("GET", "/apps/other/hooks/"+k.id, h.alice, "").refused(404, "not_found", "hook")
	h.do("DELETE", "/apps/other/hooks/"+k.id, h.alice, "").refused(404, "not_found", "hook")
	h.do("DELETE", k.path, h.alice, "").want(200).is("id", k.id)
	k.deliver("d7", hubPush("refs/heads/main", shaB, shaC)).refused(404, "not_found", "no such hook")
	h.do("DELETE", k.path, h.alice, "").refused(404, "not_found", "hook")
}

// TestRotate: with a new secret the old one opens too for a while, and with a new URL the old one is gone.
func TestRotate(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	k := h.newHook("shop", shopHook)
	old := *k
	r := h.do("POST", k.path+"/rotate", h.alice, `{"keep":60}`).want(200).is("url", nil)
	if k.secret = r.str("secret"); k.secret == old.secret || r.str("previous_secret_until") == "" {
		t.Errorf("rotated: %s", r.text)
	}
	old.deliver("1", hubPush("refs/heads/main", shaA, shaB)).want(202)
	k.deliver("2", hubPush("refs/heads/main", shaB, shaC)).want(202)
	k.at(h.do("POST", k.path+"/rotate", h.alice, `{"secret":"`+k.secret+`x","keep":0,"url":true}`).want(200).is("previous_secret_until", nil, "secret", k.secret+"x"))
	old.deliver("3", hubPush("refs/heads/main", shaC, shaB)).refused(404, "not_found", "no such hook")
	k.deliver("3", hubPush("refs/heads/main", shaC, shaB)).refused(401, "wrong_signature", "not made with")
	k.secret += "x"
	k.deliver("3", hubPush("refs/heads/main", shaC, shaB)).want(202)
	for body, part := range map[string]string{`{"keep":-1}`: "keep", `{"keep":99999999}`: "keep", `{"secret":"short"}`: "secret", `{"secret":"sixteen letters and spaces"}`: "secret"} {
		h.do("POST", k.path+"/rotate", h.alice, body).refused(422, "invalid_params", part)
	}
}

// TestHookRefused: what is refused is in the journal, which it does not fill, and stands for nothing that comes later.
func TestHookRefused(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	k := h.newHook("shop", shopHook)
	body := hubPush("refs/heads/main", shaA, shaB)
	post := func(body string, headers ...string) reply {
		return h.do("POST", "/hooks/"+k.token, "", body, headers...)
	}
	const asJSON, push = "Content-Type: application/json", "X-GitHub-Event: push"
	post(body, asJSON).refused(400, "unknown_forge", "GitHub")
	post(body, asJSON, push, "X-GitHub-Delivery: poison").refused(401, "unsigned", "not signed")
	post(body, push).refused(415, "media_type", "application/json")
	post("no", asJSON, push, "X-Hub-Signature-256: sha256="+signed(k.secret, "no")).refused(400, "malformed", "no JSON")
	post(strings.Repeat("x", webhook.MaxBody+1), asJSON, push).refused(413, "too_large", "26214400")
	conn := must(net.Dial("tcp", strings.TrimPrefix(h.url, "http://")))(t)
	defer conn.Close()
	fmt.Fprintf(conn, "POST /hooks/%s HTTP/1.1\r\nHost: x\r\n%s\r\n%s\r\nContent-Length: 100\r\n\r\ncut off", k.token, asJSON, push)
	_ = conn.(*net.TCPConn).CloseWrite()
	if answer := must(io.ReadAll(conn))(t); !strings.Contains(string(answer), "400 Bad Request") || !strings.Contains(string(answer), "ended too early") {
		t.Errorf("a body that was cut off: %s", answer)
	}
	h.do("GET", k.path+"/deliveries/6", h.alice, "").want(200).is("result", "refused", "code", "incomplete")
	h.do("POST", k.path+"/deliveries/2/redeliver", h.alice, "").refused(409, "conflict", "have the forge send it again")
	h.do("GET", k.path+"/deliveries/5", h.alice, "").want(200).is("result", "refused", "code", "too-large", "forge", "github", "ref", nil)
	k.deliver("poison", body).want(202)
	for i := range 150 {
		post(body, asJSON, push, fmt.Sprintf("X-GitHub-Delivery: %d", i)).want(401)
	}
	if n := len(h.all(k.path+"/deliveries", h.alice, "number ..; max=1000")); n > build.MaxRefused+33 || n < build.MaxRefused {
		t.Errorf("%d lines in the journal", n)
	}
	k.deliver("poison", body).want(200).is("result", "duplicate", "build.number", 1)
	large := hubPush("refs/heads/main", shaB, shaC, `"x":"`, strings.Repeat("x", 20<<20), `",`)
	k.deliver("large", large).want(202)
}

// TestHookRequests: what cannot be a hook is not made.
func TestHookRequests(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	for body, part := range map[string]string{
		`{}`: "repository", `{"repository":"file:///etc"}`: "repository", `{"repository":"https://u:p@git.test/a/b.git"}`: "git-credentials", `{"repository":"--upload-pack=x"}`: "repository",
		`{"repository":"https://git.test/a/b","secret":"short"}`: "secret", `{"repository":"https://git.test/a/b","branches":[""]}`: "branches[0]",
		`{"repository":"https://git.test/a/b","paths":["a","b\n"]}`: "paths[1]", `{"repository":"https://git.test/a/b","tags":[` + strings.Repeat(`"a",`, 50) + `"a"]}`: "tags",
		`{"repository":"https://git.test/a/b","url":"x"}`: "url",
	} {
		h.do("POST", "/apps/shop/hooks", h.alice, body).refused(422, "invalid_params", part)
	}
	weak := h.do("POST", "/account/tokens", h.alice, `{"scope":["config"]}`).want(201).str("token")
	h.do("POST", "/apps/shop/hooks", weak, shopHook).refused(403, "forbidden", "deploy")
	for range build.MaxHooks {
		h.newHook("shop", shopHook)
	}
	h.do("POST", "/apps/shop/hooks", h.alice, shopHook).refused(409, "conflict", "20 hooks")
}

var hookDuplicates = flag.Int("hooks.duplicates", 200, "deliveries of one push in TestDuplicates")

// TestDuplicates: many of one delivery, and of one commit by many deliveries, at the same time, make one build.
func TestDuplicates(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	first, second := h.newHook("shop", shopHook), h.newHook("shop", shopHook)
	ids := make([]string, *hookDuplicates)
	var wg sync.WaitGroup
	at := make(chan struct{}, 100)
	for i := range ids {
		at <- struct{}{}
		wg.Go(func() {
			defer func() { <-at }()
			k, id := first, "same"
			switch i % 4 {
			case 1:
				k = second
			case 2:
				id = fmt.Sprint(i)
			}
			r := k.deliver(id, hubPush("refs/heads/main", shaA, shaB))
			if r.status != http.StatusOK && r.status != http.StatusAccepted {
				t.Errorf("%d %s", r.status, r.text)
				return
			}
			ids[i] = r.str("build.id")
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("builds %s and %s", ids[0], id)
		}
	}
	if n := h.count("shop"); n != 1 {
		t.Errorf("%d builds", n)
	}
}

// TestSupersede: of the builds of a ref that wait only the newest is left, whoever runs runs on, and an older commit that
// comes back is built again.
func TestSupersede(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	k := h.newHook("shop", `{"repository":"https://git.test/acme/shop.git","branches":["**"]}`)
	k.deliver("1", hubPush("refs/heads/main", none, shaA)).want(202)
	j := h.claim()
	k.deliver("2", hubPush("refs/heads/main", shaA, shaB)).want(202)
	k.deliver("3", hubPush("refs/heads/dev", shaA, shaB)).want(202)
	k.deliver("4", hubPush("refs/heads/main", shaB, shaA, `"forced":true,`)).want(202).is("build.number", 4)
	h.do("GET", "/apps/shop/builds/1", h.alice, "").want(200).is("state", "running")
	h.do("GET", "/apps/shop/builds/2", h.alice, "").want(200).is("state", "cancelled", "cancel_reason", "superseded by build 4 of the same branch")
	h.do("GET", "/apps/shop/builds/3", h.alice, "").want(200).is("state", "queued")
	if log := h.do("GET", "/apps/shop/builds/2/log", h.alice, "").want(200); !strings.Contains(log.text, "superseded by build 4") {
		t.Errorf("its log: %s", log.text)
	}
	h.succeed(j, digest)
	if j := h.claim(); j.Number != 3 {
		t.Errorf("build %d is next", j.Number)
	}
}

// TestSeveralRefs: one delivery of Bitbucket makes a build of each ref that is built.
func TestSeveralRefs(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	k := h.newHook("shop", `{"repository":"https://git.test/acme/shop.git","branches":["main","dev"]}`)
	ref := func(name, hash string) string {
		return fmt.Sprintf(`{"type":"branch","name":%q,"target":{"hash":%q}}`, name, hash)
	}
	body := `{"push":{"changes":[{"old":null,"new":` + ref("x", shaA) + `},{"old":null,"new":` + ref("main", shaA) + `},{"old":` + ref("y", shaA) + `,"new":null},{"old":null,"new":` + ref("dev", shaB) + `}]},"repository":{"full_name":"acme/shop"}}`
	send := func() reply {
		return h.do("POST", "/hooks/"+k.token, "", body, "Content-Type: application/json", "X-Event-Key: repo:push", "X-Request-UUID: 1", "X-Hub-Signature: sha256="+signed(k.secret, body))
	}
	r := send().want(202).is("result", "accepted", "build.number", 1)
	var out struct {
		Deliveries []struct{ Ref, Result string }
	}
	r.into(&out)
	var got []string
	for _, d := range out.Deliveries {
		got = append(got, d.Ref+" "+d.Result)
	}
	if text := strings.Join(got, ", "); text != "refs/heads/x ignored, refs/heads/main accepted, refs/heads/y ignored, refs/heads/dev accepted" {
		t.Errorf("%s", text)
	}
	send().want(200).is("result", "duplicate", "build.number", 1)
	if n := h.count("shop"); n != 2 {
		t.Errorf("%d builds", n)
	}
}
