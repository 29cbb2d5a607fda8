package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
)

// A row is one way of doing a case's work, and what its timed runs took.
type row struct {
	key, name string // key tells tools apart; empty for what is no tool
	ours      bool
	// prepare and after are what surrounds a run, untimed; nil where there is nothing. round tells runs apart where
	// each needs a name of its own; 0 is not counted.
	prepare func(ctx context.Context, round int) error
	run     func(ctx context.Context, round int) error
	after   func(ctx context.Context, round int) error
	// off is what a run's time is more than it should be, read after the run; nil for nothing.
	off   func() (time.Duration, error)
	job   job // of the last run
	times []time.Duration
	// ratios to what could not have been faster, and a line on it, for rows that have it.
	floors []float64
	note   string
}

// row has a tool build what job gives in each round.
func (t tool) row(next func(round int) (job, error)) *row {
	r := &row{key: t.key, name: t.name, ours: t.ours}
	r.prepare = func(ctx context.Context, round int) (err error) {
		if r.job, err = next(round); err != nil || t.prepare == nil {
			return err
		}
		return t.prepare(ctx, r.job)
	}
	r.run = func(ctx context.Context, _ int) error { return t.build(ctx, r.job) }
	r.after = func(ctx context.Context, _ int) error {
		if !r.job.cold || t.forget == nil {
			return nil
		}
		return t.forget(ctx, r.job)
	}
	return r
}

// once runs every row once.
func once(ctx context.Context, rows []*row, round int) error {
	for _, r := range rows {
		if _, err := r.once(ctx, round); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// once times one run. What was written before is on the disk when it begins: nobody pays for the one before.
func (r *row) once(ctx context.Context, round int) (time.Duration, error) {
	if r.prepare != nil {
		if err := r.prepare(ctx, round); err != nil {
			return 0, err
		}
	}
	unix.Sync()
	began := time.Now()
	if err := r.run(ctx, round); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if r.off != nil {
		off, err := r.off()
		if err != nil {
			return 0, err
		}
		took -= off
	}
	if r.after != nil {
		return took, r.after(ctx, round)
	}
	return took, nil
}

// alternate runs every row once a round, so that a machine that gets slower or faster does so for all of them.
// The order turns around with each round: nobody is always the one that runs after the other. before makes what a
// round needs.
func (y *yard) alternate(ctx context.Context, rows []*row, before func(round int) error) error {
	for round := 1; round <= y.rounds; round++ {
		if before != nil {
			if err := before(round); err != nil {
				return err
			}
		}
		order := slices.Clone(rows)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, r := range order {
			took, err := r.once(ctx, round)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			r.times = append(r.times, took)
		}
	}
	return nil
}

// emptyContainers are the floor of every build with one container.
func (y *yard) emptyContainers() []*row {
	start := func(name string, rt container.Runtime, id string) *row {
		return &row{name: "one empty container of the builder, " + name, run: func(ctx context.Context, _ int) error {
			return rt.Run(ctx, container.Spec{Image: id, Argv: []string{"/bin/true"}, Dir: "/", UID: y.uid, GID: y.gid})
		}}
	}
	rows := []*row{start("Docker", y.machine.Docker, y.engineID)}
	if y.withOCI {
		rows = append(rows, start("runc", y.machine.Runtime, y.builderID))
	}
	return rows
}

// median of values, the mean of the two in the middle for an even number.
func median[T time.Duration | float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratio is the median of ours/theirs round by round: what slows both down in a round cancels out.
func ratio(ours, theirs []time.Duration) float64 {
	var rs []float64
	for i := range min(len(ours), len(theirs)) {
		if theirs[i] > 0 {
			rs = append(rs, float64(ours[i])/float64(theirs[i]))
		}
	}
	return median(rs)
}
