package agent

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropCapabilities leaves a collector that runs as root what it needs to own and read a build's files whatever their
// modes, and takes the rest of root's power from all threads. Where it is an ordinary user there is nothing to drop.
func dropCapabilities() error {
	const keep = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	caps[0].Permitted &= keep
	caps[0].Effective, caps[0].Inheritable = caps[0].Permitted, 0
	caps[1] = unix.CapUserData{}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&caps[0])), 0)
	if errno != 0 && errno != syscall.ENOTSUP { // a binary with cgo, as tests are, cannot speak for all its threads
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return noNewPrivileges()
}

// noNewPrivileges is for all threads, which only a binary without cgo can do; the container's runtime does it too.
func noNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno != 0 && errno != syscall.ENOTSUP {
		return fmt.Errorf("give up new privileges: %w", errno)
	}
	return nil
}
