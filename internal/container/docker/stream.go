package docker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

// drainTimeout is how long an ended container's output may stay silent before
// we stop waiting for its end. The reader of the output may be as slow as it
// likes.
const drainTimeout = 10 * time.Second

// stream is an attached connection with its two copies.
type stream struct {
	conn    client.HijackedResponse
	stdin   io.Reader
	ended   atomic.Bool   // the container has exited
	reading atomic.Bool   // the output's copy waits for the engine, not for a writer
	outDone chan struct{} // closed after outErr is set
	outErr  error
	inDone  chan struct{}
}

func newStream(conn client.HijackedResponse, s container.Streams, terminal bool) *stream {
	st := &stream{conn: conn, stdin: s.Stdin, outDone: make(chan struct{}), inDone: make(chan struct{})}
	go func() {
		defer close(st.outDone)
		if st.outErr = st.output(writer(s.Stdout), writer(s.Stderr), terminal); st.outErr != nil {
			// Nobody reads any more, and an engine whose writes block can neither
			// end nor remove the container.
			st.conn.Close()
		}
	}()
	go func() { defer close(st.inDone); st.input(terminal) }()
	return st
}

func writer(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// output copies until the engine closes the stream, or a writer fails.
func (s *stream) output(stdout, stderr io.Writer, terminal bool) error {
	in := bufio.NewReaderSize((*drain)(s), 64<<10)
	var err error
	if terminal {
		_, err = io.Copy(stdout, in)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, in)
	}
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("copy the container's output: %w", err)
}

// input copies until stdin ends, then tells the container so. A terminal's end
// is a key its user presses; engines answer a closed one by closing the output.
func (s *stream) input(terminal bool) {
	if s.stdin != nil {
		// Either side's error means nobody reads or nobody writes any more; the
		// container's end is reported by others.
		_, _ = io.Copy(s.conn.Conn, s.stdin)
	}
	if !terminal {
		_ = s.conn.CloseWrite()
	}
}

// drain is the connection's read side: after the container's end each read has
// a deadline, so that an engine that forgets to close cannot hold us.
type drain stream

func (d *drain) Read(b []byte) (int, error) {
	if d.ended.Load() {
		_ = d.conn.Conn.SetReadDeadline(time.Now().Add(drainTimeout))
	}
	d.reading.Store(true)
	n, err := d.conn.Conn.Read(b)
	d.reading.Store(false)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}

// exited tells the output's copy that no more will be written.
func (s *stream) exited() {
	s.ended.Store(true)
	_ = s.conn.Conn.SetReadDeadline(time.Now().Add(drainTimeout))
}

// lastWords copies what a killed container still wrote, until gone is closed
// and a little longer. A writer that blocks loses them: see newStream.
func (s *stream) lastWords(gone <-chan struct{}) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for stuck := 0; stuck < 2; {
		select {
		case <-s.outDone:
			return
		case <-tick.C:
			if stuck++; s.reading.Load() {
				stuck = 0
			}
		case <-gone:
			s.exited()
			select {
			case <-s.outDone:
			case <-time.After(time.Second):
			}
			return
		}
	}
	s.conn.Close()
}

// close ends both copies. A reader that cannot be interrupted keeps its
// goroutine until its Read returns (see container.Streams).
func (s *stream) close() {
	s.conn.Close()
	wait, restore := container.Interrupt(s.stdin)
	defer restore()
	select {
	case <-s.inDone:
	case <-time.After(wait):
	}
}
