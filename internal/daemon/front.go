package daemon

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/console"
	"github.com/slipway-build/slipway/internal/limit"
)

// headerTime is how long the header of a request may take, from the connection or the first byte on.
const headerTime = 20 * time.Second

// server has no timeouts for whole requests: pushes, uploads and streams set their own as bytes move.
func (d *Daemon) server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}

// handler sends each request to whoever speaks its protocol.
func (d *Daemon) handler(api http.Handler, pages *console.Console) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, deeper := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		switch {
		case first == "v2" && d.images != nil:
			d.imagesHandler.ServeHTTP(w, r)
		case deeper && strings.HasSuffix(first, ".git"):
			d.git.ServeHTTP(w, r)
		case pages.Serves(r):
			pages.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	})
}

// frontServer is where everybody comes: what one client may take of it is bounded.
func (d *Daemon) frontServer(h http.Handler) (*http.Server, net.Listener, error) {
	proxies, err := prefixes("trusted-proxies", d.config.TrustedProxies)
	if err != nil {
		return nil, nil, err
	}
	total := d.config.Connections.Total
	var files syscall.Rlimit // which the runtime has raised to the most that the process may have
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, nil, fmt.Errorf("how many files may be open: %w", err)
	}
	if most := mostOf(files.Cur); total == 0 || total > most {
		total = most
	}
	s := d.server(limit.NewGuard(limit.Rates(d.config.Rates), proxies, d.kind, h))
	l := limit.NewListener(d.front, total, d.config.Connections.Address, proxies)
	l.Attach(s)
	return s, l, nil
}

// kind is what a request counts as.
func (d *Daemon) kind(r *http.Request) limit.Kind {
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case first == "hooks" && r.Method == http.MethodPost:
		return limit.Hook
	case first == "v2" && d.images != nil, strings.HasSuffix(first, ".git"), first == "streams", first == "healthz", first == "readyz", first == "sources" && r.Method == http.MethodPut:
		return limit.Long
	case first == "console" && strings.HasSuffix(rest, "/stream"):
		return limit.Long
	case r.URL.Query().Get("follow") == "true" && strings.HasSuffix(rest, "/log"):
		return limit.Long
	}
	return limit.Call
}

// mostOf is how many of the files that the process may open can be connections: builds and gits need some too.
func mostOf(files uint64) int {
	n := int(min(files, 1<<20))
	return max(n/2, n-4096)
}
