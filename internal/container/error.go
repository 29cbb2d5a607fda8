package container

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoImage is wrapped when the engine does not have the image.
var ErrNoImage = errors.New("no such image")

// ExitError is a container that ran and did not end with code 0.
type ExitError struct {
	Code int
	// Signal is the name ("SIGKILL") when Code is 128 plus a signal's number,
	// which is how a process that died of one is reported.
	Signal string
	// OutOfMemory: the kernel killed a process of the container at the memory
	// limit, which need not be the reason for Code.
	OutOfMemory bool
	Memory      int64 // the limit in bytes, 0 if there was none
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exited with code %d", e.Code)
	if e.Signal != "" {
		how = fmt.Sprintf("was killed by %s (code %d)", e.Signal, e.Code)
	}
	switch {
	case e.OutOfMemory && e.Memory > 0:
		return fmt.Sprintf("container %s: out of memory (its limit is %s)", how, Bytes(e.Memory))
	case e.OutOfMemory:
		return fmt.Sprintf("container %s: the host is out of memory", how)
	}
	return "container " + how
}

// Resource is what a LimitError is about.
type Resource string

// Resources whose limits a Runtime itself enforces. Memory and pids are the
// kernel's: see ExitError.
const (
	Time Resource = "time"
	Disk Resource = "disk"
)

// LimitError is a container that was killed because it passed a limit.
type LimitError struct {
	Resource    Resource
	Limit, Used int64 // bytes for Disk, nanoseconds for Time
}

func (e *LimitError) Error() string {
	if e.Resource == Time {
		return fmt.Sprintf("container was killed: it ran longer than its time limit of %s", time.Duration(e.Limit))
	}
	return fmt.Sprintf("container was killed: it wrote %s, more than its disk limit of %s", Bytes(e.Used), Bytes(e.Limit))
}

// StartError is a container whose process never began: the command is not
// there, is not executable, or the working directory cannot be entered.
type StartError struct {
	Image, Path string
	Reason      string
}

func (e *StartError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("start a container of %s: %s", e.Image, e.Reason)
	}
	return fmt.Sprintf("start %s in a container of %s: %s", e.Path, e.Image, e.Reason)
}

// NewStartError finds in what an OCI runtime (or an engine above it) said of a
// start that failed the one reason that helps.
func NewStartError(s Spec, text string) *StartError {
	e := &StartError{Image: s.Image, Reason: text}
	if len(s.Argv) > 0 {
		e.Path = s.Argv[0]
	}
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("chdir to cwd"):
		e.Reason = fmt.Sprintf("working directory %s: %s", s.Dir, lastPart(text))
	case has("executable file not found") || has("no such file or directory"):
		e.Reason = "no such file in the image, or its interpreter is missing"
	case has("permission denied"):
		e.Reason = "permission denied: it is not executable, or the user may not reach it"
	case has("is a directory"):
		e.Reason = "it is a directory"
	case has("exec format error"):
		e.Reason = "not a program of this machine's architecture"
	}
	return e
}

// lastPart is what the innermost runtime said.
func lastPart(text string) string {
	text = strings.TrimSuffix(strings.TrimSpace(text), ": unknown")
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// SignalName is the name ("SIGKILL") of the signal that an exit code, as shells
// and engines write it, stands for; empty where it stands for none.
func SignalName(code int) string {
	if code <= 128 || code > 128+64 {
		return ""
	}
	return unix.SignalName(unix.Signal(code - 128))
}

// Bytes writes a size as people read it: "512 MiB", "1.5 GiB".
type Bytes int64

func (b Bytes) String() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(b), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if f == float64(int64(f)) {
		return fmt.Sprintf("%d %s", int64(f), units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
