package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A result is one row as it is reported. Times are in seconds.
type result struct {
	Row    string    `json:"row"`
	Case   string    `json:"case"`
	Title  string    `json:"title"`
	Tool   string    `json:"tool"`
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Times  []float64 `json:"times"`
	// What ours takes, as multiples of what others take.
	ToPack      *verdict `json:"to-pack,omitempty"`
	ToReference *verdict `json:"to-reference,omitempty"`
	// ToFloor is to the processor time that no platform could save, spread over all processors.
	ToFloor *verdict `json:"to-floor,omitempty"`
	Note    string   `json:"note,omitempty"`
	Figure  *figure  `json:"figure,omitempty"` // in place of times
}

// A verdict is a ratio and what it should be at most; a Target of 0 is none.
type verdict struct {
	Ratio  float64 `json:"ratio"`
	Target float64 `json:"target,omitempty"`
	Met    bool    `json:"met"`
}

// judge compares as many digits of the ratio as are printed, so that no row says "0.25 x of 0.25: missed".
func judge(ratio, target float64) *verdict {
	if ratio == 0 {
		return nil
	}
	return &verdict{Ratio: ratio, Target: target, Met: target == 0 || round(ratio) <= target}
}

func round(ratio float64) float64 { return float64(int64(ratio*1000+0.5)) / 1000 }

func (v *verdict) String() string {
	switch {
	case v == nil:
		return "-"
	case v.Target == 0:
		return fmt.Sprintf("%.3f x", v.Ratio)
	case v.Met:
		return fmt.Sprintf("%.3f x of %g: met", v.Ratio, v.Target)
	}
	return fmt.Sprintf("%.3f x of %g: missed", v.Ratio, v.Target)
}

// results are a case's rows; those that were never run are left out.
func (c benchCase) results(rows []*row) []result {
	times := map[string][]time.Duration{}
	for _, r := range rows {
		if r.key != "" {
			times[r.key] = r.times
		}
	}
	var out []result
	for _, r := range rows {
		if len(r.times) == 0 {
			continue
		}
		one := result{
			Row: c.number, Case: c.letter, Title: c.title, Tool: r.name, Note: r.note,
			Median: median(r.times).Seconds(), Min: slices.Min(r.times).Seconds(), Max: slices.Max(r.times).Seconds(),
		}
		for _, t := range r.times {
			one.Times = append(one.Times, t.Seconds())
		}
		if r.ours {
			one.ToPack = judge(ratio(r.times, times[packs]), c.toPack[r.key])
			var target float64
			if r.key == slipwayOCI {
				target = c.toReference
			}
			one.ToReference = judge(ratio(r.times, times[references]), target)
			one.ToFloor = judge(median(r.floors), c.toFloor)
		}
		out = append(out, one)
	}
	return out
}

// writeTable prints the rows of one case.
func writeTable(w io.Writer, rows []result) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s. %s. %s\n", rows[0].Row, rows[0].Case, rows[0].Title)
	if rows[0].Figure != nil {
		writeFigures(w, rows)
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	floors := slices.ContainsFunc(rows, func(r result) bool { return r.ToFloor != nil })
	if floors {
		fmt.Fprint(t, "row\t\tmedian\tmin .. max\tto the least\n")
	} else {
		fmt.Fprint(t, "row\t\tmedian\tmin .. max\tto pack\tto the reference\n")
	}
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s .. %s", r.Row, r.Tool, inSeconds(r.Median), inSeconds(r.Min), inSeconds(r.Max))
		switch {
		case floors:
			fmt.Fprintf(t, "\t%v\n", r.ToFloor)
		case r.ToPack == nil && r.ToReference == nil:
			fmt.Fprintln(t)
		default:
			fmt.Fprintf(t, "\t%v\t%v\n", r.ToPack, r.ToReference)
		}
	}
	_ = t.Flush() // w's error is the terminal's
	for _, r := range rows {
		if r.Note != "" {
			fmt.Fprintf(w, "     %s: %s\n", r.Tool, r.Note)
		}
	}
}

// writeSummary says of how many targets how many were met, and names the others.
func writeSummary(w io.Writer, all []result) {
	var met, targets int
	var missed []string
	for _, r := range all {
		if f := r.Figure; f != nil && f.AtMost != 0 {
			targets++
			if f.met() {
				met++
			} else {
				missed = append(missed, fmt.Sprintf("row %s, %s: %.3f %s, %s", r.Row, r.Tool, f.Value, f.Unit, f.verdict()))
			}
		}
		for _, to := range []struct {
			what string
			*verdict
		}{{"pack", r.ToPack}, {"the reference", r.ToReference}, {"the least", r.ToFloor}} {
			if to.verdict == nil || to.Target == 0 {
				continue
			}
			targets++
			if to.Met {
				met++
				continue
			}
			missed = append(missed, fmt.Sprintf("row %s, %s, to %s: %v", r.Row, r.Tool, to.what, to.verdict))
		}
	}
	fmt.Fprintf(w, "\n%d of %d targets met\n", met, targets)
	for _, m := range missed {
		fmt.Fprintf(w, "  %s\n", m)
	}
}

// writeJSON writes every row to w.
func writeJSON(w io.Writer, all []result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

func seconds(d time.Duration) string { return inSeconds(d.Seconds()) }

func inSeconds(s float64) string {
	if s < 0.01 {
		return fmt.Sprintf("%.4f s", s)
	}
	return fmt.Sprintf("%.3f s", s)
}
