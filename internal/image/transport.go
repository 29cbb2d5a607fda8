package image

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/publicsuffix"
)

// maxRedirects bounds a chain of redirects: registries use one, to their storage.
const maxRedirects = 3

// connectTime is how long a registry may take to be connected to: long enough for two packets to be lost, short enough
// for a build that cannot have its images to say so at once.
const connectTime = 4 * time.Second

// newTransport is the client side of every registry connection.
func newTransport(ca []byte, env []string) http.RoundTripper {
	lookup := func(n string) string {
		if v := envValue(env, n); v != "" {
			return v
		}
		return envValue(env, strings.ToLower(n))
	}
	proxy := httpproxy.Config{HTTPProxy: lookup("HTTP_PROXY"), HTTPSProxy: lookup("HTTPS_PROXY"), NoProxy: lookup("NO_PROXY")}
	proxyFor := proxy.ProxyFunc()
	plain := &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return proxyFor(r.URL) },
		DialContext:           (&net.Dialer{Timeout: connectTime, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute, // a registry may hash a whole blob before it answers
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   2 * copyJobs,
		MaxIdleConns:          64,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // blobs are compressed, and their bytes are what is hashed
		WriteBufferSize:       1 << 17,
		ReadBufferSize:        1 << 17,
	}
	wary := plain.Clone()
	wary.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	return &greeter{base: &trusting{plain: plain, wary: wary, proxy: proxyFor, secure: sync.OnceValues(func() (http.RoundTripper, error) {
		t, err := plain.Clone(), error(nil)
		t.TLSClientConfig, err = tlsConfig(ca)
		return t, err
	})}}
}

// greetTime is for how long a registry's answer to a greeting stands.
const greetTime = time.Minute

// A greeter remembers how registries answered to GET /v2/ without credentials (distribution, "API Version Check"), which
// the client asks before each image that it reads or writes: whether one has to log in, and where. Failures are not
// remembered. It is safe for concurrent use.
type greeter struct {
	base  http.RoundTripper
	known sync.Map // scheme and host to *greeting
}

type greeting struct {
	status int
	header http.Header
	until  time.Time
}

func isGreeting(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path == "/v2/" }

// RoundTrip is http.RoundTripper's.
func (g *greeter) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isGreeting(r) || r.Header.Get("Authorization") != "" {
		return g.base.RoundTrip(r)
	}
	host := r.URL.Scheme + "://" + r.URL.Host
	if v, ok := g.known.Load(host); ok && time.Now().Before(v.(*greeting).until) {
		return v.(*greeting).response(r), nil
	}
	resp, err := g.base.RoundTrip(r)
	if err == nil && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized) {
		g.known.Store(host, &greeting{resp.StatusCode, resp.Header.Clone(), time.Now().Add(greetTime)})
	}
	return resp, err
}

func (g *greeting) response(r *http.Request) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(g.status) + " " + http.StatusText(g.status), StatusCode: g.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: g.header.Clone(), Body: http.NoBody, Request: r,
	}
}

// A trusting transport reads what it trusts when it first has to: the certificates of a system are many, and a registry
// on this machine has none.
type trusting struct {
	plain  http.RoundTripper
	wary   http.RoundTripper // trusts nobody
	proxy  func(*url.URL) (*url.URL, error)
	secure func() (http.RoundTripper, error)
}

// RoundTrip is http.RoundTripper's.
func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	p, err := t.proxy(r.URL)
	direct := p == nil && err == nil
	switch {
	case direct && r.URL.Scheme == "http":
		return t.plain.RoundTrip(r)
	case direct && isGreeting(r) && isLoopback(bareHost(r.URL.Host)): // asked whether it speaks TLS at all
		resp, err := t.wary.RoundTrip(r)
		if _, does := errors.AsType[*tls.CertificateVerificationError](err); !does {
			return resp, err
		}
	}
	secure, err := t.secure()
	if err != nil {
		return nil, err
	}
	return secure.RoundTrip(r)
}

func tlsConfig(ca []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("CA bundle: no certificate in PEM form in it")
		}
	}
	return config, nil
}

// A guard stands under the registry client's authentication and decides what may leave for which host.
//
// Credentials (an Authorization header, or a refresh token in a form) go to the registry's own host, at any
// port, and to hosts under the same registrable domain by the public suffix list: registry.example.com may
// send its users to auth.example.com, index.docker.io to auth.docker.io. Loopback addresses and "localhost" are one host.
// A registry that names a token server anywhere else gets an error instead of a password. Redirects are
// followed three times at most and never from https to http.
type guard struct {
	base http.RoundTripper
	host string // the registry's, normalised
}

// A realmError says that a registry asked for credentials to be sent to somebody else.
type realmError struct{ registry, realm string }

func (e *realmError) Error() string {
	return fmt.Sprintf("registry %s asks to send its credentials to %s, which is not under the same domain: refused", e.registry, e.realm)
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return g.base.RoundTrip(r)
}

func (g *guard) check(r *http.Request) error {
	secret := r.Header.Get("Authorization") != "" ||
		r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/x-www-form-urlencoded"
	if secret && !sameParty(g.host, r.URL.Host) {
		return &realmError{registry: g.host, realm: r.URL.Host}
	}
	n := 0
	for resp := r.Response; resp != nil && resp.Request != nil; resp = resp.Request.Response {
		if n++; n > maxRedirects {
			return fmt.Errorf("registry %s: more than %d redirects", g.host, maxRedirects)
		}
		if resp.Request.URL.Scheme == "https" && r.URL.Scheme != "https" {
			return fmt.Errorf("registry %s redirects from https to %s: refused", g.host, r.URL.Scheme)
		}
	}
	return nil
}

// sameParty says whether two hosts (ports are ignored) belong to one owner.
func sameParty(a, b string) bool {
	a, b = bareHost(a), bareHost(b)
	if a == b || isLoopback(a) && isLoopback(b) {
		return true
	}
	if net.ParseIP(a) != nil || net.ParseIP(b) != nil {
		return false
	}
	da, aerr := publicsuffix.EffectiveTLDPlusOne(a)
	db, berr := publicsuffix.EffectiveTLDPlusOne(b)
	return aerr == nil && berr == nil && da == db
}

func bareHost(s string) string {
	if h, _, err := net.SplitHostPort(s); err == nil {
		s = h
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(s, "[]")), ".")
}
