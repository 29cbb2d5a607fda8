// Package child starts processes that do not outlive this one, however it ends.
package child

import (
	"bytes"
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
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

// Wait waits for a started cmd, which leads a process group of its own (Setpgid), and kills what it left running of
// that. The group is killed before its leader is reaped: until then the number cannot belong to anybody else.
func Wait(cmd *exec.Cmd) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break // ended, or not ours to wait for: Wait tells
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	return cmd.Wait()
}

// A Tail keeps the last 64 KiB of what is written to it. Safe for concurrent use.
type Tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 64 << 10

func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[max(0, len(p)-maxTail):]...)
	if over := len(t.b) - maxTail; over > 0 {
		t.b = bytes.Clone(t.b[over:])
	}
	return len(p), nil
}

// String is what was kept.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
