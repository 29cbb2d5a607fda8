package limit

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Kind of request is what it counts as.
type Kind int

// The kinds.
const (
	// Long requests are not counted, for what they cost is bytes and not their number: git, images, uploads and logs that
	// are followed have limits of their own as they go, and a push of one image is hundreds of requests.
	Long Kind = iota
	// Call is a request to the API: it counts for the token and for the address.
	Call
	// Hook is what a forge sends. Many customers' pushes come from the few addresses of one forge.
	Hook
)

// Rates are requests a minute, all of which may come at once; 0 is any number.
type Rates struct {
	Token    int // calls with one token
	Address  int // calls from one address
	Hooks    int // hooks from one address
	Failures int // requests of any kind from one address whose token is wrong
}

// A Guard answers requests that are too many, and passes the others on. It is safe for concurrent use.
type Guard struct {
	next    http.Handler
	kind    func(*http.Request) Kind
	proxies Proxies

	tokens, addresses, hooks, failures *buckets
	// good are tokens that were right the last time: whoever has one is not kept out by others at their address who guess.
	good *memory
}

// NewGuard guards a handler.
func NewGuard(r Rates, p Proxies, kind func(*http.Request) Kind, next http.Handler) *Guard {
	return &Guard{
		next: next, kind: kind, proxies: p, good: newMemory(),
		tokens: newBuckets(r.Token), addresses: newBuckets(r.Address), hooks: newBuckets(r.Hooks), failures: newBuckets(r.Failures),
	}
}

func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	address, token := keyOf(g.proxies.Client(r)), credential(r)
	if token != "" && !g.good.has(token) {
		if l := g.failures.level(address); l.wait > 0 {
			refuse(w, "too many requests with a wrong token came from your address", l.wait)
			return
		}
	}
	switch g.kind(r) {
	case Hook:
		if l := g.hooks.take(address); l.wait > 0 {
			refuse(w, "too many deliveries came from your address", l.wait)
			return
		}
	case Call:
		if !g.call(w, address, token) {
			return
		}
	}
	if token != "" {
		w = &witness{ResponseWriter: w, saw: func(status int) { g.learn(address, token, status) }}
	}
	g.next.ServeHTTP(w, r)
}

// call counts a call, and tells the client what is left.
func (g *Guard) call(w http.ResponseWriter, address, token string) bool {
	left := math.MaxInt
	for _, one := range []struct {
		b         *buckets
		key, what string
	}{{g.addresses, address, "your address"}, {g.tokens, token, "your token"}} {
		if one.key == "" {
			continue
		}
		l := one.b.take(one.key)
		if l.wait > 0 {
			w.Header().Set("RateLimit-Remaining", "0")
			refuse(w, "too many requests came with "+one.what, l.wait)
			return false
		}
		if l.limited {
			left = min(left, l.left)
		}
	}
	if left < math.MaxInt {
		w.Header().Set("RateLimit-Remaining", strconv.Itoa(left))
	}
	return true
}

// learn remembers what became of a token.
func (g *Guard) learn(address, token string, status int) {
	if status == http.StatusUnauthorized {
		g.good.remove(token)
		g.failures.take(address)
		return
	}
	g.good.add(token)
}

// credential is what stands for the token of a request; "" where there is none. The token itself is not kept.
func credential(r *http.Request) string {
	text := r.Header.Get("Authorization")
	if text == "" {
		return ""
	}
	if _, password, ok := r.BasicAuth(); ok {
		text = password
	} else if _, token, ok := strings.Cut(text, " "); ok {
		text = token
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(text)))
	return string(sum[:])
}

// refuse tells a client to come again later.
func refuse(w http.ResponseWriter, why string, wait time.Duration) {
	seconds := int(math.Ceil(wait.Seconds()))
	text, _ := json.Marshal(map[string]string{ // of strings: it cannot fail
		"id": "rate_limit", "message": fmt.Sprintf("%s: try again in %d s", why, seconds),
	})
	h := w.Header()
	h.Set("Retry-After", strconv.Itoa(seconds))
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = w.Write(append(text, '\n'))
}

// A witness sees the status of an answer before the client does.
type witness struct {
	http.ResponseWriter
	saw func(status int)
}

// Unwrap is http.ResponseController's.
func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *witness) WriteHeader(status int) {
	if w.saw != nil && status >= 200 {
		w.saw(status)
		w.saw = nil
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *witness) Write(p []byte) (int, error) {
	if w.saw != nil {
		w.saw(http.StatusOK)
		w.saw = nil
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets a file go to the connection without a copy.
func (w *witness) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// Flush is for handlers that ask for http.Flusher.
func (w *witness) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }
