package daemon_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	slowConns = flag.Int("slow.connections", 300, "connections that TestSlowConnections holds")
	slowAsks  = flag.Int("slow.requests", 100, "requests that others make meanwhile")
)

// slowPerAddress is how many of them come from one address.
const slowPerAddress = 250

// A crawl is many connections that send a byte now and then and never end: parts of headers, and of bodies.
type crawl struct {
	l     *lane
	alive atomic.Int64 // connections that are open
	lost  atomic.Int64 // that the service has closed, or not taken
}

// one holds a connection open, and another when that is closed, until ctx ends.
func (c *crawl) one(ctx context.Context, i int) {
	a := i / slowPerAddress
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(a>>8), byte(2+a))}, Timeout: 30 * time.Second}
	for ctx.Err() == nil {
		conn, err := d.DialContext(ctx, "tcp", c.l.address())
		if err == nil {
			c.alive.Add(1)
			c.dawdle(ctx, conn, i)
			c.alive.Add(-1)
			conn.Close()
		}
		if ctx.Err() == nil {
			c.lost.Add(1)
			pause(ctx, time.Second)
		}
	}
}

// dawdle sends until it cannot: of three connections one sends the body of a request, the others its header.
func (c *crawl) dawdle(ctx context.Context, conn net.Conn, i int) {
	start := "GET /apps HTTP/1.1\r\nHost: x\r\nX-Slow: "
	if i%3 == 0 {
		start = "POST /apps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + c.l.token + "\r\nContent-Length: 100000\r\n\r\n{"
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, err := io.WriteString(conn, start)
	for err == nil && ctx.Err() == nil {
		pause(ctx, time.Second+rand.N(4*time.Second))
		_, err = io.WriteString(conn, " ")
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// TestSlowConnections: however many connections somebody holds that hardly move, others are served. -slow.connections=10000
// -slow.requests=2000 -v shows how soon.
func TestSlowConnections(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < uint64(*slowConns+500) {
		t.Fatalf("%d files may be open (%v): too few for %d connections; raise the hard limit (ulimit -Hn)", files.Cur, err, *slowConns)
	}
	l := newLane(t)
	l.start(t)
	a := l.newApp(t, nil)
	ctx, end := context.WithCancel(t.Context())
	c := &crawl{l: l}
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	for i := range *slowConns {
		all.Go(func() { c.one(ctx, i) })
		if i%100 == 99 {
			pause(ctx, 20*time.Millisecond)
		}
	}
	eventually(t, "the slow ones are there", func() bool { return c.alive.Load()+c.lost.Load() >= int64(*slowConns) })
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	var took []time.Duration
	for i := range *slowAsks {
		if i%10 == 0 {
			client.CloseIdleConnections() // and one comes anew
		}
		path := []string{"/apps/" + a.name, "/account", "/apps/" + a.name + "/builds", "/status"}[i%4]
		began := time.Now()
		req := must(http.NewRequestWithContext(t.Context(), "GET", l.url+path, nil))(t)
		req.Header.Set("Authorization", "Bearer "+l.token)
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("request %d, with %d slow connections: %v", i, c.alive.Load(), err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if took = append(took, time.Since(began)); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %d, %v: %.300s", i, res.StatusCode, err, text)
		}
		pause(ctx, 5*time.Millisecond)
	}
	slices.Sort(took)
	t.Logf("%d slow connections (%d were closed by the service), %d requests beside them: p50 %s, p99 %s, at most %s; the service has %s",
		c.alive.Load(), c.lost.Load(), len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], resident(l.process.Process.Pid))
	end()
	all.Wait()
	l.stop(t)
}

// resident is how much memory a process has.
func resident(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}
