package limit

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// A Listener bounds connections, in all and of one address, without keeping anybody out for those who only hold theirs:
// where there are too many, the one goes that has waited longest and has never asked for anything, else the one that has
// asked for nothing since its last answer. Only where all are at work, a new one is turned away.
//
// It is an http.Server's, which tells it what connections do: see Attach.
type Listener struct {
	net.Listener
	total, each int // 0: any number
	proxies     Proxies

	mu        sync.Mutex
	open      int
	waiting   queues
	addresses map[string]*address
}

// An address has as many queues as the whole.
type address struct {
	open    int
	waiting queues
}

// queues are connections that wait for a request, those first that have waited longest: fresh ones, which have never
// had one, and idle ones.
type queues struct{ fresh, idle list.List }

// oldest is the one to go, nil where none waits.
func (q *queues) oldest() *conn {
	for _, l := range []*list.List{&q.fresh, &q.idle} {
		if e := l.Front(); e != nil {
			return e.Value.(*conn)
		}
	}
	return nil
}

// NewListener bounds the connections that l accepts to total in all and each of one address; those of proxies are many
// clients' and have no limit of their own.
func NewListener(l net.Listener, total, each int, proxies Proxies) *Listener {
	return &Listener{Listener: l, total: total, each: each, proxies: proxies, addresses: map[string]*address{}}
}

// Attach has a server tell the listener what its connections do.
func (l *Listener) Attach(s *http.Server) {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*conn); ok && state == http.StateIdle {
			c.wait(false)
		}
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			c.work()
		}
		next.ServeHTTP(w, r)
	})
}

type connKey struct{}

// Accept is net.Listener's.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		in, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := in.(*net.TCPConn)
		if !ok {
			return in, nil
		}
		c := &conn{TCPConn: tcp, of: l}
		if a, err := netip.ParseAddrPort(in.RemoteAddr().String()); err == nil && !l.proxies.has(a.Addr().Unmap()) {
			c.key = keyOf(a.Addr().Unmap().WithZone(""))
		}
		gone, admitted := l.admit(c)
		for _, g := range gone {
			_ = g.Close()
		}
		if admitted {
			return c, nil
		}
		_ = tcp.Close()
	}
}

// admit makes room for a connection. Those that go are to be closed.
func (l *Listener) admit(c *conn) (gone []*conn, admitted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.address = l.addresses[c.key]; c.address == nil {
		c.address = &address{}
	}
	free := func(open, most int, q *queues) bool {
		if most <= 0 || open < most {
			return true
		}
		old := q.oldest()
		if old != nil {
			old.leave()
			gone = append(gone, old)
		}
		return old != nil
	}
	if c.key != "" && !free(c.address.open, l.each, &c.address.waiting) || !free(l.open, l.total, &l.waiting) {
		return gone, false
	}
	l.addresses[c.key] = c.address // leave may have removed it
	l.open++
	c.address.open++
	c.enter(true)
	return gone, true
}

// A conn is a connection that is counted. Its fields are the listener's, which has the lock.
type conn struct {
	*net.TCPConn
	of      *Listener
	key     string // "" for a proxy's
	address *address
	left    bool

	queued        *list.Element // in the listener's queue and in the address's; nil while it works
	queuedAddress *list.Element
	fresh         bool // which of the queues
}

// wait queues a connection that asks for nothing.
func (c *conn) wait(fresh bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if !c.left && c.queued == nil {
		c.enter(fresh)
	}
}

// work takes it out: a request came.
func (c *conn) work() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.dequeue()
}

// Close is net.Conn's.
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.leave()
	c.of.mu.Unlock()
	return c.TCPConn.Close()
}

func (c *conn) queue(q *queues) *list.List {
	if c.fresh {
		return &q.fresh
	}
	return &q.idle
}

// enter, dequeue and leave need the lock.
func (c *conn) enter(fresh bool) {
	c.fresh = fresh
	c.queued = c.queue(&c.of.waiting).PushBack(c)
	c.queuedAddress = c.queue(&c.address.waiting).PushBack(c)
}

func (c *conn) dequeue() {
	if c.queued != nil {
		c.queue(&c.of.waiting).Remove(c.queued)
		c.queue(&c.address.waiting).Remove(c.queuedAddress)
		c.queued, c.queuedAddress = nil, nil
	}
}

func (c *conn) leave() {
	if c.left {
		return
	}
	c.left = true
	c.dequeue()
	c.of.open--
	if c.address.open--; c.address.open == 0 {
		delete(c.of.addresses, c.key)
	}
}
