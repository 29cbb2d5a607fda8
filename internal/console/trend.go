package console

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// statistics are summaries of facts, each kept until something has ended or the day is over. Whoever asks has those of the
// apps that they see, and of no others. They are safe for concurrent use.
type statistics struct {
	store *store.Store
	facts facts

	mu   sync.Mutex
	kept map[string]keptSummary
}

type keptSummary struct {
	newest build.ID
	count  int
	e      *ecosystem
}

// mostKept bounds the summaries; beyond, all are forgotten.
const mostKept = 64

// of are the statistics of the apps that an actor sees.
func (s *statistics) of(ctx context.Context, who build.Actor, span int) (*ecosystem, error) {
	all, names, err := s.seen(ctx, who)
	if err != nil {
		return nil, err
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	key := fmt.Sprint(who.User.ID, who.User.Admin, who.Token.App, span, today.Unix(), len(names), namesHash(names))
	var newest build.ID
	if len(all) > 0 {
		newest = all[len(all)-1].id
	}
	s.mu.Lock()
	k, ok := s.kept[key]
	s.mu.Unlock()
	if ok && k.newest == newest && k.count == len(all) {
		return k.e, nil
	}
	e := summarize(all, names, today, span)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil || len(s.kept) >= mostKept {
		s.kept = map[string]keptSummary{}
	}
	s.kept[key] = keptSummary{newest, len(all), e}
	return e, nil
}

// namesHash is the same for the same apps under the same names, in whatever order.
func namesHash(names map[build.ID]build.AppName) (sum uint64) {
	for id, name := range names {
		one := fnv.New64a()
		fmt.Fprintf(one, "%s %s", id, name)
		sum ^= one.Sum64()
	}
	return sum
}

// seen are all facts, and the apps that an actor sees.
func (s *statistics) seen(ctx context.Context, who build.Actor) ([]fact, map[build.ID]build.AppName, error) {
	all, err := s.facts.now(ctx)
	if err != nil {
		return nil, nil, err
	}
	apps, err := s.store.Apps(ctx, who)
	if err != nil {
		return nil, nil, err
	}
	names := make(map[build.ID]build.AppName, len(apps))
	for _, a := range apps {
		names[a.ID] = a.Name
	}
	return all, names, nil
}

// A chart is bars of days, in a box that is 100 high; Passed, App and Platform are paths of SVG.
type chart struct {
	Width                 int
	Passed, App, Platform string
	Days                  []barDay
	Line                  string // points of the median's line, "" where there are too few
	Top                   int    // builds of the highest bar
	Slow                  time.Duration
	Title                 string
	First, Last           time.Time
}

// A barDay says what a bar is.
type barDay struct {
	X    int
	Date time.Time
	tally
}

const barStep = 10

// chartOf draws what became of builds day by day, and how long they took.
func chartOf(p performance) chart {
	c := chart{Width: barStep * len(p.Days)}
	if n := len(p.Days); n > 0 {
		c.First, c.Last = p.Days[0].Date, p.Days[n-1].Date
	}
	for _, d := range p.Days {
		c.Top, c.Slow = max(c.Top, d.Builds()), max(c.Slow, d.P50)
	}
	var passed, app, platform strings.Builder
	var line []string
	for i, d := range p.Days {
		x, top := i*barStep, 100.0
		for _, part := range []struct {
			into *strings.Builder
			n    int
		}{{&passed, d.Passed}, {&app, d.App}, {&platform, d.Platform}} {
			if part.n > 0 {
				high := 100 * float64(part.n) / float64(c.Top)
				top -= high
				fmt.Fprintf(part.into, "M%d %.1fh8v%.1fh-8z", x, top, high)
			}
		}
		if d.Builds() > 0 {
			c.Days = append(c.Days, barDay{x, d.Date, d.tally})
		}
		if d.P50 > 0 {
			line = append(line, fmt.Sprintf("%d,%.1f", x+barStep/2, 100-90*float64(d.P50)/float64(c.Slow)))
		}
	}
	c.Passed, c.App, c.Platform = passed.String(), app.String(), platform.String()
	if len(line) > 1 {
		c.Line = strings.Join(line, " ")
	}
	c.Title = fmt.Sprintf("%s passed, %d failed by the app and %d by the platform in %d days", plural(p.Passed, "build"), p.App, p.Platform, len(p.Days))
	return c
}
