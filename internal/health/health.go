// Package health finds out whether the images that an index of buildpacks names are still there: a HEAD for each address,
// with care for who is asked. It keeps the last results in a file beside the index. It changes no index.
package health

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
)

// A State is what was found out of one address.
type State string

// The states.
const (
	OK          State = "ok"
	Dead        State = "dead"        // the registry says that there is no such image, or wants credentials for it
	Moved       State = "moved"       // something else is there, or it is with somebody else
	Limited     State = "limited"     // the registry wants not to be asked now
	Unreachable State = "unreachable" // nobody answers, or only errors
)

// States are all of them, the best first.
func States() []State { return []State{OK, Moved, Limited, Unreachable, Dead} }

// A Target is one version of an index, whose address is looked at.
type Target struct {
	Buildpack string `json:"buildpack"`
	Version   string `json:"version"`
	Address   string `json:"address"` // HOST/REPOSITORY@sha256:DIGEST
}

// A Result is what was found out of a Target.
type Result struct {
	Target
	State   State     `json:"state"`
	Status  int       `json:"status,omitempty"` // of HTTP
	Detail  string    `json:"detail,omitempty"` // why it is not OK
	Checked time.Time `json:"checked"`
}

// Targets are the versions of an index that are not yanked, all or those of the names given.
func Targets(x *index.Index, names []index.Name) ([]Target, error) {
	if len(names) == 0 {
		for s := range x.Names() {
			n, err := index.ParseName(s)
			if err != nil {
				return nil, err
			}
			names = append(names, n)
		}
	}
	var out []Target
	for _, n := range names {
		b, ok, err := x.Get(n)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, &index.UnknownError{Name: n, Indexes: []string{x.Name}, Near: x.Near(n)}
		}
		for _, v := range b.Versions {
			if !v.Yanked {
				out = append(out, Target{n.String(), v.Version, v.Address})
			}
		}
	}
	return out, nil
}

// judge makes a result of an answer.
func judge(t Target, ref image.Ref, p image.Probe, err error, now time.Time) Result {
	r := Result{Target: t, Status: p.Status, Checked: now.UTC().Truncate(time.Second)}
	_, want, _ := strings.Cut(t.Address, "@")
	switch {
	case p.There && p.Digest != "" && p.Digest != want:
		r.State, r.Detail = Moved, fmt.Sprintf("%.80s is there", p.Digest)
	case p.There && !image.SameOwner(ref.Host(), p.Host):
		r.State, r.Detail = Moved, fmt.Sprintf("it is with %.200s", p.Host)
	case p.There:
		r.State = OK
	case p.Status == http.StatusTooManyRequests:
		r.State, r.Detail = Limited, "the registry wants not to be asked now"
		if p.RetryAfter > 0 {
			r.Detail = fmt.Sprintf("the registry wants not to be asked for %s", p.RetryAfter.Round(time.Second))
		}
	case slices.Contains([]int{http.StatusNotFound, http.StatusGone, http.StatusUnauthorized, http.StatusForbidden}, p.Status):
		r.State, r.Detail = Dead, fmt.Sprintf("the registry answers %d %s", p.Status, http.StatusText(p.Status))
	case p.Status > 0:
		r.State, r.Detail = Unreachable, fmt.Sprintf("the registry answers %d %s", p.Status, http.StatusText(p.Status))
	default:
		r.State, r.Detail = Unreachable, err.Error()
	}
	return r
}

// Options bound a check. A zero field is the default.
type Options struct {
	Jobs    int           // requests at a time: 32
	PerHost int           // of them to one host: 4
	Rate    float64       // requests to one host a second: 20
	Timeout time.Duration // of one request: 15 seconds
	// Wait is the longest Retry-After that is waited for; who wants more is left alone for the rest: 30 seconds.
	Wait time.Duration
	// Address says where an address of the index is really fetched from; nil is there.
	Address func(string) string
	// Progress is told of every result; it is called by one goroutine at a time. May be nil.
	Progress func(done, total int, r Result)
}

// Check looks at all targets and returns when the last was looked at, or when ctx ends: then with what there is by then.
// The results are in the order of the targets.
func Check(ctx context.Context, g *image.Registry, targets []Target, o Options) []Result {
	c := newCheck(g, targets, o)
	c.run(ctx)
	var out []Result
	for i, r := range c.results {
		if r.State != "" {
			r.Target = targets[i]
			out = append(out, r)
		}
	}
	return out
}
