package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// A view shows a build as it goes. close ends what it has on the screen; nothing is shown after.
type view interface {
	platform.UI
	result(*platform.Result)
	// hold keeps the screen free for somebody else until release. Who has something to show waits.
	hold() (release func())
	close()
}

// view is the one for these flags and this terminal: JSON lines, next to nothing, lines with a live status
// below, or lines.
func (a *app) view() view {
	switch {
	case a.json():
		return &jsonView{w: a.stdout}
	case a.quiet:
		return &quietView{out: a.stdout, warn: a.warn}
	}
	p := &plainView{w: a.stdout, paint: a.paint(a.stdout), clock: a.clock(), verbose: a.verbose}
	if a.isTerminal(a.stdout) && p.paint.on && a.getenv("CI") == "" {
		return newLiveView(p, a.stdout)
	}
	return p
}

// plainView writes a build as lines, for logs and CI.
type plainView struct {
	mu      sync.Mutex
	w       io.Writer
	paint   paint
	clock   func() string
	verbose bool
}

// line writes one line; text is trusted or has been cleaned.
func (p *plainView) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s%s\n", p.clock(), text)
}

func (p *plainView) hold() (release func()) {
	p.mu.Lock()
	return p.mu.Unlock
}

func (p *plainView) close() {}

// Event implements platform.UI.
func (p *plainView) Event(e platform.Event) {
	for _, l := range p.style().Describe(e) {
		p.line(l)
	}
}

// Output implements platform.UI.
func (p *plainView) Output(_ platform.Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	l := &transcript.LineWriter{Emit: func(line string) { p.line(p.prefixed(bp, line)) }}
	return l, l
}

func (p *plainView) prefixed(bp cnb.Ref, line string) string {
	return p.paint.name.Render("["+string(bp.ID)+"]") + " " + transcript.Clean(line, p.paint.on)
}

func (p *plainView) result(r *platform.Result) {
	for _, l := range p.summary(r) {
		p.line(l)
	}
}

// style is how the lines of a build look here.
func (p *plainView) style() transcript.Style {
	return transcript.Style{
		Verbose: p.verbose, Head: p.paint.head.Render, Warn: p.paint.warn.Render,
		Good: p.paint.good.UnsetBold().Render, Faint: p.paint.faint.Render,
	}
}

// orText is a text, or another where there is none.
func orText(text, other string) string {
	if text != "" {
		return text
	}
	return other
}
