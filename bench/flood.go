package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// A flood is ten million lines of 100 bytes, as a chatty program formats them.
const (
	floodLines = 10_000_000
	floodLimit = 64 << 20 // of the service, and a little more for what is kept of the end
	floodMark  = "the log has reached its limit"
)

var flood = fmt.Sprintf("seq -f '%%012.0f a line of a build that says a hundred bytes at a time, and ten million times, in all a gig' 1 %d", floodLines)

// A gauge counts what is written to it and looks for the mark.
type gauge struct {
	n      int64
	marked bool
	last   []byte
}

func (g *gauge) Write(p []byte) (int, error) {
	g.n += int64(len(p))
	seen := append(g.last, p...)
	g.marked = g.marked || bytes.Contains(seen, []byte(floodMark))
	g.last = bytes.Clone(seen[max(0, len(seen)-len(floodMark)):])
	return len(p), nil
}

// flooded has a service build what prints a gigabyte, the same where nobody listens, and where it goes through a pipe
// into nothing: what a program's output costs that somebody reads at all.
func flooded(ctx context.Context, y *yard) (figures []figure, err error) {
	s, err := y.serve(ctx, 2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var loud, quiet, piped []time.Duration
	var g gauge
	for range min(y.rounds, 3) {
		t, err := s.timed(ctx, flood+" >/dev/null\n", io.Discard)
		if err != nil {
			return nil, err
		}
		quiet = append(quiet, t)
		if t, err = s.timed(ctx, flood+" | cat >/dev/null\n", io.Discard); err != nil {
			return nil, err
		}
		piped = append(piped, t)
		g = gauge{}
		if t, err = s.timed(ctx, flood+"\n", &g); err != nil {
			return nil, err
		}
		loud = append(loud, t)
		if !g.marked || g.n > floodLimit+(1<<20) {
			return nil, fmt.Errorf("a log of a gigabyte has %d bytes, marked %v", g.n, g.marked)
		}
	}
	return append([]figure{
		{what: "a build that formats 1 GB for /dev/null", Value: median(quiet).Seconds(), Unit: "s"},
		{what: "a build that pipes it to cat, for /dev/null", Value: median(piped).Seconds(), Unit: "s"},
		{what: "a build that prints it", Value: median(loud).Seconds(), Unit: "s"},
		{what: "to that for /dev/null", Value: ratio(loud, quiet), Unit: "x", AtMost: 1.2},
		{what: "to that through a pipe", Value: ratio(loud, piped), Unit: "x"},
		{what: "its log", Value: float64(g.n) / (1 << 20), Unit: "MiB", AtMost: floodLimit>>20 + 1},
	}, s.resident("serve process, resident, in the end")...), nil
}
