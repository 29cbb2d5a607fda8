package work

import (
	"io"
	"sync"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// A screen is the platform.UI of a build: it writes what happens as lines to the build's log, and knows where the build is.
type screen struct {
	log *logPipe

	mu sync.Mutex
	at Progress
	to []*output // to flush in the end
}

// Event implements platform.UI.
func (s *screen) Event(e platform.Event) {
	if e.Kind == platform.EventPhaseStart {
		s.mu.Lock()
		s.at = Progress{Phase: string(e.Phase)}
		s.mu.Unlock()
	}
	for _, line := range (transcript.Style{}).Describe(e) {
		s.line(line)
	}
}

func (s *screen) line(text string) { s.log.add([]byte(text + "\n")) }

// Output implements platform.UI. Colours of buildpacks stay in the log: who shows it makes it safe.
func (s *screen) Output(p platform.Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	l := newOutput(s.log, "["+string(bp.ID)+"] ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if p == platform.PhaseBuild {
		s.at.Buildpack = bp.String()
	}
	s.to = append(s.to, l)
	return l, l
}

func (s *screen) progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// flush writes out lines that never ended.
func (s *screen) flush() {
	s.mu.Lock()
	to := s.to
	s.to = nil
	s.mu.Unlock()
	for _, l := range to {
		_ = l.Flush()
	}
}
