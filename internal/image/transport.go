package image

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/publicsuffix"
)

// maxRedirects bounds a chain of redirects: registries use one, to their storage.
const maxRedirects = 3

// newTransport is the client side of every registry connection.
func newTransport(ca []byte, env []string) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("CA bundle: no certificate in PEM form in it")
		}
		config.RootCAs = pool
	}
	lookup := func(n string) string {
		if v := envValue(env, n); v != "" {
			return v
		}
		return envValue(env, strings.ToLower(n))
	}
	proxy := httpproxy.Config{HTTPProxy: lookup("HTTP_PROXY"), HTTPSProxy: lookup("HTTPS_PROXY"), NoProxy: lookup("NO_PROXY")}
	proxyFor := proxy.ProxyFunc()
	return &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return proxyFor(r.URL) },
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute, // a registry may hash a whole blob before it answers
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   2 * copyJobs,
		MaxIdleConns:          64,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // blobs are compressed, and their bytes are what is hashed
		WriteBufferSize:       1 << 17,
		ReadBufferSize:        1 << 17,
	}, nil
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
