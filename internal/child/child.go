// Package child starts processes that do not outlive this one, however it ends.
package child

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Start starts cmd, which the kernel kills when this process ends. The kernel takes the thread that started it for its
// parent: on an ordinary thread of Go's, which may end at any time, as those of rootfs.Apart do, the child would be
// killed with that. So all are started by one thread, which lives as long as the process. cmd.SysProcAttr keeps what
// it says besides.
func Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	done := make(chan error, 1)
	parent() <- func() { done <- cmd.Start() }
	return <-done
}

// parent is the thread that starts children. Nobody waits for it: it ends with the process.
var parent = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go serve(work)
	return work
})

func serve(work <-chan func()) {
	runtime.LockOSThread()
	for f := range work {
		f()
	}
}
