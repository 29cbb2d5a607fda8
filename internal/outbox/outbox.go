// Package outbox sends what the store's outbox has: statuses of commits to forges, and events to webhooks. A message is
// tried until it is taken or there is no sense in it any more, over restarts too: what the store does not say was taken may
// be sent once more. Nothing that a build does waits for any of it.
package outbox

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// How much is sent at once: a host that is slow or dead holds only what is for it.
const (
	maxSending = 64
	maxOfHost  = 4
)

// attemptTime is how long one attempt may take, and faultPause how long a lane rests that the store could not serve.
const (
	attemptTime = 15 * time.Second
	faultPause  = 5 * time.Second
)

// A Sender sends messages. All fields must be set.
type Sender struct {
	Store *store.Store
	// Transport connects to nothing that it should not.
	Transport http.RoundTripper
	URL       string // of the service, for links, without a slash at its end
	Version   string
	Fault     func(error) // hears of what goes wrong on our side
}

// lanes are what is sent at a time: one message of each, and so many of a host.
type lanes struct {
	busy  map[string]bool
	hosts map[string]int
}

// Run sends until ctx ends, and returns when nothing is being sent.
func (s *Sender) Run(ctx context.Context) error {
	var sending sync.WaitGroup
	defer sending.Wait()
	free := make(chan store.Lane, maxSending) // so that who is done need not wait for us
	l := lanes{map[string]bool{}, map[string]int{}}
	for {
		next, err := s.begin(ctx, l, func(lane store.Lane) {
			sending.Go(func() {
				s.serve(ctx, lane)
				free <- lane
			})
		})
		if err != nil {
			if ctx.Err() == nil {
				s.Fault(err)
			}
			next = faultPause
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case lane := <-free:
			delete(l.busy, lane.Name)
			if l.hosts[lane.Host]--; l.hosts[lane.Host] == 0 {
				delete(l.hosts, lane.Host)
			}
		case <-s.Store.Mail():
		case <-t.C:
		}
		t.Stop()
	}
}

// begin starts what may be sent now, and tells after how long to look again, if nothing happens before.
func (s *Sender) begin(ctx context.Context, l lanes, start func(store.Lane)) (time.Duration, error) {
	all, err := s.Store.Lanes(ctx)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	for _, lane := range all {
		if wait := lane.NextAt.Sub(now); wait > 0 {
			return wait, nil
		}
		if l.busy[lane.Name] || l.hosts[lane.Host] >= maxOfHost || len(l.busy) >= maxSending {
			continue
		}
		l.busy[lane.Name] = true
		l.hosts[lane.Host]++
		start(lane)
	}
	return time.Minute, nil
}

// serve sends the message whose turn it is.
func (s *Sender) serve(ctx context.Context, lane store.Lane) {
	m, err := s.Store.Due(ctx, lane, time.Now())
	if errors.Is(err, build.ErrNotFound) {
		return // it was replaced, or what it was for is gone
	}
	if err == nil {
		err = s.send(ctx, m)
	}
	if err != nil && ctx.Err() == nil {
		s.Fault(err)
		select {
		case <-ctx.Done():
		case <-time.After(faultPause):
		}
	}
}
