package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// A front is the one port by which an app is reached, whichever container is behind it: those have ports of their own, so
// that one can take over from another. It carries bytes and knows nothing of HTTP. With nothing behind it connections are
// reset.
type front struct {
	l      net.Listener
	to     atomic.Pointer[unit]
	ctx    context.Context
	stop   context.CancelFunc
	open   chan struct{} // holds one for each connection
	wg     sync.WaitGroup
	hosted string // address
}

const (
	firstPort, lastPort = 20000, 29999 // none that the kernel gives to anybody by itself
	portTries           = 50
	maxConnections      = 1024 // of one app
)

// takePort opens the port that a deployer has, or chooses one for it.
func takePort(ctx context.Context, s *store.Store, d build.Deployer, address string) (*front, error) {
	if d.Port > 0 {
		f, err := listen(address, d.Port)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("port %d of %s, which is the app's, is taken by another program on this machine", d.Port, address)
		}
		return f, err
	}
	for range portTries {
		f, err := listen(address, firstPort+rand.IntN(lastPort-firstPort+1))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = s.TakePort(ctx, d.App, f.port())
		if err == nil {
			return f, nil
		}
		f.close()
		if !errors.Is(err, build.ErrConflict) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no port between %d and %d of %s is free", firstPort, lastPort, address)
}

func listen(address string, port int) (*front, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen for the app: %w", err)
	}
	f := &front{l: l, open: make(chan struct{}, maxConnections), hosted: address}
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.wg.Go(f.accept)
	return f, nil
}

func (f *front) port() int { return f.l.Addr().(*net.TCPAddr).Port }

func (f *front) accept() {
	for {
		c, err := f.l.Accept()
		if err != nil {
			if f.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // no file left, perhaps
			continue
		}
		select {
		case f.open <- struct{}{}:
			f.wg.Go(func() { defer func() { <-f.open }(); f.carry(c.(*net.TCPConn)) })
		default: // who has so many open has to wait
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}
}

// carry copies a connection both ways until both sides have ended.
func (f *front) carry(c *net.TCPConn) {
	defer c.Close()
	address := ""
	if u := f.to.Load(); u != nil {
		address = u.address()
	}
	var to net.Conn
	err := errors.New("nothing runs")
	if address != "" {
		to, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(f.ctx, "tcp", address)
	}
	if err != nil {
		_ = c.SetLinger(0) // refused, as it were
		return
	}
	defer to.Close()
	defer context.AfterFunc(f.ctx, func() { c.Close(); to.Close() })()
	var wg sync.WaitGroup
	app := to.(*net.TCPConn)
	wg.Go(func() {
		_, _ = io.Copy(app, c) // either side's error ends the connection
		_ = app.CloseWrite()
	})
	wg.Go(func() {
		_, _ = io.Copy(c, app)
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(lingerTime)) // the app has said all: who stays is not listened to for ever
	})
	wg.Wait()
}

// lingerTime is how long a client may take to go when its app has.
const lingerTime = 10 * time.Second

// close ends all connections.
func (f *front) close() {
	if f == nil {
		return
	}
	f.stop()
	f.l.Close()
	f.wg.Wait()
}
