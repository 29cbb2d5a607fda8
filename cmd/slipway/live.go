package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// Terminal sequences of the live view. begin and end make a terminal that knows them draw what is between
// at once; others leave them alone.
const (
	beginFrame = "\x1b[?2026h"
	endFrame   = "\x1b[?2026l"
	eraseLine  = "\r\x1b[2K"
	lineUp     = "\x1b[A"
)

// liveEvery is the time between two looks of the status line: fast enough for a clock with tenths.
const liveEvery = 100 * time.Millisecond

// liveView is plainView on a terminal, with one status line below everything: the phase, the buildpack that
// runs, since when, and the last line that it printed. Lines scroll above it; each change is one write.
type liveView struct {
	plain *plainView
	out   io.Writer
	width func() int

	mu      sync.Mutex
	phase   platform.Phase
	since   time.Time // start of what the status is about
	running cnb.Ref
	last    string
	drawn   string
	frame   int

	stop chan struct{}
	done chan struct{}
}

func newLiveView(p *plainView, out io.Writer) *liveView {
	l := &liveView{plain: p, out: out, stop: make(chan struct{}), done: make(chan struct{})}
	l.width = func() int {
		if f, ok := file(out); ok {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
		}
		return 80
	}
	p.w = l
	go l.tick()
	return l
}

// tick redraws the status as time goes by.
func (l *liveView) tick() {
	defer close(l.done)
	t := time.NewTicker(liveEvery)
	defer t.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-t.C:
			l.mu.Lock()
			l.frame++
			l.draw("")
			l.mu.Unlock()
		}
	}
}

// Write prints whole lines above the status.
func (l *liveView) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(string(b))
	return len(b), nil
}

// draw puts lines above the status line and the status below them, in one write and only if something changed.
func (l *liveView) draw(lines string) {
	status := l.status()
	if status == "" && l.drawn == "" {
		_, _ = io.WriteString(l.out, lines)
		return
	}
	if lines == "" && status == l.drawn {
		return
	}
	var b strings.Builder
	b.WriteString(beginFrame)
	if l.drawn != "" {
		// A terminal that was made narrower has wrapped the line.
		if rows := (ansi.StringWidth(l.drawn) - 1) / max(l.width(), 1); rows > 0 {
			b.WriteString(eraseLine + strings.Repeat(lineUp+eraseLine, rows))
		} else {
			b.WriteString(eraseLine)
		}
	}
	b.WriteString(lines)
	b.WriteString(status)
	b.WriteString(endFrame)
	l.drawn = status
	_, _ = io.WriteString(l.out, b.String())
}

// status is the line at the bottom; empty where nothing goes on.
func (l *liveView) status() string {
	if l.phase == "" {
		return ""
	}
	paint := l.plain.paint
	text := string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[l.frame%10]) + " " + paint.head.Render(strings.ToLower(transcript.Heading(l.phase)))
	if l.running.ID != "" {
		text += " " + paint.name.Render(l.running.String())
	}
	text += fmt.Sprintf(" %.1fs", time.Since(l.since).Seconds())
	if l.last != "" {
		text += paint.faint.Render("  " + l.last)
	}
	// Three columns less than there are: a full line would wrap in some terminals, and in all of them with the
	// ^C that they show behind it.
	return ansi.Truncate(text, max(l.width()-3, 10), "…")
}

// Event implements platform.UI.
func (l *liveView) Event(e platform.Event) {
	l.mu.Lock()
	switch {
	case e.Kind == platform.EventPhaseStart:
		l.phase, l.since, l.running, l.last = e.Phase, time.Now(), cnb.Ref{}, ""
	case e.Engine != nil && e.Engine.Kind == builder.EventBuildStart:
		l.running, l.since, l.last = e.Engine.Buildpack, time.Now(), ""
	case e.Engine != nil && e.Engine.Kind == builder.EventBuildDone:
		l.running, l.last = cnb.Ref{}, ""
	}
	l.mu.Unlock()
	l.plain.Event(e)
}

// Output implements platform.UI.
func (l *liveView) Output(_ platform.Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	w := &transcript.LineWriter{Emit: func(line string) {
		if text := strings.TrimSpace(transcript.Clean(line, false)); text != "" {
			l.mu.Lock()
			l.last = text
			l.mu.Unlock()
		}
		l.plain.line(l.plain.prefixed(bp, line))
	}}
	return w, w
}

// hold takes the status off the screen meanwhile.
func (l *liveView) hold() (release func()) {
	leave := l.plain.hold()
	l.mu.Lock()
	phase := l.phase
	l.phase = ""
	l.draw("")
	return func() {
		l.phase = phase
		l.mu.Unlock()
		leave()
	}
}

// close takes the status off the screen.
func (l *liveView) close() {
	select {
	case <-l.stop:
		return
	default:
	}
	close(l.stop)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase = ""
	l.draw("")
}

func (l *liveView) result(r *platform.Result) {
	l.close()
	l.plain.result(r)
}
