package gitserver

import (
	"context"
	"fmt"
	"sync"

	"github.com/slipway-build/slipway/internal/build"
)

// gates knows, per app, how many gits are at work and whether one of them is about to move refs. The zero value is
// ready.
type gates struct {
	mu   sync.Mutex
	apps map[build.ID]*gate
}

type gate struct {
	users    int           // of the repository: pushes, fetches, maintenance
	dirty    bool          // one of them was killed and may have left something
	settling int           // pushes that were let through and have not ended
	still    chan struct{} // closed when settling is 0 again; nil while it is 0
}

func (g *gates) change(app build.ID, f func(*gate)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.apps == nil {
		g.apps = map[build.ID]*gate{}
	}
	a := g.apps[app]
	if a == nil {
		a = &gate{}
		g.apps[app] = a
	}
	f(a)
	if a.users == 0 && a.settling == 0 {
		delete(g.apps, app)
	}
}

// use counts a user of an app's repository until leave is called. One who had to be killed leaves it dirty: the last
// one out cleans, when nobody else can be in.
func (g *gates) use(app build.ID, clean func()) (leave func(dirty bool)) {
	g.change(app, func(a *gate) { a.users++ })
	return func(dirty bool) {
		g.change(app, func(a *gate) {
			a.users--
			a.dirty = a.dirty || dirty
			if a.users == 0 && a.dirty {
				a.dirty = false
				clean()
			}
		})
	}
}

// tidy is use for maintenance, which begins only where nobody else is: nobody comes before alone returns.
func (g *gates) tidy(app build.ID, alone func()) (leave func(), ok bool) {
	g.change(app, func(a *gate) {
		if ok = a.users == 0; ok {
			a.users = 1
			alone()
		}
	})
	if !ok {
		return func() {}, false
	}
	return sync.OnceFunc(func() { g.change(app, func(a *gate) { a.users-- }) }), true
}

// settle says that a push is about to move refs, until done is called.
func (g *gates) settle(app build.ID) (done func()) {
	g.change(app, func(a *gate) {
		if a.settling++; a.settling == 1 {
			a.still = make(chan struct{})
		}
	})
	return sync.OnceFunc(func() {
		g.change(app, func(a *gate) {
			if a.settling--; a.settling == 0 {
				close(a.still)
				a.still = nil
			}
		})
	})
}

// settled waits until no push is about to move refs of the app.
func (g *gates) settled(ctx context.Context, app build.ID) error {
	for {
		var still chan struct{}
		g.change(app, func(a *gate) { still = a.still })
		if still == nil {
			return nil
		}
		select {
		case <-still:
		case <-ctx.Done():
			return fmt.Errorf("wait for a push that moves refs: %w", context.Cause(ctx))
		}
	}
}
