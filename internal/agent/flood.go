package agent

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A flood is read in large pieces and not at once: a reader that is woken whenever the program writes takes more time
// than the program does.
const (
	floodSize  = 1 << 20 // so much makes a flood, and so large is its pipe: what the kernel lets everybody have
	floodPause = time.Millisecond
	floodQuiet = 100 * time.Millisecond // without a byte, and it is over
)

// flood copies output i while it comes without end, past the runtime's poller, which would be woken by each write. It
// returns what to read on from when the program prints less, and nil when it has ended.
func (o *outputs) flood(i int, r *os.File) *os.File {
	fd, pause := past(r)
	if fd < 0 {
		return r
	}
	r.Close()
	buf := make([]byte, floodSize)
	for quiet := time.Duration(0); quiet < floodQuiet; {
		// The pipe is at most as large as the buffer: what is there when the program has ended takes one more look.
		last := o.hasEnded()
		n, err := unix.Read(fd, buf)
		switch {
		case n > 0:
			o.outlets[i].take(buf[:n])
			quiet = 0
		case errors.Is(err, unix.EAGAIN):
			quiet += max(pause, floodPause)
		case !errors.Is(err, unix.EINTR):
			last = true
		}
		if last {
			unix.Close(fd)
			return nil
		}
		if wait := max(pause, min(quiet, floodPause)); wait > 0 {
			t := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&t, nil)
		}
	}
	return o.goOn(i, fd)
}

// past takes a pipe out of the runtime's poller and widens it. pause is how long its reader may pause when something
// has come: not at all where the pipe stayed small, for then the program would wait.
func past(r *os.File) (fd int, pause time.Duration) {
	fd = -1
	conn, err := r.SyscallConn()
	if err != nil {
		return fd, 0
	}
	_ = conn.Control(func(of uintptr) {
		if size, _ := unix.FcntlInt(of, unix.F_SETPIPE_SZ, floodSize); size >= floodSize {
			pause = floodPause
		}
		if fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			fd = -1
		}
	})
	return fd, pause
}

func (o *outputs) hasEnded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// goOn gives a pipe to the poller again. A program that has ended meanwhile is noticed at once.
func (o *outputs) goOn(i, fd int) *os.File {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := os.NewFile(uintptr(fd), "output")
	if o.ended {
		_ = r.SetReadDeadline(time.Unix(1, 0))
	}
	o.readers[i] = r
	return r
}
