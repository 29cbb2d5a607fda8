package agent

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// A watch compares the kernel's count of something that happened in our cgroup. Where no such count can be read it
// never sees any.
type watch struct {
	of     count
	file   string
	before int64
}

// A count is a line in a file of a cgroup's controller, whose file has another name in cgroup v1.
type count struct{ line, controller, v1, v2 string }

// What is watched: processes that were killed for lack of memory, and those that were not started because there were
// as many as may be.
func oomKills() count  { return count{"oom_kill", "memory", "memory.oom_control", "memory.events"} }
func notForked() count { return count{"max", "pids", "pids.events", "pids.events"} }

func newWatch(of count) watch {
	for _, file := range of.files() {
		if n, ok := of.read(file); ok {
			return watch{of, file, n}
		}
	}
	return watch{}
}

// seen reports whether it happened since the watch was made; with several executables side by side, to any of them.
func (w watch) seen() bool {
	if w.file == "" {
		return false
	}
	n, ok := w.of.read(w.file)
	return ok && n > w.before
}

// files are the places where the count may be: cgroup v2 and v1, at our own path (a container that sees the host's
// tree) and at the root (one that sees its own).
func (c count) files() []string {
	const v2 = "/sys/fs/cgroup"
	v1 := v2 + "/" + c.controller
	var files []string
	b, _ := os.ReadFile("/proc/self/cgroup")
	for l := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(l), ":", 3)
		switch {
		case len(parts) != 3 || strings.Contains(parts[2], ".."):
		case parts[1] == "":
			files = append(files, v2+parts[2]+"/"+c.v2)
		case parts[1] == c.controller:
			files = append(files, v1+parts[2]+"/"+c.v1)
		}
	}
	return append(files, v2+"/"+c.v2, v1+"/"+c.v1)
}

func (c count) read(file string) (int64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for l := range bytes.Lines(b) {
		if f := bytes.Fields(l); len(f) == 2 && string(f[0]) == c.line {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
