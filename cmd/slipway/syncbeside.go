package main

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/slipway-build/slipway/internal/index"
)

// syncBeside has an index synced by a process that outlives this one, for nobody waits for it: it has a session of its
// own, no terminal and no output, and ends by itself. What goes wrong in it is what the next `slipway registry sync` tells.
func (a *app) syncBeside(name string) {
	exe, err := os.Executable()
	if err != nil {
		return
	}
	state, err := a.state()
	if err != nil {
		return
	}
	cmd := exec.Command(exe, "registry", "sync", "--quiet", "--older", index.Stale.String(), name)
	cmd.Args[0] = "slipway"
	cmd.Dir = state
	cmd.Env = append(a.environ[:len(a.environ):len(a.environ)], "SLIPWAY_HOME="+state)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.Start() == nil {
		_ = cmd.Process.Release()
	}
}
