package limit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// A room is a server with few connections.
type room struct {
	t        *testing.T
	listener *Listener
	at       string
	inside   chan struct{} // a request to /stay is there
	letGo    chan struct{}
}

func newRoom(t *testing.T, total, each int, proxies Proxies) *room {
	t.Helper()
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &room{t: t, listener: NewListener(in, total, each, proxies), at: in.Addr().String(), inside: make(chan struct{}), letGo: make(chan struct{})}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/stay" {
			r.inside <- struct{}{}
			<-r.letGo
		}
		io.WriteString(w, "ok")
	})}
	r.listener.Attach(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(r.listener) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return r
}

// come connects from an address of this machine.
func (r *room) come(from string) net.Conn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(r.t.Context(), "tcp", r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *room) say(c net.Conn, text string) {
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Error(err)
	}
}

// stay asks for what is not answered before letGo.
func (r *room) stay(c net.Conn) {
	r.t.Helper()
	r.say(c, "GET /stay HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-r.inside:
	case <-time.After(time.Minute):
		r.t.Fatal("the request did not arrive")
	}
}

// idles waits until the server has a connection for idle, which it says only after the answer.
func (r *room) idles(c net.Conn) {
	r.t.Helper()
	for range 6000 {
		r.listener.mu.Lock()
		for e := r.listener.waiting.idle.Front(); e != nil; e = e.Next() {
			if e.Value.(*conn).RemoteAddr().String() == c.LocalAddr().String() {
				r.listener.mu.Unlock()
				return
			}
		}
		r.listener.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatal("a connection that was answered is not idle")
}

// answered asks, wants an answer, and leaves the connection idle.
func (r *room) answered(c net.Conn) {
	r.t.Helper()
	r.say(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "ok" {
		r.t.Errorf("%q, %v", text, err)
	}
	r.idles(c)
}

// gone wants a connection to be closed.
func (r *room) gone(c net.Conn) {
	r.t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		r.t.Error("it is answered")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		r.t.Error("it is not closed")
	}
}

func (r *room) open() int {
	r.listener.mu.Lock()
	defer r.listener.mu.Unlock()
	return r.listener.open
}

const partOfHeader = "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "

// TestListenerMakesRoom: who holds connections loses the oldest of them to whoever comes, those first that never asked for
// anything; who is served loses none.
func TestListenerMakesRoom(t *testing.T) {
	r := newRoom(t, 5, 0, nil)
	staying := r.come("127.0.0.1")
	r.stay(staying)
	idle := r.come("127.0.0.1")
	r.answered(idle)
	var slow []net.Conn
	for i := range 3 {
		slow = append(slow, r.come(fmt.Sprintf("127.0.0.%d", 2+i)))
		r.say(slow[i], partOfHeader)
	}
	r.answered(r.come("127.0.0.9")) // and is idle then
	r.gone(slow[0])
	for i := range 2 {
		r.say(slow[1+i], "y")
	}
	r.answered(r.come("127.0.0.9"))
	r.gone(slow[1])
	r.answered(r.come("127.0.0.9"))
	r.gone(slow[2])
	r.answered(r.come("127.0.0.9")) // nobody is fresh: the one that is idle for longest goes
	r.gone(idle)
	if n := r.open(); n != 5 {
		t.Errorf("%d connections are open", n)
	}
	close(r.letGo)
	res, err := http.ReadResponse(bufio.NewReader(staying), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}

// TestListenerEach: one address makes room for itself, and nobody else for it; one that has no room is turned away. A
// proxy's connections are not one client's.
func TestListenerEach(t *testing.T) {
	r := newRoom(t, 0, 2, Proxies{netip.MustParsePrefix("127.0.0.5/32")})
	other := r.come("127.0.0.2")
	r.say(other, partOfHeader)
	first, second := r.come("127.0.0.1"), r.come("127.0.0.1")
	r.say(first, partOfHeader)
	r.say(second, partOfHeader)
	r.answered(r.come("127.0.0.1"))
	r.gone(first)
	for range 2 {
		r.stay(r.come("127.0.0.1"))
	}
	r.gone(second)
	r.gone(r.come("127.0.0.1")) // all of this address are at work
	r.say(other, "y\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(other), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	for range 5 {
		r.answered(r.come("127.0.0.5"))
	}
	if n := r.open(); n != 8 {
		t.Errorf("%d connections are open", n)
	}
	close(r.letGo)
}
