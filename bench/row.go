package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A row is one way of doing a case's work, and what its timed runs took.
type row struct {
	name string
	ours bool
	// run does it once. round tells runs apart where each needs a name of its own; the first, 0, is not counted.
	run   func(ctx context.Context, round int) error
	times []time.Duration
}

// alternate runs every row once a round, so that a machine that gets slower or faster does so for all of them.
// The order turns around with each round: nobody is always the one that runs after the other.
func (y *yard) alternate(ctx context.Context, rows []*row) error {
	for round := range y.runs + 1 {
		if y.before != nil {
			if err := y.before(round); err != nil {
				return err
			}
		}
		order := slices.Clone(rows)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, r := range order {
			began := time.Now()
			if err := r.run(ctx, round); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if took := time.Since(began); round > 0 {
				r.times = append(r.times, took)
			}
		}
	}
	return nil
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

func seconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.4f s", d.Seconds())
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

// writeTable prints the rows of one case: median, spread, and each of ours as a multiple of the others.
func writeTable(w io.Writer, title string, rows []*row) {
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "  \tmedian\tspread")
	for _, r := range rows {
		if r.ours && len(r.times) > 0 {
			fmt.Fprintf(t, "\t%s takes", r.name)
		}
	}
	fmt.Fprintln(t)
	for _, r := range rows {
		if len(r.times) == 0 {
			continue
		}
		fmt.Fprintf(t, "  %s\t%s\t%s .. %s", r.name, seconds(median(r.times)), seconds(slices.Min(r.times)), seconds(slices.Max(r.times)))
		for _, o := range rows {
			switch {
			case !o.ours || len(o.times) == 0:
			case o == r:
				fmt.Fprint(t, "\t")
			default:
				fmt.Fprintf(t, "\t%.2f x", ratio(o.times, r.times))
			}
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // w's error is the terminal's
}
