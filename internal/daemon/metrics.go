package daemon

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/slipway-build/slipway/internal/build"
)

// metrics count what the service does. No label has a value that a user could make up without end: buildpacks beyond
// maxBuildpacks are counted together.
type metrics struct {
	registry *prometheus.Registry

	builds     *prometheus.CounterVec
	wait       prometheus.Histogram
	phases     *prometheus.HistogramVec
	runs       *prometheus.CounterVec
	buildpacks *prometheus.HistogramVec
	layers     *prometheus.CounterVec
	pushed     prometheus.Counter

	scrubbed, scrubBad, scrubRounds prometheus.Counter

	mu    sync.Mutex
	known map[string]bool // buildpacks that have a label of their own
}

const maxBuildpacks = 200

// newMetrics registers everything. counts is asked at each scrape.
func newMetrics(counts func(context.Context) (queued, running int, err error)) *metrics {
	seconds := []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "slipway", Name: name, Help: help, Buckets: seconds}
	}
	few := histogram("buildpack_seconds", "Time of a buildpack's executable.")
	few.Buckets = []float64{.1, 1, 10, 60, 600}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "slipway", Name: name, Help: help}
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		builds:     prometheus.NewCounterVec(counter("builds_total", "Builds that ended."), []string{"state", "blame", "trigger"}),
		wait:       prometheus.NewHistogram(histogram("queue_wait_seconds", "From when a build was accepted to the start of its last attempt.")),
		phases:     prometheus.NewHistogramVec(histogram("phase_seconds", "Phases of builds that succeeded."), []string{"phase"}),
		runs:       prometheus.NewCounterVec(counter("buildpack_builds_total", "Builds in which a buildpack took part, and those that it failed."), []string{"buildpack", "outcome"}),
		buildpacks: prometheus.NewHistogramVec(few, []string{"buildpack", "phase"}),
		layers:     prometheus.NewCounterVec(counter("layers_total", "Layers of images, made anew or reused from an earlier build."), []string{"how"}),
		pushed:     prometheus.NewCounter(counter("pushed_bytes_total", "Bytes of layers sent to registries.")),
		known:      map[string]bool{},

		scrubbed:    prometheus.NewCounter(counter("scrubbed_bytes_total", "Bytes of kept layers that were read again.")),
		scrubBad:    prometheus.NewCounter(counter("scrub_damaged_total", "Kept layers that were found damaged and removed.")),
		scrubRounds: prometheus.NewCounter(counter("scrub_rounds_total", "How often all kept layers were read again.")),
	}
	gauge := func(name, help string, of func(queued, running int) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "slipway", Name: name, Help: help}, func() float64 {
			ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
			defer done()
			queued, running, err := counts(ctx)
			if err != nil {
				return -1
			}
			return float64(of(queued, running))
		})
	}
	m.registry.MustRegister(m.builds, m.wait, m.phases, m.runs, m.buildpacks, m.layers, m.pushed, m.scrubbed, m.scrubBad, m.scrubRounds,
		gauge("queue_depth", "Builds that wait; -1: the record does not answer.", func(q, _ int) int { return q }),
		gauge("running", "Builds that run; -1: the record does not answer.", func(_, r int) int { return r }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// ended counts a build.
func (m *metrics) ended(b build.Build) {
	blame := ""
	if b.Failure != nil {
		blame = string(b.Failure.Blame)
		if b.Failure.Buildpack != "" && b.Failure.Blame == build.BlameApp && !ourLimit(b.Failure.Code) {
			m.runs.WithLabelValues(m.label(b.Failure.Buildpack), "failed").Inc()
		}
	}
	m.builds.WithLabelValues(string(b.State), blame, string(b.Trigger.Kind)).Inc()
	if !b.StartedAt.IsZero() {
		m.wait.Observe(b.StartedAt.Sub(b.CreatedAt).Seconds())
	}
	for _, p := range b.Timings() {
		if p.Buildpack == "" {
			m.phases.WithLabelValues(p.Phase).Observe(p.Elapsed.Seconds())
		} else {
			m.buildpacks.WithLabelValues(m.label(p.Buildpack), p.Phase).Observe(p.Elapsed.Seconds())
		}
	}
	if b.Result == nil {
		return
	}
	for _, p := range b.Result.Buildpacks {
		m.runs.WithLabelValues(m.label(p.ID+"@"+p.Version), "passed").Inc()
	}
	m.layers.WithLabelValues("new").Add(float64(b.Result.Layers - b.Result.Reused))
	m.layers.WithLabelValues("reused").Add(float64(b.Result.Reused))
	m.pushed.Add(float64(b.Result.Pushed))
}

// ourLimit tells failures by which no buildpack is worse: the app reached a limit while it ran.
func ourLimit(code string) bool {
	return slices.Contains([]string{"timeout", "memory", "disk", "pids"}, code)
}

// label is a buildpack's own, or that of all beyond the limit.
func (m *metrics) label(buildpack string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known[buildpack] {
		if len(m.known) >= maxBuildpacks {
			return "other"
		}
		m.known[buildpack] = true
	}
	return buildpack
}
