package docker

import (
	"context"

	"github.com/slipway-build/slipway/internal/container"
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
		if container.SawKill(ctx, memoryFiles(p.id)) {
			p.killed.Store(true)
		}
	}()
	return func() { cancel(); <-done }
}
