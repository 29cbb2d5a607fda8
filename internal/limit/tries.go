package limit

import (
	"net/http"
	"time"
)

// Tries bounds how often one address may be wrong at something that Guard does not see, such as a form in which somebody
// signs in. It is safe for concurrent use.
type Tries struct {
	proxies Proxies
	wrong   *buckets
}

// NewTries lets so many tries a minute fail; 0 is any number.
func NewTries(perMinute int, p Proxies) *Tries { return &Tries{p, newBuckets(perMinute)} }

// Wait is how long the address of a request must wait for its next try; 0 is not at all.
func (t *Tries) Wait(r *http.Request) time.Duration {
	return t.wrong.level(keyOf(t.proxies.Client(r))).wait
}

// Failed counts a try that was wrong.
func (t *Tries) Failed(r *http.Request) { t.wrong.take(keyOf(t.proxies.Client(r))) }
