package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/cnb"
)

// ExecRunner runs executables as processes of this machine, as uid:gid where this process is root and they
// differ from its own. Each gets its own process group, which is killed when the executable ends or ctx does; no
// file of this process but /dev/null and the output pipes reaches it. Output without a writer is dropped.
func ExecRunner(uid, gid int) Runner { return execRunner{uid, gid} }

type execRunner struct{ uid, gid int }

// drainTime is how long output may still come after the executable and its group are gone, which only a process
// that left the group can do.
const drainTime = 2 * time.Second

func (r execRunner) Run(ctx context.Context, cmd Cmd) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := CheckStart(cmd); err != nil {
		return err
	}
	c := exec.Command(cmd.Path, cmd.Args...)
	c.Env, c.Dir = cmd.Env, cmd.Dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 && (r.uid != 0 || r.gid != 0) {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(r.uid), Gid: uint32(r.gid)}
	}
	var out outputs
	defer out.close()
	if err := out.open(c, cmd.Stdout, cmd.Stderr); err != nil {
		return fmt.Errorf("make output pipe for %s: %w", cmd.Path, err)
	}
	closeOnExec()
	if err := c.Start(); err != nil {
		return StartFailure(cmd, err)
	}
	out.closeWriters()
	stop := context.AfterFunc(ctx, func() { killGroup(c.Process.Pid) })
	err := c.Wait()
	stop()
	killGroup(c.Process.Pid)
	out.drain()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return exitError(cmd.Phase, cmd.Buildpack, err)
}

// closeOnExec keeps files that this process itself was started with from reaching executables; files that it opened
// are marked already. It changes nothing for this process.
func closeOnExec() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, _ := os.ReadDir("/proc/self/fd") // Linux before 5.11
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// killGroup ends every process of a group; the group being gone is fine.
func killGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }

// exitError turns what Wait returned into an *ExitError, or nil for success.
func exitError(phase string, bp cnb.Ref, err error) error {
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("wait for %s of buildpack %s: %w", phase, bp, err)
	}
	e := &ExitError{Phase: phase, Buildpack: bp, Code: exit.ExitCode()}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Code, e.Signal = 128+int(ws.Signal()), unix.SignalName(ws.Signal())
	}
	return e
}

// outputs copies a process's standard output and error to their writers. Where both are one writer, one pipe
// serves them, so that lines keep their order and the writer is never used from two goroutines.
type outputs struct {
	readers, writers []*os.File
	wg               sync.WaitGroup
}

func (o *outputs) open(c *exec.Cmd, stdout, stderr io.Writer) error {
	w, err := o.pipe(stdout)
	if err != nil {
		return err
	}
	if w != nil {
		c.Stdout = w
	}
	if stderr != nil && sameWriter(stdout, stderr) {
		c.Stderr = c.Stdout
		return nil
	}
	w, err = o.pipe(stderr)
	if err != nil {
		return err
	}
	if w != nil {
		c.Stderr = w
	}
	return nil
}

func sameWriter(a, b io.Writer) (same bool) {
	defer func() { _ = recover() }() // comparing two writers of one uncomparable type panics: not the same
	return a == b
}

func (o *outputs) pipe(to io.Writer) (*os.File, error) {
	if to == nil {
		return nil, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.readers, o.writers = append(o.readers, r), append(o.writers, w)
	o.wg.Go(func() {
		if _, err := io.Copy(to, r); err != nil {
			_, _ = io.Copy(io.Discard, r) // a writer that fails must not block the process
		}
	})
	return w, nil
}

func (o *outputs) closeWriters() {
	for _, w := range o.writers {
		w.Close()
	}
	o.writers = nil
}

// drain waits for the rest of the output, no longer than drainTime.
func (o *outputs) drain() {
	for _, r := range o.readers {
		_ = r.SetReadDeadline(time.Now().Add(drainTime))
	}
	o.wg.Wait()
}

// close ends the copying in every case, also when the process never started.
func (o *outputs) close() {
	o.closeWriters()
	o.wg.Wait()
	for _, r := range o.readers {
		r.Close()
	}
}
