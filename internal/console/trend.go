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

// A chart is bars of days, in a box that is 100 high.
type chart struct {
	Width int
	Bars  []bar
	Line  string // points of the median's line, "" where there are too few
	Top   int    // builds of the highest bar
	Slow  time.Duration
	Title string
}

type bar struct {
	X                  int
	Date               time.Time
	PassY, AppY, PlatY float64
	PassH, AppH, PlatH float64
	tally
}

const barStep = 10

// chartOf draws what became of builds day by day, and how long they took.
func chartOf(p performance) chart {
	c := chart{Width: barStep * len(p.Days)}
	for _, d := range p.Days {
		c.Top, c.Slow = max(c.Top, d.Builds()), max(c.Slow, d.P50)
	}
	var line []string
	for i, d := range p.Days {
		b := bar{X: i * barStep, Date: d.Date, tally: d.tally}
		if c.Top > 0 {
			high := func(n int) float64 { return 100 * float64(n) / float64(c.Top) }
			b.PassH, b.AppH, b.PlatH = high(d.Passed), high(d.App), high(d.Platform)
			b.PassY = 100 - b.PassH
			b.AppY = b.PassY - b.AppH
			b.PlatY = b.AppY - b.PlatH
		}
		c.Bars = append(c.Bars, b)
		if d.P50 > 0 && c.Slow > 0 {
			line = append(line, fmt.Sprintf("%d,%.1f", b.X+barStep/2, 100-90*float64(d.P50)/float64(c.Slow)))
		}
	}
	if len(line) > 1 {
		c.Line = strings.Join(line, " ")
	}
	c.Title = fmt.Sprintf("%s passed, %d failed by the app and %d by the platform in %d days", plural(p.Passed, "build"), p.App, p.Platform, len(p.Days))
	return c
}
