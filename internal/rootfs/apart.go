package rootfs

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Apart runs f on a thread that ends with it, so that f may change what belongs to a thread: working directory,
// namespaces. Never the process' first thread: that one does not end before the process, and would keep what f has made
// for as long, and be what others see in /proc/self.
func Apart(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and unlocked only if it lives on
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread()
			done <- Apart(f) // on another, since this one is taken
			return
		}
		done <- f()
	}()
	return <-done
}
