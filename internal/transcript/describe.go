// Package transcript writes a build as lines of text for people: on a terminal, in a log file, to a pushing git. What
// somebody else wrote is made safe for a terminal first.
package transcript

import (
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/platform"
)

// A Style says how lines look. A nil colour leaves its text as it is.
type Style struct {
	Verbose                 bool
	Head, Warn, Good, Faint func(...string) string
}

func (s Style) paint(colour func(...string) string, text string) string {
	if colour == nil {
		return text
	}
	return colour(text)
}

// Heading is a phase as the CNB lifecycle writes it.
func Heading(p platform.Phase) string {
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

// Describe is what a reader gets to see of an event: no line, or some.
func (s Style) Describe(e platform.Event) []string {
	switch e.Kind {
	case platform.EventPhaseStart:
		lines := []string{s.paint(s.Head, "===> "+Heading(e.Phase))}
		if e.Text != "" {
			lines = append(lines, s.ifVerbose("Containers: %s", Clean(e.Text, false))...)
		}
		return lines
	case platform.EventPhaseEnd:
		if s.Verbose {
			return []string{s.paint(s.Faint, fmt.Sprintf("%s took %s", e.Phase, Duration(e.Elapsed)))}
		}
	case platform.EventWarning:
		return []string{s.paint(s.Warn, "Warning: ") + Clean(e.Text, false)}
	case platform.EventNote:
		return []string{Clean(e.Text, false)}
	case platform.EventEngine:
		return s.engine(*e.Engine)
	}
	return nil
}

// engine describes an event of package builder, in the lifecycle's words where it has some.
func (s Style) engine(e builder.Event) []string {
	text, layer := Clean(e.Text, false), Clean(layerID(e), false)
	one := func(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }
	switch e.Kind {
	case builder.EventDetectPass:
		return s.ifVerbose("%s: pass (%s)", e.Buildpack, Duration(e.Duration))
	case builder.EventDetectFail:
		return s.ifVerbose("%s: no (%s)", e.Buildpack, Duration(e.Duration))
	case builder.EventDetectSkip:
		return s.ifVerbose("%s: left out: %s", e.Buildpack, text)
	case builder.EventDetectError:
		return []string{s.paint(s.Warn, fmt.Sprintf("%s: detect went wrong: %s", e.Buildpack, text))}
	case builder.EventGroupFailed:
		return s.ifVerbose("group failed: %s", text)
	case builder.EventGroupChosen:
		return one("%s", text)
	case builder.EventBuildDone:
		return []string{s.paint(s.Faint, fmt.Sprintf("%s built in %s", e.Buildpack, Duration(e.Duration)))}
	case builder.EventLayerRestoredMetadata:
		return one("Restoring metadata for %q from %s", layer, text)
	case builder.EventLayerRestoredData:
		return one("Restoring data for %q from cache%s", layer, size(e))
	case builder.EventLayerAdded:
		return []string{s.paint(s.Good, "Adding layer '"+orText(text, layer)+"'") + size(e)}
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
		return []string{s.paint(s.Warn, "Warning: ") + text}
	}
	return nil
}

func (s Style) ifVerbose(format string, args ...any) []string {
	if !s.Verbose {
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
	return " (" + Bytes(e.Bytes) + ")"
}
