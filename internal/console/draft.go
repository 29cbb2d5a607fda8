package console

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	"github.com/slipway-build/slipway/internal/fetch"
)

// A draft is what somebody filled in for a setup, so that they can try again. It is in memory alone: what the record has of
// a setup that has ended is nothing that is secret.
type draft struct {
	setup  build.ID
	query  string // of the template's page
	commit fetch.Commit
	posted url.Values
	size   int
	until  time.Time
}

// drafts keeps the last of them, for a while.
type drafts struct {
	mu   sync.Mutex
	size int
	all  []draft // the oldest first
}

const (
	draftLife = time.Hour
	maxDrafts = 8 << 20 // bytes
)

func (s *drafts) keep(d draft) {
	d.until, d.size = time.Now().Add(draftLife), len(d.query)+1<<10
	for name, values := range d.posted {
		for _, text := range values {
			d.size += len(name) + len(text)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, d)
	s.size += d.size
	s.drop()
}

// drop forgets what is old, and what is too much.
func (s *drafts) drop() {
	for len(s.all) > 0 && (s.size > maxDrafts || time.Now().After(s.all[0].until)) {
		s.size -= s.all[0].size
		s.all = slices.Delete(s.all, 0, 1)
	}
}

func (s *drafts) get(setup build.ID) (draft, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	i := slices.IndexFunc(s.all, func(d draft) bool { return d.setup == setup })
	if i < 0 {
		return draft{}, false
	}
	return s.all[i], true
}

// again shows the page of a template with what was filled in for a setup, to whom the setup is. That has config vars in it:
// a token that cannot deploy a template does not see them.
func (c *Console) again(ctx context.Context, v *visit) error {
	s, err := v.setup(ctx)
	if err != nil {
		return err
	}
	if lacks := v.setsUp(); lacks != "" {
		return refused(lacks)
	}
	d, ok := c.drafts.get(s.ID)
	if !ok || s.User != v.actor.User.ID {
		return v.say(bad, "What was filled in is not known any more: follow the deploy link again.", setupPath(s))
	}
	t, err := button.FromRequest(d.query, "", c.shelf.allowed)
	if err != nil {
		return c.ask(v, err)
	}
	p, err := c.shelf.pin(ctx, v, t, d.commit)
	if err == nil {
		err = checkPinned(p)
	}
	if err != nil {
		return c.unreadable(v, p, err)
	}
	return c.take(ctx, v, p, d.posted, "These are the values of before. Look at them, and deploy.")
}
