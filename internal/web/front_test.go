package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// TestFront is what every answer has, and what becomes of requests that no route takes.
func TestFront(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	for given, want := range map[string]string{"abc-123": "abc-123", "a b": "", strings.Repeat("x", 65): "", "<script>": ""} {
		r := h.do("GET", "/apps", h.alice, "", "Request-Id: "+given)
		if got := r.header.Get("Request-Id"); got == "" || want != "" && got != want || want == "" && got == given {
			t.Errorf("Request-Id %q is answered with %q", given, got)
		}
		if r.header.Get("X-Content-Type-Options") != "nosniff" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("headers %v", r.header)
		}
	}
	for accept, status := range map[string]int{
		"": 200, "*/*": 200, "application/json": 200, "application/vnd.heroku+json; version=3": 200, "application/vnd.heroku+json;version=3.sdk": 200, "application/vnd.heroku+json": 200,
		`text/html, application/vnd.heroku+json; q=1; version="3"`: 200, "application/vnd.heroku+json; version=2": 406, "application/json, Application/vnd.heroku+JSON; Version=4": 406,
	} {
		r := h.do("GET", "/apps", h.alice, "", "Accept: "+accept).want(status)
		if status == 406 {
			r.refused(406, "not_acceptable", "version")
		}
	}
	h.do("GET", "/nothing", "", "").refused(404, "not_found", "openapi")
	h.do("GET", "/apps/shop/nothing", h.alice, "").refused(404, "not_found", "openapi")
	h.do("PUT", "/apps", h.alice, "").refused(405, "bad_request", "GET, HEAD, POST")
	h.do("HEAD", "/apps/shop", h.alice, "").want(200)
	h.do("GET", "/apps", "", "").refused(401, "unauthorized", "Bearer")
	if got := h.do("GET", "/apps", "", "").header.Get("WWW-Authenticate"); got != `Bearer realm="slipway"` {
		t.Errorf("WWW-Authenticate %q", got)
	}
	for _, auth := range []string{"Bearer", "Bearer ", "Basic", "Basic !!", "Token " + h.alice, h.alice, basicAuth(h.alice, "")} {
		h.do("GET", "/apps", "", "", "Authorization: "+auth).refused(401, "unauthorized", "")
	}
	h.do("GET", "/apps", "", "", "Authorization: bearer "+h.alice).want(200)
	h.do("POST", "/apps", h.alice, `{}`, "Origin: https://evil.test").refused(403, "forbidden", "another site")
	h.do("POST", "/apps", h.alice, `{}`, "Sec-Fetch-Site: cross-site").refused(403, "forbidden", "another site")

	h.do("GET", "/status", h.bob, "").want(200).is("version", "1.2.3", "workers", 2, "queued", 0, "running", 0, "ready", true)
	if r := h.do("GET", "/healthz", "", "").want(200); r.text != "ok\n" {
		t.Errorf("healthz: %q", r.text)
	}
	h.do("GET", "/readyz", "", "").want(200)
	h.ready = errors.New("disk: full\nvery")
	if r := h.do("GET", "/readyz", "", "").want(503); r.text != "disk: full very\n" {
		t.Errorf("readyz: %q", r.text)
	}
	h.do("GET", "/status", h.bob, "").want(200).is("ready", false)
	h.do("GET", "/healthz", "", "").want(200)
}

// TestDeadlineEnds asks somebody else on a connection that was ours: no deadline of ours holds there.
func TestDeadlineEnds(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Stall = 50 * time.Millisecond })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/other" {
			h.handler.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v", body, err)
	}))
	defer server.Close()
	client := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	ask := func(path, body string) string {
		t.Helper()
		req := must(http.NewRequestWithContext(t.Context(), "POST", server.URL+path, strings.NewReader(body)))(t)
		req.Header.Set("Authorization", "Bearer "+h.alice)
		res := must(client.Do(req))(t)
		defer res.Body.Close()
		return string(must(io.ReadAll(res.Body))(t))
	}
	if got := ask("/apps", `{"name":"shop"}`); !strings.Contains(got, `"shop"`) {
		t.Fatal(got)
	}
	time.Sleep(3 * 2 * h.Stall)
	if got := ask("/other", "hello"); got != "hello <nil>" {
		t.Errorf("another handler on the connection: %s", got)
	}
}

// TestBaseURL has a service that is found elsewhere than its clients ask.
func TestBaseURL(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.BaseURL = "https://build.test/slipway" })
	h.newApp("shop").is("git_url", "https://build.test/slipway/shop.git")
	src := h.do("POST", "/sources", h.alice, "").want(201)
	put, ok := strings.CutPrefix(src.str("source_blob.put_url"), "https://build.test/slipway")
	if !ok {
		t.Fatalf("put_url %s", src.text)
	}
	h.do("PUT", put, "", "x").want(200)
	b := h.do("POST", "/apps/shop/builds", h.alice, fmt.Sprintf(`{"source_blob":{"url":%q}}`, src.str("source_blob.get_url"))).want(201)
	if !strings.HasPrefix(b.str("output_stream_url"), "https://build.test/slipway/streams/builds/"+b.str("id")+"?sig=") {
		t.Errorf("output_stream_url %s", b.str("output_stream_url"))
	}
	for _, bad := range []string{"build.test", "ftp://x", "https://", "https://u:p@x", "https://x/", "https://x?y"} {
		o := h.Options
		if o.BaseURL = bad; failure(New(o)) == nil {
			t.Errorf("base URL %q was taken", bad)
		}
	}
	for _, change := range []func(*Options){func(o *Options) { o.Key = o.Key[:31] }, func(o *Options) { o.Store = nil }, func(o *Options) { o.SourceLimit = 0 }, func(o *Options) { o.Registry = "" }} {
		o := h.Options
		if change(&o); failure(New(o)) == nil {
			t.Error("options that lack something were taken")
		}
	}
}

func failure(_ http.Handler, err error) error { return err }

// TestHostileBodies sends to every route that takes JSON what nobody should send. Nothing of it is our fault, and what
// is not JSON or of the wrong kind is never done.
func TestHostileBodies(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	h.do("PUT", "/apps/shop/forge", h.alice, `{"repository":"https://github.com/acme/shop.git","token":"hidden-token"}`).want(200)
	h.newBuild("shop")
	h.succeed(h.claim(), digest)
	before := h.snapshot()
	deep := strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)
	bodies := map[string]string{
		"deep arrays": strings.Repeat("[", 100_000), "deep objects": deep, "deep name": `{"name":` + deep + `}`, "cut": `{"name":"x`, "two": `{} {}`, "no JSON": "name=x", "NUL": "\x00", "array": `[]`, "text": `"x"`, "number": `1`, "not UTF-8": "{\"\xff\":\"\xfe\"}",
		"large": `{"name":"` + strings.Repeat("x", 3<<20) + `"}`, "unknown": `{"__proto__":{"admin":true}}`, "wrong": `{"name":{},"scope":{},"release":[],"type":[],"username":1,"source_blob":1}`, "huge number": `{"expires_in":1e999,"limits":{"time":1e999}}`,
	}
	types := 0
	for _, r := range (&server{Options: h.Options}).routes() {
		if r.in == nil {
			continue
		}
		types++
		token := h.alice
		if r.need == admin {
			token = h.root
		}
		path := pathOf(r.path, map[string]string{"app": "shop", "name": "x", "host": "example.org"})
		for what, body := range bodies {
			got := h.do(r.method, path, token, body)
			if got.status != 400 && got.status != 422 && got.status != 413 {
				t.Errorf("%s %s with %s: %d %.300s", r.method, path, what, got.status, got.text)
			}
			if len(got.text) > 2000 {
				t.Errorf("%s %s with %s: %d bytes of error", r.method, path, what, len(got.text))
			}
		}
		if got := h.do(r.method, path, token, bodies["large"]); got.status != 413 {
			t.Errorf("%s %s with a large body: %d", r.method, path, got.status)
		}
	}
	if types < 8 {
		t.Errorf("only %d routes take a body", types)
	}
	if after := h.snapshot(); after != before {
		t.Errorf("something happened:\n%s\nbefore:\n%s", after, before)
	}
}

// TestStrict is JSON that two readers could understand differently. Nothing of it is done.
func TestStrict(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	deepest := strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)
	for body, part := range map[string]string{
		`{"branch":"a","branch":"b"}`: `a field twice: "branch"`, `{"limits":{"time":1,"time":2}}`: `a field twice: "time"`, `{"branch":"a","br\u0061nch":"b"}`: `a field twice: "branch"`,
		`{"branch":"a"} {}`: "something follows", `{"branch":"a"}]`: "something follows", `{"branch":"a"},`: "something follows", `{"branch":"a"}x`: "something follows",
		`{"buildpacks":[` + deepest + `]}`: "nested more than 32 deep", `{"branch":"a"`: "ends too early", `{"branch" "a"}`: "no JSON", `{"branch":"a",}`: "no JSON", `{branch:1}`: "no JSON",
	} {
		h.do("PATCH", "/apps/shop", h.alice, body).refused(400, "bad_request", part)
	}
	h.do("PATCH", "/apps/shop", h.alice, `{"buildpacks":`+deepest+`}`).refused(422, "invalid_params", "buildpacks")
	h.do("PATCH", "/apps/shop/config-vars", h.alice, `{"A":"1","A":"2"}`).refused(400, "bad_request", "twice")
	h.do("PATCH", "/apps/shop/config-vars", h.alice, `{"A":"1","a":"2","B":"A"}`).want(200)
	h.do("GET", "/apps/shop", h.alice, "").want(200).is("branch", "main")
}

// TestSlowBody sends a byte now and then, so that the body never stalls: it is refused long before it is there.
func TestSlowBody(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Stall = 500 * time.Millisecond })
	conn := must(net.Dial("tcp", strings.TrimPrefix(h.url, "http://")))(t)
	defer conn.Close()
	body := `{"name":"` + strings.Repeat("x", 10_000) + `"}`
	fmt.Fprintf(conn, "POST /apps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", h.alice, len(body))
	refused := make(chan string)
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			refused <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		refused <- res.Status + " " + string(text)
	}()
	for i := range body {
		select {
		case got := <-refused:
			if !strings.Contains(got, "400") || !strings.Contains(got, "came too slowly") {
				t.Errorf("it is answered %s", got)
			}
			return
		case <-time.After(20 * time.Millisecond):
			_, _ = conn.Write([]byte{body[i]})
		}
	}
	t.Errorf("all of it was taken: %s", <-refused)
}

// TestPanic has a handler that fails in a way nobody thought of.
func TestPanic(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Workers = func() int { panic("at the canary") } })
	h.faulty = true
	r := h.do("GET", "/status", h.alice, "")
	r.refused(500, "internal", "tell the operator")
	if strings.Contains(r.text, "canary") {
		t.Errorf("the answer tells what happened: %s", r.text)
	}
	h.do("GET", "/account", h.alice, "").want(200)
}

// TestPurposes makes sure that no signature is two.
func TestPurposes(t *testing.T) {
	s := signer{bytes.Repeat([]byte("k"), 32)}
	id := build.NewID()
	if bytes.Equal(s.mac(toPut, id, "1"), s.mac(toFollow, id, "1")) {
		t.Error("two signatures are the same")
	}
}
