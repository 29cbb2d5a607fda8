package agent

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// An oomWatch compares the kernel's count of processes that it killed in our memory cgroup for lack of memory.
// Where no such count can be read it never sees one.
type oomWatch struct {
	file   string
	before int64
}

func newOOMWatch() oomWatch {
	for _, file := range oomFiles() {
		if n, ok := oomKills(file); ok {
			return oomWatch{file, n}
		}
	}
	return oomWatch{}
}

// killed reports whether a process was killed since the watch was made; with several side by side, any of them.
func (w oomWatch) killed() bool {
	if w.file == "" {
		return false
	}
	n, ok := oomKills(w.file)
	return ok && n > w.before
}

// oomFiles are the places where the count may be: cgroup v2 and v1, at our own path (a container that sees the host's
// tree) and at the root (one that sees its own).
func oomFiles() []string {
	const v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	var files []string
	b, _ := os.ReadFile("/proc/self/cgroup")
	for l := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(l), ":", 3)
		switch {
		case len(parts) != 3 || strings.Contains(parts[2], ".."):
		case parts[1] == "":
			files = append(files, v2+parts[2]+"/memory.events")
		case parts[1] == "memory":
			files = append(files, v1+parts[2]+"/memory.oom_control")
		}
	}
	return append(files, v2+"/memory.events", v1+"/memory.oom_control")
}

func oomKills(file string) (int64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for l := range bytes.Lines(b) {
		if f := bytes.Fields(l); len(f) == 2 && string(f[0]) == "oom_kill" {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
