package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Clause is a statement of the specification, in clauses.txt: its document and section, and what it wants, in our
// words.
type Clause struct {
	ID    string `json:"id"`
	Text  string `json:"text"`
	Cases int    `json:"cases"`
}

// A Report is the suite's result.
type Report struct {
	Lifecycle  string         `json:"lifecycle"`
	Cases      int            `json:"cases"`
	Counts     map[Status]int `json:"runs"`
	Runs       []Run          `json:"results"`
	Clauses    []Clause       `json:"clauses"`
	Covered    int            `json:"covered"`
	Good       bool           `json:"good"` // nothing failed or passed unexpectedly
	DurationMS int64          `json:"ms"`
}

// parseClauses reads clauses.txt: "id  text", blank lines and # comments aside.
func parseClauses(text string) ([]Clause, error) {
	var all []Clause
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		id, text, found := strings.Cut(line, "  ")
		if !found || slices.ContainsFunc(all, func(c Clause) bool { return c.ID == id }) {
			return nil, fmt.Errorf("clause %q: want an id of its own, two blanks, and a text", line)
		}
		all = append(all, Clause{ID: id, Text: strings.TrimSpace(text)})
	}
	return all, nil
}

func newReport(s *Suite, runs []Run, took time.Duration) *Report {
	r := &Report{Lifecycle: s.Lifecycle, Counts: map[Status]int{}, Runs: runs, DurationMS: took.Milliseconds()}
	ran := map[string][]string{}
	for _, run := range runs {
		r.Counts[run.Status]++
		ran[run.Case] = run.Clauses
	}
	r.Cases = len(ran)
	r.Good = len(runs) > 0 && r.Counts[Fail] == 0 && r.Counts[Unexpected] == 0
	r.Clauses, _ = parseClauses(clauseText) // a test holds that file
	for i, c := range r.Clauses {
		for _, ids := range ran {
			if slices.Contains(ids, c.ID) {
				r.Clauses[i].Cases++
			}
		}
		if r.Clauses[i].Cases > 0 {
			r.Covered++
		}
	}
	return r
}

func (r *Report) print(w io.Writer, verbose, coverage bool) {
	for _, run := range r.Runs {
		name := fmt.Sprintf("%s[%s]", run.Case, run.API)
		switch run.Status {
		case Fail:
			fmt.Fprintf(w, "FAIL   %s: %s\n", name, run.Title)
			fmt.Fprintf(w, "\tclauses %s\n", strings.Join(run.Clauses, ", "))
			for _, line := range run.Diff {
				fmt.Fprintf(w, "\t%s\n", strings.ReplaceAll(line, "\n", "\n\t"))
			}
		case Unexpected:
			fmt.Fprintf(w, "PASS!  %s: listed as known, and passes: %s\n", name, run.Title)
		case Known:
			fmt.Fprintf(w, "known  %s: %s\n", name, run.Reason)
		case Pass:
			if verbose {
				fmt.Fprintf(w, "pass   %s: %s (%d ms)\n", name, run.Title, run.Millis)
			}
		}
	}
	if coverage {
		for _, c := range r.Clauses {
			fmt.Fprintf(w, "%4d  %s  %s\n", c.Cases, c.ID, c.Text)
		}
	}
	fmt.Fprintf(w, "%d cases, %d runs: %d passed, %d failed, %d known, %d passed unexpectedly; %d of %d clauses covered; %.1f s\n",
		r.Cases, len(r.Runs), r.Counts[Pass], r.Counts[Fail], r.Counts[Known], r.Counts[Unexpected], r.Covered, len(r.Clauses),
		float64(r.DurationMS)/1000)
}
