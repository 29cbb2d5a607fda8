package main

import (
	"context"
	"fmt"
	"io"

	indexhealth "github.com/slipway-build/slipway/internal/health"
	"github.com/slipway-build/slipway/internal/transcript"
)

// serviceHealth shows what the build service found out last, of all its indexes or of one, and asks no registry.
func (a *app) serviceHealth(ctx context.Context, only string) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	all, err := c.IndexHealth(ctx)
	if err != nil {
		return err
	}
	shown, dead, live := all[:0], 0, 0
	for _, h := range all {
		if only == "" || h.Index == only {
			shown, dead, live = append(shown, h), dead+h.Counts[string(indexhealth.Dead)], live+h.Live
		}
	}
	if len(shown) == 0 && only != "" {
		return usagef("--index %s: the build service has no such index", only)
	}
	err = a.print(shown, func(w io.Writer) {
		var lines [][]string
		for _, h := range shown {
			for _, one := range h.Results {
				lines = append(lines, []string{one.Buildpack + "@" + one.Version, one.State, orText(one.Detail, "-"), one.Address})
			}
		}
		if len(lines) > 0 && !a.quiet {
			table(w, "BUILDPACK STATE WHY ADDRESS", lines)
			fmt.Fprintln(w)
		}
		for _, h := range shown {
			counts := map[indexhealth.State]int{}
			for state, n := range h.Counts {
				counts[indexhealth.State(state)] = n
			}
			fmt.Fprintln(w, healthText(transcript.Clean(h.Index, false), h.Live, h.Checked, counts))
		}
	})
	if err == nil && dead > 0 {
		err = &statusError{code: 1, text: fmt.Sprintf("%d of %d versions are dead", dead, live), quiet: a.json()}
	}
	return err
}
