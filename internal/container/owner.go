package container

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// OwnerLabel says which process a container belongs to (Owner.String); its
// presence makes a container ours.
const OwnerLabel = "build.slipway.owner"

// Owner is one process of one boot of one machine: enough to prove it dead.
type Owner struct {
	machine string // machine-id, or the host's name
	boot    string
	pidns   string // pids of another namespace mean nothing to us
	pid     int
	start   uint64 // clock ticks after boot: a pid is used again
}

const ownerVersion = "v1"

// String is the owner as ParseOwner reads it.
func (o Owner) String() string {
	return fmt.Sprintf("%s %s %s %s %d %d", ownerVersion, o.machine, o.boot, o.pidns, o.pid, o.start)
}

// ParseOwner reads a label's value, which anybody who may talk to the engine
// can have written.
func ParseOwner(s string) (Owner, error) {
	f := strings.Split(s, " ")
	if len(f) != 6 || f[0] != ownerVersion || f[1] == "" || f[2] == "" || f[3] == "" {
		return Owner{}, fmt.Errorf("%s %q is not one of ours", OwnerLabel, s)
	}
	pid, err1 := strconv.Atoi(f[4])
	start, err2 := strconv.ParseUint(f[5], 10, 64)
	if err := errors.Join(err1, err2); err != nil || pid <= 0 {
		return Owner{}, fmt.Errorf("%s %q: bad process", OwnerLabel, s)
	}
	return Owner{machine: f[1], boot: f[2], pidns: f[3], pid: pid, start: start}, nil
}

// Self is this process. Where /proc does not say, the fields are "unknown" and
// nobody will ever judge us dead.
func Self() Owner {
	o := Owner{machine: "unknown", boot: "unknown", pidns: "unknown", pid: os.Getpid()}
	if b, err := os.ReadFile("/etc/machine-id"); err == nil && len(bytes.TrimSpace(b)) > 0 {
		o.machine = token(string(b))
	} else if name, err := os.Hostname(); err == nil {
		o.machine = token("host-" + name)
	}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		o.boot = token(string(b))
	}
	if link, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		o.pidns = token(link)
	}
	o.start, _ = startTime(o.pid)
	return o
}

func token(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return strings.Join(f, "-")
	}
	return "unknown"
}

// startTime is when pid began, in ticks after boot (field 22 of its stat).
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// Dead reports whether o is provably gone, seen from me.
func (me Owner) Dead(o Owner) bool {
	if o.machine != me.machine || o.boot == "unknown" || o.machine == "unknown" || o.start == 0 {
		return false
	}
	if o.boot != me.boot {
		return true // the machine was started again since
	}
	if o.pidns != me.pidns {
		return false
	}
	start, err := startTime(o.pid)
	switch {
	case err == nil:
		return start != o.start
	case errors.Is(err, fs.ErrNotExist):
		// Hidden processes (hidepid) look like absent ones, but not to kill.
		return errors.Is(syscall.Kill(o.pid, 0), syscall.ESRCH)
	}
	return false
}
