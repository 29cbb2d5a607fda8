package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/agent/wire"
)

// A pty is a pseudo terminal of this container.
type pty struct {
	*os.File     // the end that shows and types; a Close interrupts it
	user     int // the end that a program has; -1 when closed
}

func openPTY(size Size) (*pty, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	p := &pty{File: os.NewFile(uintptr(fd), "/dev/ptmx"), user: -1}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("unlock a pseudo terminal: %w", err), p.Close())
	}
	user, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errors.Join(fmt.Errorf("open a pseudo terminal: %w", errno), p.Close())
	}
	p.user = int(user)
	p.resize(size)
	return p, nil
}

// resize tells the terminal's programs. A terminal that has no size is one of 80 by 24 to most of them.
func (p *pty) resize(s Size) {
	conn, err := p.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns})
	})
}

// show copies what programs print until the program that has the terminal has ended, which end tells, and all that is
// there then.
func (p *pty) show(w io.Writer) {
	if _, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{p.File}); !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	conn, err := p.SyscallConn()
	if err != nil {
		return
	}
	// What outlived the program, because something else runs beside it, may print for ever.
	buf := make([]byte, wire.Chunk)
	for range maxLastWords / wire.Chunk {
		n := 0
		_ = conn.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) })
		if n <= 0 {
			return
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return
		}
	}
}

// maxLastWords is more than a terminal keeps.
const maxLastWords = 256 << 10

// end tells show.
func (p *pty) end() { _ = p.SetReadDeadline(time.Unix(1, 0)) }

// closeUser closes the program's end, once it has it.
func (p *pty) closeUser() {
	if p.user >= 0 {
		unix.Close(p.user)
		p.user = -1
	}
}
