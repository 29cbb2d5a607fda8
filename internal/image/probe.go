package image

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// A Prober asks whether images are there, many of them: by HEAD, once each, with one log-in for a repository. It is safe
// for concurrent use.
type Prober struct {
	g *Registry

	mu      sync.Mutex
	pullers map[string]*remote.Puller // by repository
}

// NewProber begins to ask. Nobody is asked yet.
func (g *Registry) NewProber() *Prober {
	return &Prober{g: g, pullers: map[string]*remote.Puller{}}
}

// A Probe is how a registry answered.
type Probe struct {
	Status     int           // of the last answer; 0 where there was none
	Host       string        // that gave it: another than the registry's where it was redirected
	There      bool          // something is there under this digest or tag
	Digest     string        // of what is there, where the registry says it
	RetryAfter time.Duration // for how long it wants not to be asked
}

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = 24 * time.Hour

// Probe asks once. The error is why there is no image, or no answer.
func (p *Prober) Probe(ctx context.Context, ref Ref) (Probe, error) {
	r, err := p.g.reference(ref)
	if err != nil {
		return Probe{}, err
	}
	puller, err := p.puller(ref)
	if err != nil {
		return Probe{}, err
	}
	answer := &answer{}
	_, err = puller.Head(context.WithValue(ctx, answerKey{}, answer), r)
	got := answer.get()
	if err == nil {
		return got, nil
	}
	if te, ok := errors.AsType[*transport.Error](err); ok {
		got.Status = te.StatusCode
	}
	if got.Status != http.StatusNotFound { // a log-in that failed is not to be remembered
		p.mu.Lock()
		delete(p.pullers, ref.repo.Name())
		p.mu.Unlock()
	}
	return got, p.g.failed("read", ref, err)
}

func (p *Prober) puller(ref Ref) (*remote.Puller, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := ref.repo.Name()
	if pl := p.pullers[key]; pl != nil {
		return pl, nil
	}
	once := remote.Backoff{Steps: 1}
	pl, err := remote.NewPuller(
		remote.WithTransport(&noting{&guard{base: p.g.base, host: ref.Host()}}), remote.WithAuthFromKeychain(p.g.keychain),
		remote.WithUserAgent(p.g.userAgent), remote.WithRetryBackoff(once), remote.WithRetryStatusCodes())
	if err == nil {
		p.pullers[key] = pl
	}
	return pl, err
}

// answerKey is the key of an *answer in a context.
type answerKey struct{}

// An answer is the last response to the requests of one probe.
type answer struct {
	mu sync.Mutex
	Probe
}

func (a *answer) get() Probe {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Probe
}

func (a *answer) set(p Probe) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Probe = p
}

// noting notes what came.
type noting struct{ base http.RoundTripper }

// RoundTrip is http.RoundTripper's.
func (n *noting) RoundTrip(r *http.Request) (*http.Response, error) {
	a, ok := r.Context().Value(answerKey{}).(*answer)
	if !ok {
		return n.base.RoundTrip(r)
	}
	a.set(Probe{}) // what is said to a log-in is no answer to what comes after it
	resp, err := n.base.RoundTrip(r)
	if err == nil {
		a.set(Probe{
			Status: resp.StatusCode, Host: r.URL.Host, Digest: resp.Header.Get("Docker-Content-Digest"),
			There:      resp.StatusCode == http.StatusOK && strings.Contains(asked(r).URL.Path, "/manifests/"),
			RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now()),
		})
	}
	return resp, err
}

// asked is the request that redirects have led from.
func asked(r *http.Request) *http.Request {
	for r.Response != nil && r.Response.Request != nil {
		r = r.Response.Request
	}
	return r
}

// retryAfter reads the header of that name: seconds, or a time.
func retryAfter(text string, now time.Time) time.Duration {
	d := time.Duration(0)
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// SameOwner says whether two hosts, with or without ports, are one or of one domain.
func SameOwner(a, b string) bool { return sameParty(a, b) }
