package agent

import (
	"fmt"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// TakeStdio moves standard input and output, which carry the protocol, to descriptors that no child inherits, and puts
// /dev/null and standard error in their places: nothing that prints can break into the protocol.
func TakeStdio() (in, out *os.File, err error) {
	if err := closeOnExec(); err != nil {
		return nil, nil, fmt.Errorf("keep descriptors from children: %w", err)
	}
	r, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return nil, nil, fmt.Errorf("move standard input: %w", err)
	}
	w, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return nil, nil, fmt.Errorf("move standard output: %w", err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/null: %w", err)
	}
	defer unix.Close(null)
	if err := unix.Dup3(null, 0, 0); err != nil {
		return nil, nil, fmt.Errorf("replace standard input: %w", err)
	}
	if err := unix.Dup3(2, 1, 0); err != nil { // without a standard error there is nowhere to say it
		_ = unix.Dup3(null, 1, 0)
	}
	return os.NewFile(uintptr(r), "slipway"), os.NewFile(uintptr(w), "slipway"), nil
}

// closeOnExec marks every descriptor but the standard ones, also those that whoever started us left open.
func closeOnExec() error {
	const first = 3
	if unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	names, err := os.ReadDir("/proc/self/fd") // kernels before 5.11
	if err != nil {
		return err
	}
	for _, n := range names {
		if fd, err := strconv.Atoi(n.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
