package health

import (
	"cmp"
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/slipway-build/slipway/internal/image"
)

// maxHosts is how many hosts are asked side by side.
const maxHosts = 64

// tries is how often an address is asked for whose registry said 429.
const tries = 3

// giveUp is after how many failures in a row a host is left alone: each may take as long as a request may.
const giveUp = 5

// A check is one run of Check.
type check struct {
	Options
	prober  *image.Prober
	targets []Target
	jobs    chan struct{}
	hosts   map[string]*host

	mu      sync.Mutex
	results []Result // beside targets
	done    int
}

// A host is what is asked of one registry.
type host struct {
	refs  []image.Ref      // each once
	of    map[string][]int // which targets mean one
	limit *rate.Limiter

	mu     sync.Mutex
	until  time.Time // nobody asks before
	failed int       // in a row
	alone  *Result   // why the rest is not asked for
}

func newCheck(g *image.Registry, targets []Target, o Options) *check {
	o.Jobs, o.PerHost, o.Rate = cmp.Or(o.Jobs, 32), cmp.Or(o.PerHost, 4), cmp.Or(o.Rate, 20)
	o.Timeout, o.Wait = cmp.Or(o.Timeout, 15*time.Second), cmp.Or(o.Wait, 30*time.Second)
	c := &check{Options: o, prober: g.NewProber(), targets: targets, jobs: make(chan struct{}, o.Jobs), hosts: map[string]*host{}, results: make([]Result, len(targets))}
	for i, t := range targets {
		address := t.Address
		if o.Address != nil {
			address = o.Address(address)
		}
		ref, err := image.ParseRef(address)
		if err != nil {
			c.results[i] = Result{State: Dead, Detail: err.Error(), Checked: time.Now().UTC()}
			c.done++
			continue
		}
		h := c.hosts[ref.Host()]
		if h == nil {
			h = &host{of: map[string][]int{}, limit: rate.NewLimiter(rate.Limit(o.Rate), o.PerHost)}
			c.hosts[ref.Host()] = h
		}
		if h.of[ref.Name()] == nil {
			h.refs = append(h.refs, ref)
		}
		h.of[ref.Name()] = append(h.of[ref.Name()], i)
	}
	return c
}

func (c *check) run(ctx context.Context) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxHosts)
	for _, h := range c.hosts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c.host(ctx, h)
		})
	}
	wg.Wait()
}

// host asks one host for all that it should have.
func (c *check) host(ctx context.Context, h *host) {
	work := make(chan image.Ref)
	var wg sync.WaitGroup
	for range min(c.PerHost, len(h.refs)) {
		wg.Go(func() {
			for ref := range work {
				c.address(ctx, h, ref)
			}
		})
	}
	for _, ref := range h.refs {
		select {
		case work <- ref:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(work)
	wg.Wait()
}

// address asks for one address, again where the host says when.
func (c *check) address(ctx context.Context, h *host, ref image.Ref) {
	t := c.targets[h.of[ref.Name()][0]]
	for n := range tries {
		if alone := h.leftAlone(); alone != nil {
			c.note(h, ref, *alone)
			return
		}
		if h.wait(ctx) != nil {
			return
		}
		select {
		case c.jobs <- struct{}{}:
		case <-ctx.Done():
			return
		}
		one, cancel := context.WithTimeout(ctx, c.Timeout)
		p, err := c.prober.Probe(one, ref)
		cancel()
		<-c.jobs
		if ctx.Err() != nil {
			return
		}
		r := judge(t, ref, p, err, time.Now())
		if h.again(r, p.RetryAfter, c.Wait) && n+1 < tries {
			continue
		}
		c.note(h, ref, r)
		return
	}
}

// wait returns when the host may be asked.
func (h *host) wait(ctx context.Context) error {
	h.mu.Lock()
	d := time.Until(h.until)
	h.mu.Unlock()
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return h.limit.Wait(ctx)
}

// again notes what the answer means for the host, and says whether to ask once more.
func (h *host) again(r Result, after, most time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := Result{State: r.State, Status: r.Status, Checked: r.Checked}
	switch {
	case r.State == Limited && after > most:
		rest.Detail = r.Detail
		h.alone = &rest
	case r.State == Limited:
		if until := time.Now().Add(max(after, time.Second)); until.After(h.until) {
			h.until = until
		}
		return true
	case r.State == Unreachable:
		if h.failed++; h.failed >= giveUp {
			rest.Detail = "not asked any more: " + r.Detail
			h.alone = &rest
		}
	default:
		h.failed = 0
	}
	return false
}

func (h *host) leftAlone() *Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alone
}

// note keeps a result for all targets of an address.
func (c *check) note(h *host, ref image.Ref, r Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range h.of[ref.Name()] {
		r.Target = c.targets[i]
		c.results[i] = r
		c.done++
		if c.Progress != nil {
			c.Progress(c.done, len(c.targets), r)
		}
	}
}
