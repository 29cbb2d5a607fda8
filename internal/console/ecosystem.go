package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// How buildpacks do. What a number means, in one place:
//
//   - a buildpack's builds are those in which it took part and that passed, and those that failed at it;
//   - its pass rate is of the builds that passed or that the app failed: what the platform failed is told apart, and counts
//     against no buildpack;
//   - its detect rate is, of the builds in which its detect ran, as far as the record tells, the share that it took part in;
//   - durations are of its build executable alone.

// A tally is what became of builds.
type tally struct{ Passed, App, Platform, Other int }

func (t *tally) add(f fact) {
	switch {
	case f.state == build.Succeeded:
		t.Passed++
	case f.state == build.Cancelled:
		t.Other++
	case f.blame == build.BlamePlatform:
		t.Platform++
	default:
		t.App++
	}
}

// Builds counts all but those that somebody cancelled.
func (t tally) Builds() int { return t.Passed + t.App + t.Platform }

// Judged are those that a pass rate is of.
func (t tally) Judged() int { return t.Passed + t.App }

// A performance is how one version of a buildpack, or of all, did.
type performance struct {
	ID, Version string
	tally
	Tried, Detected int
	P50, P95        time.Duration
	Days            []day
	took            []time.Duration
}

// A day is what became of the builds that ended on it.
type day struct {
	Date time.Time
	tally
	P50  time.Duration
	took []time.Duration
}

// A failure is a kind of error line, and how often it was the last one.
type failure struct {
	Line   string // as the newest has it
	Blame  build.Blame
	Count  int
	App    build.AppName // of the newest
	Number int64
	When   time.Time
}

// A slowStep is a phase, or a buildpack in it.
type slowStep struct {
	Phase, Buildpack string
	Count            int
	P50, P95         time.Duration
	took             []time.Duration
}

// An ecosystem is what the page shows.
type ecosystem struct {
	Span     int // days
	Spans    []int
	All      performance
	Packs    []performance // all of them
	Failures []failure
	Slow     []slowStep
}

func (c *Console) ecosystemPage(ctx context.Context, v *visit) error {
	span := 30
	if text := v.URL.Query().Get("days"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || !slices.Contains(spans(), n) {
			return nowhere("Statistics are of 7, 30 or 90 days.")
		}
		span = n
	}
	e, err := c.trends.of(ctx, v.actor, span)
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "ecosystem", "Ecosystem", ecosystemData{e, e.Packs[:min(len(e.Packs), packsShown)]})
}

// packsShown is how many buildpacks the page has; the others are found by their names.
const packsShown = 30

type ecosystemData struct {
	*ecosystem
	Shown []performance
}

func spans() []int { return []int{7, 30, 90} }

// summarize counts the facts of apps since a day, up to today.
func summarize(all []fact, names map[build.ID]build.AppName, today time.Time, span int) *ecosystem {
	first := today.AddDate(0, 0, 1-span)
	s := &summary{first: first, span: span, packs: map[string]*performance{}, failures: map[string]*failure{}, slow: map[string]*slowStep{}}
	s.all = s.newPerformance("")
	from, _ := slices.BinarySearchFunc(all, first, func(f fact, t time.Time) int { return f.ended.Compare(t) })
	for _, f := range all[from:] {
		if name, ok := names[f.app]; ok {
			s.add(f, name)
		}
	}
	return s.result()
}

// A summary is being counted.
type summary struct {
	first    time.Time
	span     int
	all      *performance
	packs    map[string]*performance
	failures map[string]*failure
	slow     map[string]*slowStep
}

func (s *summary) newPerformance(ref string) *performance {
	p := &performance{Days: make([]day, s.span)}
	p.ID, p.Version, _ = strings.Cut(ref, "@")
	for i := range p.Days {
		p.Days[i].Date = s.first.AddDate(0, 0, i)
	}
	return p
}

func (s *summary) pack(ref string) *performance {
	p := s.packs[ref]
	if p == nil {
		p = s.newPerformance(ref)
		s.packs[ref] = p
	}
	return p
}

func (p *performance) add(f fact, at int, took time.Duration) {
	p.tally.add(f)
	d := &p.Days[at]
	d.tally.add(f)
	if f.state == build.Succeeded && took > 0 {
		p.took, d.took = append(p.took, took), append(d.took, took)
	}
}

func (s *summary) add(f fact, app build.AppName) {
	at := min(max(int(f.ended.Sub(s.first)/(24*time.Hour)), 0), s.span-1)
	s.all.add(f, at, f.took)
	for _, p := range f.parts {
		s.pack(p.buildpack).add(f, at, p.took)
		if p.took > 0 {
			s.step("build", p.buildpack, p.took)
		}
	}
	if f.state != build.Succeeded && f.at != "" {
		s.pack(f.at).add(f, at, 0)
	}
	for _, b := range f.tried {
		p := s.pack(b)
		if p.Tried++; slices.Contains(f.detected, b) {
			p.Detected++
		}
	}
	for _, t := range f.phases {
		s.step(t.Phase, "", t.Elapsed)
	}
	if f.blame == "" {
		return
	}
	key := string(f.blame) + " " + kindOf(f.line)
	v := s.failures[key]
	if v == nil {
		v = &failure{Blame: f.blame}
		s.failures[key] = v
	}
	v.Count++
	v.Line, v.App, v.Number, v.When = f.line, app, f.number, f.ended // facts come in their order
}

func (s *summary) step(phase, buildpack string, took time.Duration) {
	key := phase + " " + buildpack
	v := s.slow[key]
	if v == nil {
		v = &slowStep{Phase: phase, Buildpack: buildpack}
		s.slow[key] = v
	}
	v.took = append(v.took, took)
}

// The lists are as long as one reads.
const (
	mostFailures = 20
	mostSlow     = 10
)

func (s *summary) result() *ecosystem {
	e := &ecosystem{Span: s.span, Spans: spans()}
	s.all.finish()
	e.All = *s.all
	for _, p := range s.packs {
		p.finish()
		e.Packs = append(e.Packs, *p)
	}
	slices.SortFunc(e.Packs, func(a, b performance) int {
		return cmp.Or(b.Builds()-a.Builds(), b.Tried-a.Tried, cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version))
	})
	for _, f := range s.failures {
		e.Failures = append(e.Failures, *f)
	}
	slices.SortFunc(e.Failures, func(a, b failure) int {
		return cmp.Or(b.Count-a.Count, b.When.Compare(a.When), cmp.Compare(a.Line, b.Line))
	})
	e.Failures = e.Failures[:min(len(e.Failures), mostFailures)]
	for _, v := range s.slow {
		v.P50, v.P95, v.Count = quantile(v.took, 50), quantile(v.took, 95), len(v.took)
		v.took = nil
		e.Slow = append(e.Slow, *v)
	}
	slices.SortFunc(e.Slow, func(a, b slowStep) int {
		return cmp.Or(cmp.Compare(b.P95, a.P95), cmp.Compare(a.Phase+a.Buildpack, b.Phase+b.Buildpack))
	})
	e.Slow = e.Slow[:min(len(e.Slow), mostSlow)]
	return e
}

func (p *performance) finish() {
	p.P50, p.P95 = quantile(p.took, 50), quantile(p.took, 95)
	for i := range p.Days {
		p.Days[i].P50, p.Days[i].took = quantile(p.Days[i].took, 50), nil
	}
	p.took = nil
}

// quantile is the nearest-rank one, of durations that it sorts; 0 of none.
func quantile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)*percent+99)/100-1]
}
