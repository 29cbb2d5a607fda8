package image_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-build/slipway/internal/image"
)

// realRegistry starts Debian's docker-registry with further lines in its configuration.
func realRegistry(t testing.TB, dir, more string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(t.TempDir(), "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: %q}\nstorage:\n  filesystem: {rootdirectory: %q}\n%s", addr, dir, more)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, so its exit says nothing
	})
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry did not start: %s", out.String())
	return ""
}

func htpasswd(t *testing.T, user, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(p, []byte(user+":"+string(h)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func client(t testing.TB, o image.RegistryOptions) *image.Registry {
	t.Helper()
	g, err := image.NewRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func dockerConfig(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// One image has one digest in a registry, the store, a layout, and one config digest in Docker.
func TestSameDigestEverywhere(t *testing.T) {
	addr := realRegistry(t, t.TempDir(), "")
	g := client(t, image.RegistryOptions{})
	s := store(t)
	e := connect(t)
	remove(t, e, "slipway.test/same:1")
	base := compose(t, nil, "base", layer(t, s.Store(), "base", unique(1<<20)))
	if _, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/base")}, base, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	fresh := store(t)
	run, err := (&image.Resolver{Images: fresh, Registry: g}).Resolve(t.Context(), addr+"/base")
	if err != nil {
		t.Fatal(err)
	}
	app := compose(t, run, "app", layer(t, fresh.Store(), "app", unique(1<<20)))
	m, id := digests(t, app)

	w, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/a/app:1"), ref(t, addr+"/a/app:2"), ref(t, addr+"/b:1")}, app, image.PushOptions{From: []*image.Image{run}})
	if err != nil || w.Sent != 1 || w.Kept != 1 || w.Digest != m || w.ID != id || len(w.Names) != 3 {
		t.Errorf("push: %+v, %v; want one layer sent and the base mounted", w, err)
	}
	for _, name := range []string{"/a/app:1", "/a/app:2", "/b:1", "/a/app@" + m.String()} {
		got, err := g.Image(t.Context(), ref(t, addr+name), v1.Platform{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameImage(t, got, app)
		if err := validate.Image(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/a/app:1")}, app, image.PushOptions{}); err != nil || w.Sent != 0 || w.Kept != 2 {
		t.Errorf("push again: %+v, %v", w, err)
	}
	dir := t.TempDir()
	if w, err := image.WriteLayout(t.Context(), ref(t, "oci:"+dir), nil, app, nil); err != nil || w.Digest != m {
		t.Errorf("layout: %+v, %v", w, err)
	}
	if w, err := fresh.Put(t.Context(), []image.Ref{ref(t, "app")}, app, nil); err != nil || w.Digest != m {
		t.Errorf("store: %+v, %v", w, err)
	}
	if w, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/same:1")}, app, image.LoadOptions{Store: fresh.Store()}); err != nil || w.ID != id || w.EngineID != id.String() {
		t.Errorf("Docker: %+v, %v", w, err)
	}
	// A build needs the base's layers nowhere; the store got them only for the outputs that hold them.
	got, err := (&image.Resolver{Images: fresh, Engine: e}).Resolve(t.Context(), "slipway.test/same:1")
	if err != nil || got.Kind != image.KindStore || got.ManifestDigest != m {
		t.Errorf("the store's copy of Docker's image is not found: %+v, %v", got, err)
	}
}

// A registry that wants its credentials sent to somebody else gets none.
func TestForeignRealm(t *testing.T) {
	var got atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Add(1)
		fmt.Fprint(w, `{"token":"x"}`)
	}))
	defer thief.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://thief.invalid/token",service="s"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer front.Close()
	addr := front.Listener.Addr().String()
	// A proxy stands in for the name service: thief.invalid is the thief.
	proxy := []string{"HTTP_PROXY=" + thief.URL, "NO_PROXY=127.0.0.1"}
	for name, header := range map[string]string{"basic": "Basic " + basic("me", "secret"), "identity": "X-Identity secret"} {
		g := client(t, image.RegistryOptions{Env: append(proxy, `CNB_REGISTRY_AUTH={"`+addr+`":"`+header+`"}`)})
		err := g.CheckWrite(t.Context(), ref(t, addr+"/app"))
		if err == nil || got.Load() != 0 || !strings.Contains(err.Error(), "asks to send its credentials to thief.invalid") {
			t.Errorf("%s: error %v, %d requests at the thief", name, err, got.Load())
		}
	}
	g := client(t, image.RegistryOptions{Env: proxy})
	_ = g.CheckWrite(t.Context(), ref(t, addr+"/app")) // without credentials anybody may be asked for a token
	if got.Load() == 0 {
		t.Error("the test has no teeth: an anonymous request did not reach the token server")
	}
}

func TestBearerToken(t *testing.T) {
	inner := registry.New(quiet())
	var realm string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			if u, p, _ := r.BasicAuth(); u != "me" || p != "secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "good"})
		case r.Header.Get("Authorization") != "Bearer good":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	defer srv.Close()
	realm = srv.URL + "/token"
	addr := srv.Listener.Addr().String()
	s := store(t)
	img := compose(t, nil, "x", layer(t, s.Store(), "x", unique(100)))
	g := client(t, image.RegistryOptions{DockerConfig: dockerConfig(t, `{"auths":{"`+addr+`":{"username":"me","password":"secret"}}}`)})
	if _, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/x")}, img, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client(t, image.RegistryOptions{}).CheckRead(t.Context(), ref(t, addr+"/x")); err == nil {
		t.Error("read without credentials")
	}
}

func TestRedirects(t *testing.T) {
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		http.Redirect(w, r, fmt.Sprintf("/v2/loop/%d", n.Add(1)), http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client(t, image.RegistryOptions{}).Image(t.Context(), ref(t, u.Host+"/x"), v1.Platform{})
	if err == nil || !strings.Contains(err.Error(), "redirects") || n.Load() > 12 {
		t.Errorf("error %v after %d redirects", err, n.Load())
	}
}

// Bytes that are not those of the digest never arrive.
func TestRegistryLies(t *testing.T) {
	s := store(t)
	l := layer(t, s.Store(), "x", unique(5000))
	d, _ := l.Digest()
	inner := registry.New(quiet())
	var lie atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie.Load() && strings.HasSuffix(r.URL.Path, d.String()) && r.Method == http.MethodGet {
			size, _ := l.Size()
			_, _ = w.Write(bytes.Repeat([]byte("x"), int(size)))
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	g := client(t, image.RegistryOptions{})
	if _, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/x")}, compose(t, nil, "x", l), image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	lie.Store(true)
	r := &image.Resolver{Images: store(t), Registry: g}
	img, err := r.Resolve(t.Context(), addr+"/x")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Fetch(t.Context(), img); err == nil {
		t.Error("another blob is accepted")
	}
	lie.Store(false)
	if err := r.Fetch(t.Context(), img); err != nil {
		t.Error(err)
	}
}

// A connection that breaks off is tried again.
func TestPushRetries(t *testing.T) {
	inner := registry.New(quiet())
	var broken atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && broken.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "manifests") && broken.Add(1) < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	s := store(t)
	img := compose(t, nil, "x", layer(t, s.Store(), "x", unique(1<<20)))
	if _, err := client(t, image.RegistryOptions{}).Push(t.Context(), []image.Ref{ref(t, srv.Listener.Addr().String()+"/x")}, img, image.PushOptions{}); err != nil {
		t.Error(err)
	}
}

// A registry is asked once how one logs in, not once per image, and again when it could not say.
func TestGreetsOnce(t *testing.T) {
	real := registry.New()
	var greetings atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" && greetings.Add(1) == 1 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		real.ServeHTTP(w, r)
	}))
	defer srv.Close()
	addr := strings.TrimPrefix(srv.URL, "http://")
	g := client(t, image.RegistryOptions{})
	if err := g.CheckWrite(t.Context(), ref(t, addr+"/app")); err == nil {
		t.Fatal("a registry that does not greet was written to")
	}
	s := store(t)
	img := compose(t, nil, "greeted", layer(t, s.Store(), "greeted", []byte("x")))
	if _, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/app")}, img, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := g.Image(t.Context(), ref(t, addr+"/app"), v1.Platform{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := greetings.Load(); n != 2 {
		t.Errorf("%d greetings, want one that failed and one that stands", n)
	}
}
