package work

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	logEvery = 50 * time.Millisecond // how long a line may wait for others
	logPiece = 64 << 10              // how much goes in one piece
	logAhead = 1 << 20               // how much may wait; more makes the build wait
)

// A logPipe gathers lines into pieces and sends them one after the other, so that a build that prints a lot does not
// make a call per line. add blocks only while logAhead bytes wait. After send has failed, or ctx ended, what is
// written is dropped: a log does not stop a build. A goroutine sends until close, or until it cannot.
type logPipe struct {
	mu    sync.Mutex
	room  *sync.Cond
	wait  bytes.Buffer
	gap   int64         // bytes that are left out
	at    int           // of wait are before the gap
	piece []byte        // what is being sent
	more  chan struct{} // something was written
	much  chan struct{} // so much that the rest does not wait for others
	over  bool          // no more is taken
	end   chan struct{} // closed: send what is there and return
	done  chan struct{}
	full  atomic.Bool // of what comes now only the end is wanted
}

func newLogPipe(ctx context.Context, send func(context.Context, Piece) (full bool, err error)) *logPipe {
	l := &logPipe{more: make(chan struct{}, 1), much: make(chan struct{}, 1), end: make(chan struct{}), done: make(chan struct{})}
	l.room = sync.NewCond(&l.mu)
	go l.run(ctx, send)
	return l
}

// add takes whole lines.
func (l *logPipe) add(lines []byte) {
	if len(lines) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.wait.Len() > logAhead && !l.over {
		l.room.Wait()
	}
	if l.over {
		return
	}
	l.wait.Write(lines)
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

// skip tells of n bytes that follow what was added, and are left out.
func (l *logPipe) skip(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.gap > 0 && !l.over {
		l.room.Wait()
	}
	if l.over || n <= 0 {
		return
	}
	l.gap, l.at = n, l.wait.Len()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// next takes the next piece: as much text as goes in one, and what is left out behind it. It is valid until the next.
func (l *logPipe) next() (p Piece) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := logPiece
	if l.gap > 0 {
		size = min(size, l.at)
	}
	l.piece = append(l.piece[:0], l.wait.Next(size)...)
	p.Text = l.piece
	if l.at -= len(p.Text); l.at <= 0 {
		p.Left, l.gap, l.at = l.gap, 0, 0
	}
	l.room.Broadcast()
	return p
}

func (l *logPipe) run(ctx context.Context, send func(context.Context, Piece) (full bool, err error)) {
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
func (l *logPipe) drain(ctx context.Context, send func(context.Context, Piece) (full bool, err error)) bool {
	for {
		piece := l.next()
		if len(piece.Text) == 0 && piece.Left == 0 {
			return true
		}
		full, err := send(ctx, piece)
		l.full.Store(full)
		if err != nil {
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
