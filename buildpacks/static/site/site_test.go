package site

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newSite serves a directory of files whose times are those of a reproducible image.
func newSite(t testing.TB, opt Options, files map[string]string) *httptest.Server {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		stamp := time.Date(1980, 1, 1, 0, 0, 1, 0, time.UTC)
		if err := os.Chtimes(file, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("/etc/passwd", filepath.Join(dir, "out.txt"))
	os.Symlink("a.txt", filepath.Join(dir, "in.txt"))
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(New(root, opt))
	t.Cleanup(func() { s.Close(); root.Close() })
	return s
}

func get(t testing.TB, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{}).RoundTrip(req) // no redirects followed, nothing decoded
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func files() map[string]string {
	return map[string]string{
		"index.html": "home", "about.html": "about", "docs/index.html": "docs", "empty/x.css": "", "404.html": "gone",
		"a.txt": "text", "app.3f2a9c1b.js": "js", "data.bin": "bin", ".env": "SECRET", ".git/config": "SECRET",
		".well-known/security.txt": "contact", "Procfile": "SECRET", "node_modules/x/y.js": "SECRET",
		"big.css": "plain", "big.css.gz": "gzipped", "big.css.br": "brotli",
	}
}

func TestPaths(t *testing.T) {
	s := newSite(t, Options{}, files())
	for _, c := range []struct {
		path   string
		status int
		body   string
		header string // "Name: value" that must be there
	}{
		{"/", 200, "home", "Content-Type: text/html; charset=utf-8"},
		{"/index.html", 200, "home", "Cache-Control: no-cache"},
		{"/about", 200, "about", "X-Content-Type-Options: nosniff"},
		{"/about/", 301, "", "Location: /about"},
		{"/docs", 301, "", "Location: /docs/"},
		{"/docs?q=1", 301, "", "Location: /docs/?q=1"},
		{"/docs/", 200, "docs", ""},
		{"/a.txt", 200, "text", "Content-Type: text/plain; charset=utf-8"},
		{"/a.txt/", 301, "", "Location: /a.txt"},
		{"/app.3f2a9c1b.js", 200, "js", "Cache-Control: public, max-age=31536000, immutable"},
		{"/data.bin", 200, "bin", "Content-Type: application/octet-stream"},
		{"/in.txt", 200, "text", ""},
		{"/.well-known/security.txt", 200, "contact", ""},
		{"/empty/", 404, "gone", ""},
		{"/none", 404, "gone", "Content-Type: text/html; charset=utf-8"},
		{"/.env", 404, "gone", ""},
		{"/.git/config", 404, "gone", ""},
		{"/%2e%65nv", 404, "gone", ""},
		{"/Procfile", 404, "gone", ""},
		{"/node_modules/x/y.js", 404, "gone", ""},
		{"/out.txt", 404, "gone", ""},
		{"/../../etc/passwd", 404, "gone", ""},
		{"/..%2f..%2fetc/passwd", 404, "gone", ""},
		{"//evil.example/..", 200, "home", ""},
		{"//docs", 301, "", "Location: /docs/"},
	} {
		t.Run(c.path, func(t *testing.T) {
			resp, body := get(t, http.MethodGet, s.URL+c.path)
			if resp.StatusCode != c.status || body != c.body {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, c.status, c.body)
			}
			if name, value, ok := strings.Cut(c.header, ": "); ok && resp.Header.Get(name) != value {
				t.Errorf("%s is %q, want %q", name, resp.Header.Get(name), value)
			}
			if strings.Contains(body, "SECRET") {
				t.Error("a hidden file was served")
			}
		})
	}
}

func TestMethods(t *testing.T) {
	s := newSite(t, Options{}, files())
	if resp, body := get(t, http.MethodHead, s.URL+"/a.txt"); resp.StatusCode != 200 || body != "" || resp.ContentLength != 4 {
		t.Errorf("HEAD: %d %q %d", resp.StatusCode, body, resp.ContentLength)
	}
	if resp, _ := get(t, http.MethodPost, s.URL+"/"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}

func TestCaching(t *testing.T) {
	s := newSite(t, Options{}, files())
	first, _ := get(t, http.MethodGet, s.URL+"/a.txt")
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Last-Modified") != "" {
		t.Fatalf("ETag %q, Last-Modified %q: the time of a reproducible image says nothing", tag, first.Header.Get("Last-Modified"))
	}
	if resp, _ := get(t, http.MethodGet, s.URL+"/a.txt", "If-None-Match", tag); resp.StatusCode != 304 {
		t.Errorf("same tag: %d", resp.StatusCode)
	}
	if resp, _ := get(t, http.MethodGet, s.URL+"/a.txt", "If-None-Match", `"other"`); resp.StatusCode != 200 {
		t.Errorf("other tag: %d", resp.StatusCode)
	}
	if resp, body := get(t, http.MethodGet, s.URL+"/a.txt", "Range", "bytes=1-2"); resp.StatusCode != 206 || body != "ex" {
		t.Errorf("range: %d %q", resp.StatusCode, body)
	}
}

func TestCompressedSiblings(t *testing.T) {
	s := newSite(t, Options{}, files())
	tags := map[string]bool{}
	for accept, want := range map[string]string{"br, gzip": "brotli", "gzip": "gzipped", "gzip;q=0": "plain", "": "plain", "identity": "plain"} {
		resp, body := get(t, http.MethodGet, s.URL+"/big.css", "Accept-Encoding", accept)
		if body != want || resp.Header.Get("Vary") != "Accept-Encoding" || resp.Header.Get("Content-Type") != "text/css; charset=utf-8" {
			t.Errorf("%q: %q, %v", accept, body, resp.Header)
		}
		tags[resp.Header.Get("ETag")] = true
	}
	if len(tags) != 3 {
		t.Errorf("%d tags for three forms", len(tags))
	}
}

func TestSPA(t *testing.T) {
	s := newSite(t, Options{SPA: true}, map[string]string{"index.html": "app", "a.js": "js"})
	for path, want := range map[string]string{"/deep/route": "app", "/a.js": "js", "/": "app"} {
		if resp, body := get(t, http.MethodGet, s.URL+path); resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %q", path, resp.StatusCode, body)
		}
	}
	if resp, _ := get(t, http.MethodGet, s.URL+"/missing.js"); resp.StatusCode != 404 {
		t.Errorf("a missing file is %d: a script that is a page breaks in odd ways", resp.StatusCode)
	}
}

func TestImmutable(t *testing.T) {
	for name, want := range map[string]bool{
		"index-BfK3jd92.js": true, "app.3f2a9c1b.css": true, "logo.0123456789abcdef0123.svg": true,
		"report-20240101.js": false, "jquery.min.js": false, "component.js": false, "bootstrap-5-bundle.js": false, "a.js": false, "app-settings.js": false,
	} {
		if immutable(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

func TestServeStopsGracefully(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, dir, Options{}) }()
	if resp, _ := get(t, http.MethodGet, "http://"+l.Addr().String()+"/"); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMainRefusesABadPort(t *testing.T) {
	for _, port := range []string{"x", "-1", "70000"} {
		if code := Main([]string{"-root", t.TempDir()}, port, io.Discard); code != 2 {
			t.Errorf("PORT=%s: exit %d", port, code)
		}
	}
}

func FuzzPath(f *testing.F) {
	dir := f.TempDir()
	os.WriteFile(filepath.Join(dir, "index.html"), []byte("home"), 0o644)
	os.WriteFile(filepath.Join(dir, ".secret"), []byte("SECRET"), 0o644)
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	for _, s := range []string{"/", "//x", "/../.secret", "/.secret", "/a/./.secret", "/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = p
		w := httptest.NewRecorder()
		New(root, Options{}).ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "SECRET") {
			t.Errorf("%q serves a hidden file", p)
		}
		if l := w.Header().Get("Location"); strings.HasPrefix(l, "//") || l != "" && l[0] != '/' {
			t.Errorf("%q redirects to %q", p, l)
		}
	})
}
