package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// maxRedirects is how often a server may send a fetch elsewhere.
const maxRedirects = 3

// Tarball fetches an archive and writes it to w as it comes. The checksum is known when it has come: what was written
// is worth nothing when the error is not nil.
func (f *Fetcher) Tarball(ctx context.Context, u TarballURL, want Sum, limits Limits, w io.Writer) (Sum, error) {
	limits = limits.withDefaults()
	if want == "" && f.NeedSum {
		return "", fmt.Errorf("fetch %s: give its checksum, SHA256:<hex>: this service takes no tarball without", u)
	}
	if u.u.Scheme == "http" && !f.HTTP {
		return "", fmt.Errorf("fetch %s: tarballs are fetched by https only", u)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Time, limits.tooSlow(u.String()))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stall := time.AfterFunc(limits.Stall, func() { stop(limits.stalled(u.String())) })
	defer stall.Stop()
	got, err := f.download(ctx, u, limits, w, func() { stall.Reset(limits.Stall) })
	if err != nil {
		if own, ok := errors.AsType[*LimitError](err); ok && context.Cause(ctx) == nil {
			return "", own
		}
		return "", fail(ctx, u.String(), err, u.secrets())
	}
	if want != "" && got != want {
		return "", &SumError{u.String(), want, got}
	}
	return got, nil
}

func (f *Fetcher) download(ctx context.Context, u TarballURL, limits Limits, w io.Writer, alive func()) (_ Sum, err error) {
	client, err := f.client(limits)
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	full := u.u
	full.User = u.user
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, full.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "slipway")
	req.Header.Set("Accept", "*/*")
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL
		}
		return "", err
	}
	defer resp.Body.Close()
	alive()
	if resp.StatusCode != http.StatusOK {
		return "", &StatusError{u.String(), resp.StatusCode}
	}
	if resp.ContentLength > limits.Archive {
		return "", &LimitError{u.String(), fmt.Sprintf("it has %d bytes, the limit is %d", resp.ContentLength, limits.Archive)}
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(&watched{resp.Body, alive}, limits.Archive+1))
	if err != nil {
		return "", err
	}
	if n > limits.Archive {
		return "", limits.tooLarge(u.String())
	}
	return sumOf(h.Sum(nil)), nil
}

// client is an HTTP client for one fetch. Without a proxy, what it connects to is what the dialer looks at.
func (f *Fetcher) client(limits Limits) (*http.Client, error) {
	t, err := f.Transport(limits.Stall)
	if err != nil {
		return nil, err
	}
	if f.Proxy != nil {
		f.through(t)
	}
	return &http.Client{Transport: t, CheckRedirect: f.redirect}, nil
}

// through has t take the Fetcher's proxies, which are connected to wherever they are. An address that the dialer would
// refuse is not asked of a proxy either.
func (f *Fetcher) through(t *http.Transport) {
	var proxies sync.Map // of host:port
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		p, err := f.Proxy(r.URL)
		if p == nil || err != nil {
			return nil, err
		}
		if a, err := netip.ParseAddr(r.URL.Hostname()); err == nil {
			if err := f.Dialer.check(r.URL.Hostname(), a); err != nil {
				return nil, err
			}
		}
		port := p.Port()
		if port == "" {
			port = map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}[p.Scheme]
		}
		proxies.Store(net.JoinHostPort(p.Hostname(), cmp.Or(port, "80")), true)
		return p, nil
	}
	plain := &net.Dialer{Timeout: 30 * time.Second}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ok := proxies.Load(address); ok {
			return plain.DialContext(ctx, network, address)
		}
		return f.Dialer.DialContext(ctx, network, address)
	}
}

// Transport connects where the Fetcher may, and trusts whom it trusts. A server that says nothing for stall has failed.
func (f *Fetcher) Transport(stall time.Duration) (*http.Transport, error) {
	roots, err := f.roots()
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		DialContext:            f.Dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    stall,
		ResponseHeaderTimeout:  stall,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
		DisableCompression:     true, // the checksum is of what the server has
		ForceAttemptHTTP2:      true,
	}, nil
}

// redirect lets a server send us on: a few times, never from https to http, and without credentials to another host.
func (f *Fetcher) redirect(req *http.Request, via []*http.Request) error {
	last := via[len(via)-1].URL
	req.Header.Del("Referer") // which would tell another server our query
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("the server redirects more than %d times", maxRedirects)
	case req.URL.Scheme != "https" && req.URL.Scheme != "http":
		return fmt.Errorf("the server redirects to a URL of the scheme %.20q", req.URL.Scheme)
	case req.URL.Scheme == "http" && last.Scheme == "https":
		return fmt.Errorf("the server redirects from https to http on %.200q", req.URL.Host)
	case req.URL.Scheme == "http" && !f.HTTP:
		return fmt.Errorf("the server redirects to http on %.200q", req.URL.Host)
	}
	return nil // credentials are of the URL, and stay with its host
}

// watched says when something was read.
type watched struct {
	r     io.Reader
	alive func()
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if n > 0 {
		w.alive()
	}
	return n, err
}
