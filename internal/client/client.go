// Package client speaks the HTTP API of the build service for the command line. It is no copy of the service's law:
// what the service refuses, it says, and an *Error tells it on.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// accept is the version of the API that this client speaks.
const accept = "application/vnd.heroku+json; version=3"

const (
	maxAnswer = 64 << 20 // bytes of one answer
	maxRefuse = 64 << 10 // bytes of an answer that refuses
	maxTries  = 5        // a restart of the service takes some seconds
)

// Options say which service, and as whom.
type Options struct {
	URL       string // https://host[:port], or http:// where nobody can listen
	Token     string // "": none
	UserAgent string
	CA        []byte                           // PEM; nil: what the host trusts
	Proxy     func(*url.URL) (*url.URL, error) // nil: no proxy
}

// A Client asks one service with one token. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	agent string
	http  *http.Client
}

// New makes a Client. It contacts nobody.
func New(o Options) (*Client, error) {
	base, err := ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 2 * time.Minute,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
	}
	if o.Proxy != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) { return o.Proxy(r.URL) }
	}
	if o.CA != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("the certificates to trust: there is none in PEM form")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Client{base: base, token: o.Token, agent: o.UserAgent, http: &http.Client{
		Transport: t,
		// A token goes where it was meant for and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// ParseURL reads the URL of a service in its one form: no credentials, no query, no slash at the end.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("service URL %q: it is no URL: want https://host", s)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Hostname() == "":
		return nil, fmt.Errorf("service URL %q: want https://host", s)
	case u.User != nil:
		return nil, errors.New("service URL: it holds credentials: leave them out, slipway login asks for the token")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("service URL %q: want no more than https://host", s)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: strings.TrimRight(u.Path, "/")}, nil
}

// URL is the service.
func (c *Client) URL() string { return c.base.String() }

// GitURL is where an app is pushed to.
func (c *Client) GitURL(app string) string { return c.base.String() + "/" + app + ".git" }

// A call is one request: in becomes its body and its answer out, where they are not nil.
type call struct {
	method string
	path   []string // segments, as they are
	query  url.Values
	header http.Header
	in     any
	out    any
}

// do makes a call and returns the answer's status and header.
func (c *Client) do(ctx context.Context, r call) (int, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	res, err := c.send(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	if r.out == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxRefuse)) // so that the connection can be used again
		return res.StatusCode, res.Header, nil
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, fmt.Errorf("service %s: read its answer: %w", c.base, err)
	}
	if len(b) > maxAnswer {
		return 0, nil, fmt.Errorf("service %s: its answer has more than %d bytes", c.base, maxAnswer)
	}
	if err := json.Unmarshal(b, r.out); err != nil {
		return 0, nil, fmt.Errorf("service %s: its answer is not what this slipway understands: %w", c.base, err)
	}
	return res.StatusCode, res.Header, nil
}

// send makes a call whose answer is a stream: the caller closes it. A refusal is an *Error.
func (c *Client) send(ctx context.Context, r call) (*http.Response, error) {
	target, err := c.target(r)
	if err != nil {
		return nil, err
	}
	var body []byte
	if r.in != nil {
		if body, err = json.Marshal(r.in); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", accept)
		req.Header.Set("User-Agent", c.agent)
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		if r.in != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		maps.Copy(req.Header, r.header)
		res, err := c.http.Do(req)
		if try < maxTries && again(r.method, res, err) {
			wait := pause(try, res)
			if res != nil {
				res.Body.Close()
			}
			if err := sleep(ctx, wait); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, c.broken(ctx, err)
		}
		if res.StatusCode >= 300 {
			defer res.Body.Close()
			return nil, c.refused(res)
		}
		return res, nil
	}
}

// target is the URL of a call. A segment is text of a user: it must not change the path.
func (c *Client) target(r call) (string, error) {
	var b strings.Builder
	b.WriteString(c.base.String())
	for _, s := range r.path {
		if s == "" || s == "." || s == ".." {
			return "", fmt.Errorf("%q is no name", s)
		}
		b.WriteString("/" + url.PathEscape(s))
	}
	if len(r.query) > 0 {
		b.WriteString("?" + r.query.Encode())
	}
	return b.String(), nil
}

// again tells whether the same request may be made once more: what was never sent may always, and what changes
// nothing by being done twice where a connection broke or a proxy has nobody behind it just now.
func again(method string, res *http.Response, err error) bool {
	same := method == http.MethodGet || method == http.MethodPut
	if err == nil {
		return same && (res.StatusCode == http.StatusBadGateway || res.StatusCode == http.StatusServiceUnavailable)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	return same && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// pause is how long to wait before the next try: what the answer asks for, within reason, else twice as long each
// time, and not all clients at once.
func pause(try int, res *http.Response) time.Duration {
	if res != nil {
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s >= 0 {
			return time.Duration(min(s, 10)) * time.Second
		}
	}
	d := 250 * time.Millisecond << (min(try, 6) - 1)
	return d/2 + rand.N(d)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// broken is an error without an answer. The URL that net/http puts before it may hold a signature.
func (c *Client) broken(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return fmt.Errorf("service %s: %w", c.base, err)
}

// An Error is how the service says no.
type Error struct {
	Status    int    // of HTTP
	ID        string // "not_found", "unauthorized", ...
	Message   string // one line
	RequestID string // finds the request in the service's own log
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, &Error{ID: "not_found"}) true of every error of that kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Status == 0 && t.ID == e.ID
}

// refused makes an error of an answer, whoever gave it.
func (c *Client) refused(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxRefuse))
	e := &Error{Status: res.StatusCode, RequestID: res.Header.Get("Request-Id")}
	var said struct {
		ID      string `json:"id"`
		Message string `json:"message"`
	}
	if json.Unmarshal(b, &said) == nil && said.ID != "" && said.Message != "" {
		e.ID, e.Message = said.ID, said.Message
		return e
	}
	e.ID, e.Message = "unknown", fmt.Sprintf("%s answers HTTP %s: is that the URL of a Slipway service?", c.base, res.Status)
	if to := res.Header.Get("Location"); to != "" && res.StatusCode < 400 {
		e.Message = fmt.Sprintf("%s sends us on to %.200q: log in to that URL, if you know it", c.base, to)
	}
	return e
}

// A Range is the part of a list that is wanted, and in which order.
type Range struct {
	Attribute string // "": the list's own order
	Desc      bool
	Max       int // rows of one page; 0: the service's own number
}

func (r Range) header() string {
	if r.Attribute == "" {
		return ""
	}
	var opts []string
	if r.Desc {
		opts = append(opts, "order=desc")
	}
	if r.Max > 0 {
		opts = append(opts, "max="+strconv.Itoa(r.Max))
	}
	h := r.Attribute + " .."
	if len(opts) > 0 {
		h += "; " + strings.Join(opts, ", ")
	}
	return h
}
