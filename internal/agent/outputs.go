package agent

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/agent/wire"
)

// outputs are the pipes of one execution: 0 is standard output, 1 standard error.
type outputs struct {
	outlets [2]outlet
	writers [2]int
	n       int // 1: both are one pipe
	wg      sync.WaitGroup

	mu      sync.Mutex
	readers [2]*os.File
	ended   bool // the program has
}

// pipeSize is asked for, not needed: fewer switches between a program that writes much and us.
const pipeSize = 256 << 10

func newOutputs(call *wire.Call, merge bool) (*outputs, error) {
	o := &outputs{writers: [2]int{-1, -1}, n: 2}
	if merge {
		o.n = 1
	}
	for i := range o.n {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			o.close()
			return nil, err
		}
		o.writers[i] = p[1]
		_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeSize)
		if err := unix.SetNonblock(p[0], true); err != nil { // our end only: the poller wakes us
			unix.Close(p[0])
			o.close()
			return nil, err
		}
		o.readers[i] = os.NewFile(uintptr(p[0]), "output")
		o.outlets[i] = outlet{call: call, stream: i, w: call.Writer(i), last: '\n'}
	}
	if merge {
		o.writers[1] = o.writers[0]
	}
	return o, nil
}

// start closes our copies of the program's ends and copies what it writes to the streams of the call.
func (o *outputs) start() {
	o.closeWriters()
	for i := range o.n {
		o.wg.Go(func() { o.copy(i) })
	}
}

// copy takes all that output i prints, and returns after what is there when the program has ended.
func (o *outputs) copy(i int) {
	r, buf := o.readers[i], make([]byte, wire.Chunk)
	for much := 0; ; {
		n, err := r.Read(buf)
		o.outlets[i].take(buf[:n])
		much += n
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			leftover(r, &o.outlets[i], buf)
			return
		case err != nil:
			return
		case much >= floodSize:
			if r, much = o.flood(i, r), 0; r == nil {
				return
			}
		}
	}
}

// drain returns when what the program has written is on its way, and gives what was not sent. A process that outlived
// it, because another request still runs, may hold the pipe open: that is not waited for.
func (o *outputs) drain() (rests [2]*rest) {
	o.mu.Lock()
	o.ended = true
	for i := range o.n {
		_ = o.readers[i].SetReadDeadline(time.Unix(1, 0))
	}
	o.mu.Unlock()
	o.wg.Wait()
	for i := range o.n {
		rests[i] = o.outlets[i].rest.end()
	}
	return rests
}

// leftover copies what is in the pipe now, and no more.
func leftover(r *os.File, to *outlet, buf []byte) {
	conn, err := r.SyscallConn()
	if err != nil || r.SetReadDeadline(time.Time{}) != nil {
		return
	}
	left := 0
	_ = conn.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	for left > 0 {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), buf)
			return true
		})
		if err != nil || n <= 0 {
			return
		}
		to.take(buf[:n])
		left -= n
	}
}

func (o *outputs) closeWriters() {
	for i := range o.n {
		if o.writers[i] >= 0 {
			unix.Close(o.writers[i])
		}
	}
	o.writers = [2]int{-1, -1}
}

func (o *outputs) close() {
	o.closeWriters()
	for _, r := range o.readers {
		if r != nil {
			r.Close()
		}
	}
}
