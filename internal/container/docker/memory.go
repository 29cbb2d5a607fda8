package docker

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// memoryEvery is the time between two looks at the kernel's count. From a kill to the end of the control group
	// passed 160 to 370 ms on a busy machine, where looks are late too.
	memoryEvery = 20 * time.Millisecond
	// memoryPatience is how long a control group may take to appear: it does when the container starts.
	memoryPatience = time.Minute
)

// memoryFiles are the places where an engine of this machine has the kernel's count of the processes that it killed in
// the container for lack of memory: cgroup v2 and v1, each as the engine itself and as systemd lay control groups out.
func memoryFiles(id string) []string {
	var files []string
	for _, group := range []string{"docker/" + id, "system.slice/docker-" + id + ".scope"} {
		files = append(files, "/sys/fs/cgroup/"+group+"/memory.events", "/sys/fs/cgroup/memory/"+group+"/memory.oom_control")
	}
	return files
}

// watchMemory begins to look for such kills, and must before the start. The engine's event says the same, but on a busy
// machine it comes after the container's end, or not at all (github.com/containerd/containerd/issues/8893). The
// function it returns ends the looking and waits. Where the files cannot be seen the event alone counts.
func (p *Prepared) watchMemory(ctx context.Context) func() {
	if p.spec.Limits.Memory <= 0 || !p.r.Local() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if sawKill(ctx, memoryFiles(p.id)) {
			p.killed.Store(true)
		}
	}()
	return func() { cancel(); <-done }
}

// sawKill opens the first of the files that appears and returns true when it counts a kill, and false when there will
// be none: the file is gone, there never was one, or ctx is done.
func sawKill(ctx context.Context, files []string) bool {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	var f *os.File
	defer func() { f.Close() }() // nil: an error, which is nobody's
	text := make([]byte, 4096)
	for began := time.Now(); ; {
		for i := 0; f == nil && i < len(files); i++ {
			f, _ = os.Open(files[i])
		}
		if f != nil {
			n, err := f.ReadAt(text, 0)
			if kills(text[:n]) > 0 {
				return true
			}
			if n == 0 && err != nil { // ENODEV: the control group is gone
				return false
			}
		} else if time.Since(began) > memoryPatience {
			return false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// kills reads the line "oom_kill N" of memory.events and memory.oom_control.
func kills(text []byte) int {
	for line := range bytes.Lines(text) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "oom_kill "); ok {
			n, _ := strconv.Atoi(s)
			return n
		}
	}
	return 0
}
