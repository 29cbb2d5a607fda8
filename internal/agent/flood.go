package agent

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What is thrown away is read in large pieces and not at once: a reader that is woken whenever the program writes takes
// more time than the program does.
const (
	floodSize  = 1 << 20 // of the pipe: what the kernel lets everybody have
	floodPause = time.Millisecond
	floodQuiet = 10 * time.Millisecond // at most, between looks at a program that prints nothing now
)

// flood takes the rest of r, past the runtime's poller, which would be woken by each write. It is false where it could
// not begin.
func (o *outlet) flood(r *os.File, ended *atomic.Bool) bool {
	fd, pause := -1, time.Duration(0)
	conn, err := r.SyscallConn()
	if err == nil {
		err = conn.Control(func(of uintptr) {
			if size, _ := unix.FcntlInt(of, unix.F_SETPIPE_SZ, floodSize); size >= floodSize {
				pause = floodPause // a pipe that stayed small would have the program wait
			}
			fd, _ = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0)
		})
	}
	if err != nil || fd < 0 {
		return false
	}
	defer unix.Close(fd)
	r.Close()
	buf, wait := make([]byte, floodSize), pause
	for last := false; ; {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n > 0 {
			o.take(buf[:n])
			wait = pause
		}
		switch {
		case last || n <= 0 && !errors.Is(err, unix.EAGAIN):
			return true
		case n <= 0:
			wait = min(2*wait+floodPause/8, floodQuiet)
		}
		// The pipe is at most as large as the buffer: what is there when the program has ended takes one more look.
		if last = ended.Load(); !last && wait > 0 {
			t := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&t, nil)
		}
	}
}
