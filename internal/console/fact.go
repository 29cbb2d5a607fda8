package console

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/store"
)

// What is known of builds that have ended, kept in memory: statistics are asked for more often than builds end, and ten
// thousand results are too much to read for one page. It is made of the record when it is first asked for, and after that
// only what has ended since is read.

// A fact is a build that has ended, as statistics need it.
type fact struct {
	app      build.ID
	id       build.ID
	number   int64
	ended    time.Time
	state    build.State
	took     time.Duration
	blame    build.Blame
	at       string // buildpack that failed, id@version
	line     string // that tells of the error, of a build that has failed
	parts    []part
	phases   []build.PhaseTiming // of the build itself
	tried    []string            // buildpacks whose detect ran
	detected []string            // of those, the ones that took part
}

// A part is a buildpack that took part, and how long its build was.
type part struct {
	buildpack string
	took      time.Duration
}

const (
	factsFor = 90 * 24 * time.Hour
	mostFact = 50_000
	factStep = 1000 // that are read at once
)

// facts are all there are, the oldest first. They are safe for concurrent use.
type facts struct {
	store *store.Store
	logs  *logs.Dir

	mu    sync.Mutex
	all   []fact
	last  time.Time
	id    build.ID
	names map[string]string // so that a buildpack's name is there once
}

// now are the facts as they are now. What is returned never changes.
func (f *facts) now(ctx context.Context) ([]fact, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	begin := time.Now().Add(-factsFor)
	if f.last.Before(begin) {
		f.last, f.id = begin, ""
	}
	for {
		some, err := f.store.EndedSince(ctx, f.last, f.id, factStep)
		if err != nil {
			return nil, err
		}
		for _, b := range some {
			f.all = append(f.all, f.fact(b))
			f.last, f.id = b.EndedAt, b.ID
		}
		if len(some) < factStep {
			break
		}
	}
	old := max(0, len(f.all)-mostFact)
	for old < len(f.all) && f.all[old].ended.Before(begin) {
		old++
	}
	f.all = f.all[old:]
	return f.all[:len(f.all):len(f.all)], nil
}

func (f *facts) name(s string) string {
	if f.names == nil {
		f.names = map[string]string{}
	}
	if known, ok := f.names[s]; ok {
		return known
	}
	s = strings.Clone(s)
	f.names[s] = s
	return s
}

func (f *facts) fact(b build.Build) fact {
	v := fact{app: b.App, id: b.ID, number: b.Number, ended: b.EndedAt, state: b.State}
	if !b.StartedAt.IsZero() {
		v.took = b.EndedAt.Sub(b.StartedAt)
	}
	if b.Failure != nil && (b.State == build.Failed || b.State == build.TimedOut) {
		v.blame, v.at = b.Failure.Blame, f.name(b.Failure.Buildpack)
		v.line = lastError(f.logs, b)
	}
	times := map[string]time.Duration{}
	for _, t := range b.Timings() {
		switch {
		case t.Buildpack == "" && b.Result != nil: // of a build that failed the last one was cut short
			v.phases = append(v.phases, t)
		case t.Buildpack != "" && t.Phase == "build":
			times[t.Buildpack] = t.Elapsed
		case t.Buildpack != "" && t.Phase == "detect":
			v.tried = append(v.tried, f.name(t.Buildpack))
		}
	}
	for _, p := range b.Group() {
		name := f.name(p.ID + "@" + p.Version)
		v.detected = append(v.detected, name)
		if b.Result != nil {
			v.parts = append(v.parts, part{name, times[name]})
		}
	}
	return v
}

// lastError is the last line of a build's log in which a buildpack tells of an error, or else why the build failed: what a
// developer would read first.
func lastError(l *logs.Dir, b build.Build) string {
	const tail = 16 << 10
	info, err := l.Stat(b.ID)
	if err != nil {
		return oneLine(b.Failure.Reason)
	}
	page, err := l.Page(b.ID, max(0, info.Size-tail), tail)
	if err != nil {
		return oneLine(b.Failure.Reason)
	}
	found := ""
	paint := newPainter(cursor{})
	paint.write(append(page.Data, '\n'), func(l line) {
		text := l.text()
		if owner, said, ok := strings.Cut(text, "] "); ok && l.wrong && strings.HasPrefix(owner, "[") {
			found = said
		}
	})
	if found == "" {
		found = b.Failure.Reason
	}
	return oneLine(found)
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

var variable = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[0-9a-f]{8,}|[0-9]+(?:\.[0-9]+)*`)
})

// kindOf is an error's line without what is different each time: numbers, times, hashes.
func kindOf(line string) string { return variable().ReplaceAllString(line, "#") }
