package fetch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func tarballURL(t testing.TB, s string) TarballURL {
	t.Helper()
	u, err := ParseTarballURL(s)
	must(t, err)
	return u
}

// withUser is a URL with credentials in it.
func withUser(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	u.User = url.UserPassword("user", canary)
	return u.String()
}

func TestTarball(t *testing.T) {
	body := bytes.Repeat([]byte("an archive\n"), 10_000)
	digest := sha256.Sum256(body)
	right, wrong := sumOf(digest[:]), Sum("SHA256:"+strings.Repeat("0", 64))
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, pw, _ := req.BasicAuth(); user != "user" || pw != canary {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Encoding", "gzip") // as some servers say of a .tar.gz: it is not to be undone
		w.Write(body)
	}))
	f := &Fetcher{Dialer: allow("127.0.0.1/32"), CAFile: ca}
	u := tarballURL(t, withUser(server.URL+"/a.tar.gz?token="+canary))
	for _, want := range []Sum{"", right} {
		var out bytes.Buffer
		got, err := f.Tarball(t.Context(), u, want, Limits{}, &out)
		if err != nil || got != right || !bytes.Equal(out.Bytes(), body) {
			t.Errorf("%s: %s, %d bytes, %v", want, got, out.Len(), err)
		}
	}
	_, err := f.Tarball(t.Context(), u, wrong, Limits{}, io.Discard)
	if e, ok := errors.AsType[*SumError](err); !ok || e.Want != wrong || e.Got != right {
		t.Errorf("a wrong sum: %v", err)
	}
	wantLine(t, err, "its checksum is "+string(right)+", not "+string(wrong))
	_, err = f.Tarball(t.Context(), tarballURL(t, server.URL+"/a"), "", Limits{}, io.Discard)
	wantLine(t, err, "the server answers 401 Unauthorized")
	f.NeedSum = true
	_, err = f.Tarball(t.Context(), u, "", Limits{}, io.Discard)
	wantLine(t, err, "give its checksum")
	f.NeedSum, f.CAFile = false, ""
	_, err = f.Tarball(t.Context(), u, "", Limits{}, io.Discard)
	wantLine(t, err, "certificate")
}

// wantLine checks an error: what it says, that it is one line, and that it holds no credential.
func wantLine(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
		return
	}
	for _, form := range []string{canary, url.QueryEscape(canary), url.PathEscape(canary), "\n"} {
		if text := fmt.Sprintf("%v %+v %#v", err, err, err.Error()); strings.Contains(text, form) {
			t.Errorf("the error has %q in it: %s", form, text)
		}
	}
}

func TestTarballLimits(t *testing.T) {
	release := make(chan struct{})
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/said":
			w.Header().Set("Content-Length", "1000001")
		case "/endless":
			for req.Context().Err() == nil {
				w.Write(make([]byte, 32<<10))
			}
		case "/stalls":
			w.Write(make([]byte, 100))
			w.(http.Flusher).Flush()
			<-release
		case "/silent":
			<-release
		case "/slow":
			for req.Context().Err() == nil {
				w.Write([]byte("."))
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}
	}))
	t.Cleanup(func() { close(release) }) // before the server is closed
	f := &Fetcher{Dialer: allow("127.0.0.1/32"), CAFile: ca}
	short := Limits{Archive: 1_000_000, Stall: 200 * time.Millisecond}
	for path, want := range map[string]string{
		"/said": "it has 1000001 bytes, the limit is 1000000", "/endless": "more than 1000000 bytes come, the limit",
		"/stalls": "nothing came for 200ms", "/silent": "nothing came for 200ms",
	} {
		var out bytes.Buffer
		_, err := f.Tarball(t.Context(), tarballURL(t, withUser(server.URL+path)), "", short, &out)
		wantLine(t, err, want)
		if _, ok := errors.AsType[*LimitError](err); !ok || out.Len() > 1_000_001 {
			t.Errorf("%s: %v after %d bytes", path, err, out.Len())
		}
	}
	_, err := f.Tarball(t.Context(), tarballURL(t, server.URL+"/slow"), "", Limits{Time: 300 * time.Millisecond}, io.Discard)
	wantLine(t, err, "it was not done after 300ms")
}

func TestTarballRedirects(t *testing.T) {
	other := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, _, ok := req.BasicAuth(); ok || req.Header.Get("Referer") != "" {
			http.Error(w, "the credentials came too", http.StatusTeapot)
			return
		}
		io.WriteString(w, "other")
	})
	plain := httptest.NewServer(other)
	t.Cleanup(plain.Close)
	var server *httptest.Server
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, port, _ := net.SplitHostPort(req.Host)
		to := map[string]string{
			"/1": "/0", "/2": "/1", "/3": "/2", "/4": "/3", "/http": plain.URL, "/file": "file:///etc/passwd", "/broken": "https://%zz" + canary,
			"/name": "https://example.com:" + port + "/0", "/loopback": "https://127.0.0.2:" + port + "/0", "/metadata": "https://169.254.169.254/latest/?" + canary,
		}[req.URL.Path]
		if to == "" {
			other(w, req)
			return
		}
		http.Redirect(w, req, to, http.StatusFound)
	}))
	// The certificate is for example.com too, which is where the name server says.
	f := &Fetcher{Dialer: allow("127.0.0.1/32"), CAFile: ca, HTTP: true}
	f.Dialer.Resolver = nameServer(t, "127.0.0.1")
	for path, want := range map[string]string{
		"/4": "redirects more than 3 times", "/http": "from https to http", "/file": `scheme "file"`, "/broken": "Location",
		"/loopback": `"127.0.0.2" is a loopback address`, "/metadata": "metadata",
	} {
		_, err := f.Tarball(t.Context(), tarballURL(t, withUser(server.URL+path+"?key="+canary)), "", Limits{}, io.Discard)
		wantLine(t, err, want)
	}
	for _, ok := range []string{server.URL + "/3", withUser(server.URL + "/name?key=" + canary), plain.URL} {
		var out bytes.Buffer
		if _, err := f.Tarball(t.Context(), tarballURL(t, ok), "", Limits{}, &out); err != nil || out.String() != "other" {
			t.Errorf("%s: %v %q", ok, err, &out)
		}
	}
	f.HTTP = false
	_, err := f.Tarball(t.Context(), tarballURL(t, plain.URL), "", Limits{}, io.Discard)
	wantLine(t, err, "by https only")
	f.HTTP, f.Dialer.Allow = true, nil
	_, err = f.Tarball(t.Context(), tarballURL(t, plain.URL), "", Limits{}, io.Discard)
	if _, ok := errors.AsType[*RefusedError](err); !ok {
		t.Errorf("loopback that is not allowed: %v", err)
	}
}

// TestTarballProxy: what is fetched through a proxy comes through it, by TLS from end to end; who is not for the proxy is
// asked directly, and an address that is refused is refused by whichever way.
func TestTarballProxy(t *testing.T) {
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "body") }))
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked = append(asked, r.Method+" "+r.Host); r.Method != http.MethodConnect {
			return
		}
		far, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer near.Close()
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, near) }()
		_, _ = io.Copy(near, far)
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	must(t, err)
	f := &Fetcher{CAFile: ca, Proxy: func(u *url.URL) (*url.URL, error) {
		if u.Path == "/direct" {
			return nil, nil
		}
		return at, nil
	}}
	var out bytes.Buffer
	// The certificate of the test is for example.com too.
	if _, err := f.Tarball(t.Context(), tarballURL(t, "https://example.com:"+port+"/a.tgz"), "", Limits{}, &out); err != nil || out.String() != "body" {
		t.Errorf("%q %v", out.String(), err)
	}
	for _, path := range []string{"/direct", "/a.tgz"} {
		_, err = f.Tarball(t.Context(), tarballURL(t, server.URL+path), "", Limits{}, io.Discard)
		if _, refused := errors.AsType[*RefusedError](err); !refused {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := strings.Join(asked, ", "); got != "CONNECT example.com:"+port {
		t.Errorf("the proxy was asked for %s", got)
	}
}
