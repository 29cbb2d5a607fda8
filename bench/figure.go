package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A figure is something of the service that is measured, and what it should be at most; an AtMost of 0 is no target.
// What it is to be set beside is another figure of the same case.
type figure struct {
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	AtMost float64 `json:"at-most,omitempty"`

	what string
}

func (f figure) met() bool { return f.AtMost == 0 || round(f.Value) <= f.AtMost }

func (f figure) verdict() string {
	switch {
	case f.AtMost == 0:
		return "-"
	case f.met():
		return fmt.Sprintf("at most %g: met", f.AtMost)
	}
	return fmt.Sprintf("at most %g: missed", f.AtMost)
}

// run measures a case, in rows or in figures.
func (c benchCase) run(ctx context.Context, y *yard) ([]result, error) {
	if c.figures == nil {
		rows, err := c.measure(ctx, y)
		return c.results(rows), err
	}
	figures, err := c.figures(ctx, y)
	var out []result
	for _, f := range figures {
		out = append(out, result{Row: c.number, Case: c.letter, Title: c.title, Tool: f.what, Figure: &f})
	}
	return out, err
}

func writeFigures(w io.Writer, rows []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%.3f %s\t%s\n", r.Row, r.Tool, r.Figure.Value, r.Figure.Unit, r.Figure.verdict())
	}
	_ = t.Flush() // w's error is the terminal's
}

// spread is figures of durations: the middle one, the one that a hundredth exceeds, whose target p99 is in the unit, and
// the longest.
func spread(what string, all []time.Duration, unit time.Duration, p99 float64) []figure {
	name := map[time.Duration]string{time.Second: "s", time.Millisecond: "ms", time.Microsecond: "µs"}[unit]
	in := func(d time.Duration) float64 { return float64(d) / float64(unit) }
	s := slices.Sorted(slices.Values(all))
	if len(s) == 0 {
		return nil
	}
	return []figure{
		{what: what + ", p50", Value: in(s[len(s)/2]), Unit: name},
		{what: what + ", p99", Value: in(s[len(s)*99/100]), Unit: name, AtMost: p99},
		{what: what + ", the longest", Value: in(s[len(s)-1]), Unit: name},
	}
}
