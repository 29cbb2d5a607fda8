package fetch

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// A proxy stands between one git and the network while a fetch lasts: it makes git's connections, by the dialer, counts
// what comes, and closes connections on which nothing moves. It also tells our askpass (see Askpass) the credentials.
// Only who knows its password, which git's environment has, is served.
type proxy struct {
	fetcher  *Fetcher
	limits   Limits
	url      string
	password string
	answer   func(prompt string) (string, bool)
	over     context.CancelCauseFunc // ends the fetch when too much came

	ctx      context.Context // ends when the proxy does
	cancel   context.CancelFunc
	listener net.Listener
	server   *http.Server
	work     sync.WaitGroup
	came     atomic.Int64
	mu       sync.Mutex
	stopped  bool
	cause    error // why a connection was not made, or ended
}

// startProxy begins to serve. Who started it calls stop.
func startProxy(ctx context.Context, f *Fetcher, url string, limits Limits, over context.CancelCauseFunc, answer func(string) (string, bool)) (*proxy, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{fetcher: f, limits: limits, url: url, password: rand.Text(), answer: answer, over: over, listener: l}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: limits.Stall, MaxHeaderBytes: 64 << 10}
	p.work.Go(func() { _ = p.server.Serve(l) }) // it ends by stop alone
	return p, nil
}

// stop ends all connections and returns when nothing of the proxy runs.
func (p *proxy) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.cancel()
	_ = p.server.Close()
	p.work.Wait()
}

const proxyUser = "slipway"

// address is the proxy's URL with its password: for the environment of git alone.
func (p *proxy) address() string {
	u := url.URL{Scheme: "http", User: url.UserPassword(proxyUser, p.password), Host: p.listener.Addr().String()}
	return u.String()
}

// why is what kept git from the network, if that was the proxy.
func (p *proxy) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

func (p *proxy) because(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause == nil {
		p.cause = err
	}
}

// begin counts a request that stop waits for.
func (p *proxy) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.work.Add(1)
	}
	return !p.stopped
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !p.begin() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer p.work.Done()
	if req.Method == http.MethodConnect {
		req.Header.Set("Authorization", req.Header.Get("Proxy-Authorization"))
	}
	if _, pw, _ := req.BasicAuth(); subtle.ConstantTimeCompare([]byte(pw), []byte(p.password)) != 1 {
		w.Header().Set("Proxy-Authenticate", `Basic realm="slipway"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	switch req.Method {
	case http.MethodConnect:
		p.connect(w, req)
	case http.MethodPost:
		prompt, err := io.ReadAll(io.LimitReader(req.Body, 2*maxURL))
		if answer, ok := p.answer(string(prompt)); ok && err == nil {
			_, _ = io.WriteString(w, answer)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// connect makes one connection for git and carries it until an end closes it.
func (p *proxy) connect(w http.ResponseWriter, req *http.Request) {
	far, err := p.fetcher.Dialer.DialContext(p.ctx, "tcp", req.Host)
	if err != nil {
		p.because(err)
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer near.Close()
	defer context.AfterFunc(p.ctx, func() { near.Close(); far.Close() })()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connected\r\n\r\n"); err != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(&carrier{far, func(int) error { return nil }, far, p.limits.Stall}, rest.Reader) // its end is seen at the other
		_ = far.Close()
	})
	_, err = io.Copy(&carrier{near, p.count, far, p.limits.Stall}, far)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		p.because(p.limits.stalled(p.url))
	}
	_ = near.Close()
	up.Wait()
}

// count adds up what comes from the network.
func (p *proxy) count(n int) error {
	if p.came.Add(int64(n)) <= p.limits.Archive {
		return nil
	}
	err := p.limits.tooLarge(p.url)
	p.over(err)
	return err
}

// A carrier writes, and with each write gives the far end time to send something.
type carrier struct {
	w     io.Writer
	count func(int) error
	far   net.Conn
	stall time.Duration
}

func (c *carrier) Write(b []byte) (int, error) {
	if err := c.count(len(b)); err != nil {
		return 0, err
	}
	if err := c.far.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.w.Write(b)
}
