package agent

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper starts processes and reaps them, its own children and those that orphans left to it. There is one in a
// process: it takes every child's exit, so nothing else in that process may start or await one.
type keeper struct {
	first bool // pid 1: everything else in the namespace is ours to kill

	mu      sync.Mutex
	running map[int]chan<- ended // main processes of requests, by pid
	closed  bool
	stop    chan struct{}
	stopped sync.WaitGroup
}

var errGone = errors.New("the agent is ending")

// ended is how a main process ended.
type ended struct {
	status syscall.WaitStatus
	at     time.Time
}

// newKeeper makes this process the one that inherits orphans and starts to reap.
func newKeeper() (*keeper, error) {
	k := &keeper{first: os.Getpid() == 1, running: map[int]chan<- ended{}, stop: make(chan struct{})}
	if !k.first {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("become the reaper of orphaned processes: %w", err)
		}
	}
	died := make(chan os.Signal, 1) // one is enough: reap takes all that are there
	signal.Notify(died, syscall.SIGCHLD)
	deaf := make(chan os.Signal, 1)
	if k.first {
		// What runs here may send pid 1 every signal that pid 1 handles. They are caught and dropped; to ignore them
		// would be inherited by every child.
		signal.Notify(deaf, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT,
			syscall.SIGBUS, syscall.SIGFPE, syscall.SIGUSR1, syscall.SIGSEGV, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM,
			syscall.SIGTERM, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGSYS)
	}
	k.stopped.Go(func() {
		for {
			select {
			case <-died:
				k.mu.Lock()
				k.reap()
				k.mu.Unlock()
			case <-deaf:
			case <-k.stop:
				signal.Stop(died)
				return
			}
		}
	})
	return k, nil
}

// start runs path; sys has it lead a process group of its own. exit receives its end once; the process's group is killed
// then, and when it was the last one running, every other process too, before exit hears of it.
func (k *keeper) start(path string, argv, env []string, dir string, files []uintptr, sys *syscall.SysProcAttr, exit chan<- ended) (int, error) {
	k.mu.Lock() // held across the fork: a child that is gone at once is found in running by reap
	defer k.mu.Unlock()
	if k.closed {
		return 0, errGone
	}
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Dir: dir, Env: env, Files: files, Sys: sys})
	if err != nil {
		return 0, err
	}
	k.running[pid] = exit
	return pid, nil
}

// kill ends the process group of a running main process. One that has ended is not touched: its number may be
// another's by now.
func (k *keeper) kill(pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.running[pid]; ok {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// close kills everything and stops reaping. Once is enough, more does no harm.
func (k *keeper) close() {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	k.closed = true
	for pid := range k.running {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	k.killAll()
	for _, exit := range k.running {
		exit <- ended{syscall.WaitStatus(syscall.SIGKILL), time.Now()}
	}
	clear(k.running)
	k.mu.Unlock()
	close(k.stop)
	k.stopped.Wait()
}

// reap takes every child that has ended. k.mu is held.
func (k *keeper) reap() {
	var done []func()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			break
		}
		if exit, ok := k.running[pid]; ok && (status.Exited() || status.Signaled()) {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			delete(k.running, pid)
			e := ended{status, time.Now()}
			done = append(done, func() { exit <- e })
		}
	}
	if len(done) > 0 && len(k.running) == 0 {
		k.killAll()
	}
	for _, tell := range done {
		tell()
	}
}

// killAll kills every process but this one and returns when none is left. No main process is running and, k.mu being
// held, none starts; whoever else is there is not wanted.
func (k *keeper) killAll() {
	for {
		k.killOthers()
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if err == syscall.EINTR {
				continue
			}
			if err == syscall.ECHILD {
				return
			}
			if pid <= 0 {
				break
			}
		}
		time.Sleep(200 * time.Microsecond) // a killed process takes a moment to become reapable
	}
}

func (k *keeper) killOthers() {
	if k.first {
		_ = syscall.Kill(-1, syscall.SIGKILL) // all at once: the kernel forks nobody meanwhile
		return
	}
	for _, pid := range descendants(os.Getpid()) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
