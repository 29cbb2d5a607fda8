package limit

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A desk is a guard before a handler that knows one token, and a clock that stands.
type desk struct {
	*Guard
	clock  time.Time
	served int
}

func newDesk(r Rates) *desk {
	d := &desk{clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	kind := func(r *http.Request) Kind {
		switch {
		case strings.HasPrefix(r.URL.Path, "/hooks/"):
			return Hook
		case strings.HasPrefix(r.URL.Path, "/v2/"):
			return Long
		}
		return Call
	}
	d.Guard = NewGuard(r, Proxies{netip.MustParsePrefix("10.0.0.0/8")}, kind, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.served++
		_, password, _ := r.BasicAuth()
		if auth := r.Header.Get("Authorization"); auth != "" && !strings.HasPrefix(auth, "Bearer good") && !strings.HasPrefix(password, "good") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "served")
	}))
	for _, b := range []*buckets{d.tokens, d.addresses, d.hooks, d.failures} {
		if b != nil {
			b.now = func() time.Time { return d.clock }
		}
	}
	return d
}

// ask asks from an address; headers are "Name: value".
func (d *desk) ask(path, from string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, nil)
	r.RemoteAddr = from
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func wantLimited(t *testing.T, w *httptest.ResponseRecorder, part string, after int) {
	t.Helper()
	var p struct{ ID, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 429 || p.ID != "rate_limit" || !strings.Contains(p.Message, part) ||
		w.Header().Get("Retry-After") != strconv.Itoa(after) || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s, want 429 about %q after %d s", w.Code, w.Header(), w.Body, part, after)
	}
}

func wantServed(t *testing.T, w *httptest.ResponseRecorder, left string) {
	t.Helper()
	if w.Code == 429 || w.Header().Get("RateLimit-Remaining") != left {
		t.Errorf("%d %v %s, want it served with %q left", w.Code, w.Header(), w.Body, left)
	}
}

// TestRates: calls count for the token and the address, hooks for the address apart from them, the rest for nothing; time
// gives back, and nobody but who asks is kept waiting.
func TestRates(t *testing.T) {
	d := newDesk(Rates{Token: 6, Address: 12, Hooks: 30})
	for i := range 6 {
		wantServed(t, d.ask("/apps", "192.0.2.1:1000", "Authorization: Bearer good"), strconv.Itoa(5-i))
	}
	wantLimited(t, d.ask("/apps", "192.0.2.1:1001", "Authorization: Bearer good"), "your token", 10)
	basic := httptest.NewRequest("GET", "/", nil)
	basic.SetBasicAuth("x", "good")
	wantLimited(t, d.ask("/apps", "192.0.2.9:1", "Authorization: "+basic.Header.Get("Authorization")), "your token", 10)
	for i := range 5 {
		wantServed(t, d.ask("/apps", "192.0.2.1:1"), strconv.Itoa(4-i))
	}
	wantLimited(t, d.ask("/apps", "192.0.2.1:1", "Authorization: Bearer good2"), "your address", 5)
	for range 20 {
		wantServed(t, d.ask("/v2/shop/blobs/uploads/", "192.0.2.1:1", "Authorization: Bearer good"), "")
	}
	for range 30 {
		wantServed(t, d.ask("/hooks/abc", "192.0.2.1:1"), "")
	}
	wantLimited(t, d.ask("/hooks/abc", "192.0.2.1:1"), "deliveries", 2)
	wantServed(t, d.ask("/hooks/abc", "192.0.2.2:1"), "")
	d.clock = d.clock.Add(10 * time.Second)
	wantServed(t, d.ask("/apps", "192.0.2.1:1", "Authorization: Bearer good"), "0")
	wantServed(t, d.ask("/apps", "192.0.2.3:1", "Authorization: Bearer good2"), "5")
	free := newDesk(Rates{})
	for range 1000 {
		wantServed(t, free.ask("/apps", "192.0.2.1:1", "Authorization: Bearer x"), "")
	}
}

// TestFailures: who guesses tokens is kept out, and whoever is at the same address with a right one is not.
func TestFailures(t *testing.T) {
	d := newDesk(Rates{Failures: 3})
	const here = "192.0.2.1:1"
	d.ask("/apps", here, "Authorization: Bearer good")
	for i := range 3 {
		if w := d.ask("/apps", here, fmt.Sprintf("Authorization: Bearer guess%d", i)); w.Code != 401 {
			t.Errorf("guess %d: %d", i, w.Code)
		}
	}
	before := d.served
	for _, path := range []string{"/apps", "/v2/", "/hooks/x"} {
		wantLimited(t, d.ask(path, here, "Authorization: Bearer guess"), "wrong token", 20)
	}
	wantLimited(t, d.ask("/apps", here, "Authorization: Bearer good-but-new"), "wrong token", 20)
	if d.served != before {
		t.Error("a guess was looked at")
	}
	wantServed(t, d.ask("/apps", here, "Authorization: Bearer good"), "")
	wantServed(t, d.ask("/apps", here), "")
	wantServed(t, d.ask("/apps", "192.0.2.2:1", "Authorization: Bearer good-but-new"), "")
	d.clock = d.clock.Add(20 * time.Second)
	if w := d.ask("/apps", here, "Authorization: Bearer guess"); w.Code != 401 {
		t.Errorf("later: %d", w.Code)
	}
}

// TestClient is whose address counts.
func TestClient(t *testing.T) {
	p := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, one := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:9", nil, "192.0.2.1"},
		{"192.0.2.1:9", []string{"198.51.100.1"}, "192.0.2.1"}, // it says so itself
		{"10.1.1.1:9", nil, "10.1.1.1"},
		{"10.1.1.1:9", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.1.1:9", []string{"203.0.113.5, 198.51.100.1"}, "198.51.100.1"},
		{"10.1.1.1:9", []string{"203.0.113.5", "198.51.100.1, 10.2.2.2"}, "198.51.100.1"},
		{"10.1.1.1:9", []string{"10.3.3.3, 10.2.2.2"}, "10.3.3.3"},
		{"10.1.1.1:9", []string{"<script>, 10.2.2.2"}, "10.2.2.2"},
		{"10.1.1.1:9", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"[::ffff:10.1.1.1]:9", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"[fd00::1]:9", []string{"2001:db8::1"}, "2001:db8::1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = one.remote
		for _, line := range one.forwarded {
			r.Header.Add("X-Forwarded-For", line)
		}
		if got := p.Client(r).String(); got != one.want {
			t.Errorf("%s for %q is %s, want %s", one.remote, one.forwarded, got, one.want)
		}
	}
	if a, b := keyOf(netip.MustParseAddr("2001:db8::1")), keyOf(netip.MustParseAddr("2001:db8::ffff:1")); a != b {
		t.Errorf("one network is %s and %s", a, b)
	}
}

// TestBounded: what is kept of clients has a bound, and whoever comes often stays in it.
func TestBounded(t *testing.T) {
	b := newBuckets(2)
	now := time.Now()
	b.now = func() time.Time { return now }
	m := newMemory()
	for i := range 3 * mostKeys {
		b.take("often")
		b.take(strconv.Itoa(i))
		m.add(strconv.Itoa(i))
	}
	if len(b.all) != mostKeys || b.used.Len() != mostKeys || len(m.all) != mostKeys || m.order.Len() != mostKeys {
		t.Errorf("%d and %d buckets, %d and %d tokens", len(b.all), b.used.Len(), len(m.all), m.order.Len())
	}
	if b.take("often").wait == 0 || m.has("0") || !m.has(strconv.Itoa(3*mostKeys-1)) {
		t.Error("the wrong ones were forgotten")
	}
	m.remove("0")
	m.remove(strconv.Itoa(3*mostKeys - 1))
	if len(m.all) != mostKeys-1 || m.order.Len() != mostKeys-1 {
		t.Error("what was removed is there")
	}
}
