package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
)

// A view shows a build as it goes. close ends what it has on the screen; nothing is shown after.
type view interface {
	platform.UI
	result(*platform.Result)
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

func (p *plainView) close() {}

// Event implements platform.UI.
func (p *plainView) Event(e platform.Event) {
	for _, l := range p.describe(e) {
		p.line(l)
	}
}

// Output implements platform.UI.
func (p *plainView) Output(_ platform.Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	l := &lineWriter{emit: func(line string) { p.line(p.prefixed(bp, line)) }}
	return l, l
}

func (p *plainView) prefixed(bp cnb.Ref, line string) string {
	return p.paint.name.Render("["+string(bp.ID)+"]") + " " + clean(line, p.paint.on)
}

func (p *plainView) result(r *platform.Result) {
	for _, l := range p.summary(r) {
		p.line(l)
	}
}

// headings are the phases as the CNB lifecycle writes them.
func heading(p platform.Phase) string {
	switch p {
	case platform.PhasePrepare:
		return "PREPARING"
	case platform.PhaseAnalyze:
		return "ANALYZING"
	case platform.PhaseDetect:
		return "DETECTING"
	case platform.PhaseRestore:
		return "RESTORING"
	case platform.PhaseBuild:
		return "BUILDING"
	case platform.PhaseExport:
		return "EXPORTING"
	}
	return strings.ToUpper(string(p))
}

// describe is what a reader gets to see of an event: no line, or some.
func (p *plainView) describe(e platform.Event) []string {
	switch e.Kind {
	case platform.EventPhaseStart:
		lines := []string{p.paint.head.Render("===> " + heading(e.Phase))}
		if e.Text != "" {
			lines = append(lines, p.ifVerbose("Containers: %s", clean(e.Text, false))...)
		}
		return lines
	case platform.EventPhaseEnd:
		if p.verbose {
			return []string{p.paint.faint.Render(fmt.Sprintf("%s took %s", e.Phase, timeText(e.Elapsed)))}
		}
	case platform.EventWarning:
		return []string{p.paint.warn.Render("Warning: ") + clean(e.Text, false)}
	case platform.EventNote:
		return []string{clean(e.Text, false)}
	case platform.EventEngine:
		return p.engine(*e.Engine)
	}
	return nil
}

// engine describes an event of package builder, in the lifecycle's words where it has some.
func (p *plainView) engine(e builder.Event) []string {
	text, layer := clean(e.Text, false), clean(layerID(e), false)
	one := func(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }
	switch e.Kind {
	case builder.EventDetectPass:
		return p.ifVerbose("%s: pass (%s)", e.Buildpack, timeText(e.Duration))
	case builder.EventDetectFail:
		return p.ifVerbose("%s: no (%s)", e.Buildpack, timeText(e.Duration))
	case builder.EventDetectSkip:
		return p.ifVerbose("%s: left out: %s", e.Buildpack, text)
	case builder.EventDetectError:
		return []string{p.paint.warn.Render(fmt.Sprintf("%s: detect went wrong: %s", e.Buildpack, text))}
	case builder.EventGroupFailed:
		return p.ifVerbose("group failed: %s", text)
	case builder.EventGroupChosen:
		return one("%s", text)
	case builder.EventBuildDone:
		return []string{p.paint.faint.Render(fmt.Sprintf("%s built in %s", e.Buildpack, timeText(e.Duration)))}
	case builder.EventLayerRestoredMetadata:
		return one("Restoring metadata for %q from %s", layer, text)
	case builder.EventLayerRestoredData:
		return one("Restoring data for %q from cache%s", layer, size(e))
	case builder.EventLayerAdded:
		return []string{p.paint.good.UnsetBold().Render("Adding layer '"+orText(text, layer)+"'") + size(e)}
	case builder.EventLayerReused:
		return one("Reusing layer '%s'", orText(text, layer))
	case builder.EventCacheAdded:
		return one("Adding cache layer '%s'%s", orText(text, layer), size(e))
	case builder.EventCacheReused:
		return one("Reusing cache layer '%s'", orText(text, layer))
	case builder.EventWarning:
		if e.Buildpack.ID != "" {
			text = e.Buildpack.String() + ": " + text
		}
		return []string{p.paint.warn.Render("Warning: ") + text}
	}
	return nil
}

func (p *plainView) ifVerbose(format string, args ...any) []string {
	if !p.verbose {
		return nil
	}
	return []string{fmt.Sprintf(format, args...)}
}

// layerID is "<buildpack>:<layer>".
func layerID(e builder.Event) string {
	if e.Buildpack.ID == "" {
		return e.Layer
	}
	return string(e.Buildpack.ID) + ":" + e.Layer
}

func orText(text, other string) string {
	if text != "" {
		return text
	}
	return other
}

func size(e builder.Event) string {
	if e.Bytes <= 0 {
		return ""
	}
	return " (" + bytesText(e.Bytes) + ")"
}
