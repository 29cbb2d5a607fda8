package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/builder"
)

// A level is how much a reader wants to know.
type level int

const (
	levelDebug level = iota
	levelInfo
	levelWarn
	levelError
)

// parseLevel reads -log-level.
func parseLevel(s string) (level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return levelDebug, nil
	case "info":
		return levelInfo, nil
	case "warn", "warning":
		return levelWarn, nil
	case "error", "fatal":
		return levelError, nil
	}
	return levelInfo, fmt.Errorf("failed to parse log level: invalid level %q: want debug, info, warn or error", s)
}

// A logger writes the lines that platforms and people know from the lifecycle. Safe for concurrent use.
type logger struct {
	mu    sync.Mutex
	w     io.Writer
	min   level
	plain bool // no colours
}

func (l *logger) debugf(format string, args ...any) { l.write(levelDebug, "", format, args) }
func (l *logger) infof(format string, args ...any)  { l.write(levelInfo, "", format, args) }
func (l *logger) warnf(format string, args ...any) {
	l.write(levelWarn, l.colour("\x1b[33;1m", "Warning: "), format, args)
}
func (l *logger) errorf(format string, args ...any) {
	l.write(levelError, l.colour("\x1b[31;1m", "ERROR: "), format, args)
}

// phase is the heading of one part of creator's work.
func (l *logger) phase(name string) { l.infof("%s", l.colour("\x1b[36m", "===> "+name)) }

func (l *logger) colour(code, text string) string {
	if l.plain {
		return text
	}
	return code + text + "\x1b[0m"
}

func (l *logger) write(at level, prefix, format string, args []any) {
	if at < l.min {
		return
	}
	text := prefix + strings.TrimSuffix(fmt.Sprintf(format, args...), "\n") + "\n"
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.w, text) // nobody is left to tell when the log cannot be written
}

// restored says what Restore's events are about.
func (l *logger) restored(e builder.Event) {
	name := string(e.Buildpack.ID) + ":" + e.Layer
	switch e.Kind {
	case builder.EventLayerRestoredMetadata:
		l.infof("Restoring metadata for %q from %s", name, e.Text)
	case builder.EventLayerRestoredData:
		l.infof("Restoring data for %q from cache", name)
	case builder.EventWarning:
		l.warnf("%s", e.Text)
	}
}

// built says what Build's events are about: nothing but what goes wrong, because buildpacks speak for themselves.
func (l *logger) built(e builder.Event) {
	switch e.Kind {
	case builder.EventBuildStart:
		l.debugf("Running build for buildpack %s", e.Buildpack)
	case builder.EventBuildDone:
		l.debugf("Finished running build for buildpack %s", e.Buildpack)
	case builder.EventWarning:
		l.warnf("buildpack %s: %s", e.Buildpack, e.Text)
	}
}

// exportLog says what Export's events are about. The layers of the app are counted, not named; so its state lives
// as long as one export.
type exportLog struct {
	*logger
	appAdded, appReused int
}

func (l *exportLog) event(e builder.Event) {
	if strings.HasPrefix(e.Text, "slice-") && (e.Kind == builder.EventLayerAdded || e.Kind == builder.EventLayerReused) {
		if e.Kind == builder.EventLayerReused {
			l.appReused++
		} else {
			l.appAdded++
		}
		return
	}
	l.app()
	switch e.Kind {
	case builder.EventLayerAdded:
		l.infof("Adding layer '%s'", e.Text)
	case builder.EventLayerReused:
		l.infof("Reusing layer '%s'", e.Text)
	case builder.EventCacheAdded:
		l.infof("Adding cache layer '%s'", e.Text)
	case builder.EventCacheReused:
		l.infof("Reusing cache layer '%s'", e.Text)
	case builder.EventWarning:
		l.warnf("%s", e.Text)
	}
}

// app says how many layers the app had, once.
func (l *exportLog) app() {
	all := l.appAdded + l.appReused
	if l.appReused > 0 {
		l.infof("Reused %d/%d app layer(s)", l.appReused, all)
	}
	if l.appAdded > 0 {
		l.infof("Added %d/%d app layer(s)", l.appAdded, all)
	}
	l.appAdded, l.appReused = 0, 0
}
