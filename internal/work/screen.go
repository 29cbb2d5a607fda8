package work

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// A screen is the platform.UI of a build: it writes what happens as lines to the build's log, and knows where the build is.
type screen struct {
	log *logPipe

	mu sync.Mutex
	at Progress
	to []*transcript.LineWriter // to flush in the end
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

func (s *screen) line(text string) { s.log.add(text, "\n") }

// Output implements platform.UI. Colours of buildpacks stay in the log: who shows it makes it safe.
func (s *screen) Output(p platform.Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	prefix := "[" + string(bp.ID) + "] "
	l := &transcript.LineWriter{Emit: func(line string) { s.log.add(prefix, line, "\n") }}
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

const (
	logEvery = 50 * time.Millisecond // how long a line may wait for others
	logPiece = 64 << 10              // how much goes in one piece
	logAhead = 1 << 20               // how much may wait; more makes the build wait
)

// A logPipe gathers lines into pieces and sends them one after the other, so that a build that prints a lot does not
// make a call per line. add blocks only while logAhead bytes wait. After send has failed, or ctx ended, what is
// written is dropped: a log does not stop a build. A goroutine sends until close, or until it cannot.
type logPipe struct {
	mu   sync.Mutex
	room *sync.Cond
	wait bytes.Buffer
	more chan struct{} // something was written
	much chan struct{} // so much that the rest does not wait for others
	over bool          // no more is taken
	end  chan struct{} // closed: send what is there and return
	done chan struct{}
}

func newLogPipe(ctx context.Context, send func(context.Context, []byte) error) *logPipe {
	l := &logPipe{more: make(chan struct{}, 1), much: make(chan struct{}, 1), end: make(chan struct{}), done: make(chan struct{})}
	l.room = sync.NewCond(&l.mu)
	go l.run(ctx, send)
	return l
}

// add takes whole lines, in parts: a program may print millions, and joining the parts first would cost more than the
// rest of it.
func (l *logPipe) add(parts ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.wait.Len() > logAhead && !l.over {
		l.room.Wait()
	}
	if l.over {
		return
	}
	for _, p := range parts {
		l.wait.WriteString(p)
	}
	select {
	case l.more <- struct{}{}:
	default:
	}
	if l.wait.Len() < logPiece {
		return
	}
	select {
	case l.much <- struct{}{}:
	default:
	}
}

func (l *logPipe) run(ctx context.Context, send func(context.Context, []byte) error) {
	defer close(l.done)
	for last := false; !last; {
		select {
		case <-l.end:
			last = true
		case <-l.more:
		}
		if !l.drain(ctx, send) {
			return
		}
		if !last { // the first line after a silence has gone at once; others gather
			select {
			case <-l.end:
			case <-l.much: // or a build could print no more than logAhead in that time
			case <-time.After(logEvery):
			}
		}
	}
}

// drain sends what waits; false: nothing will be sent any more.
func (l *logPipe) drain(ctx context.Context, send func(context.Context, []byte) error) bool {
	for {
		l.mu.Lock()
		piece := bytes.Clone(l.wait.Next(logPiece))
		l.room.Broadcast()
		l.mu.Unlock()
		if len(piece) == 0 {
			return true
		}
		if err := send(ctx, piece); err != nil {
			l.mu.Lock()
			l.over = true
			l.wait.Reset()
			l.room.Broadcast()
			l.mu.Unlock()
			return false
		}
	}
}

// close sends what is left and returns when it has arrived, or could not.
func (l *logPipe) close() {
	close(l.end)
	<-l.done
	l.mu.Lock()
	l.over = true
	l.room.Broadcast()
	l.mu.Unlock()
}
