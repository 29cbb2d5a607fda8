package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/container/oci"
)

// oci looks for what containers without a daemon need, and says whether builds would use it.
func (x *examination) oci(ctx context.Context) bool {
	s, err := x.a.config()
	if err != nil {
		return false // settings says it
	}
	choice := firstOf(x.a.getenv("SLIPWAY_RUNTIME"), s.Runtime, "auto")
	if choice == "docker" {
		x.add("oci runtime", noted, "not used: the runtime is set to docker")
		return false
	}
	_, name, _ := strings.Cut(choice, ":")
	path, err := oci.Find(name)
	if err != nil {
		state := noted
		if strings.HasPrefix(choice, "oci") {
			state = broken
		}
		x.add("oci runtime", state, "%w", err)
		return false
	}
	f := x.add("oci runtime", healthy, "%s: containers need no daemon (runtime is %s)", path, choice)
	if out, err := exec.CommandContext(ctx, path, "--version").Output(); err == nil {
		first, _, _ := strings.Cut(string(out), "\n")
		f.Text += ", " + first
	}
	if b, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(b), "\toverlay\n") {
		x.add("oci overlay", warning, "the kernel has not loaded overlayfs").Advice = "modprobe overlay"
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		x.add("oci cgroups", healthy, "v2, used directly")
	} else if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		x.add("oci cgroups", healthy, "v1, used directly")
	} else {
		f.State, f.Advice = warning, "no control groups are mounted below /sys/fs/cgroup: limits cannot be held"
	}
	x.userNamespaces(path)
	if err := oci.NetworkReady(); err != nil {
		x.add("oci network", warning, "%w", err).Advice = "builds work with --network host or none only"
	}
	return true
}

// userNamespaces says whether containers have ids of their own on this machine. It is tried on the file system on which
// they would lie.
func (x *examination) userNamespaces(binary string) {
	dir, err := x.a.state()
	if err != nil {
		return // stateDir says it
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	if err := oci.UserNamespaces(binary, dir); err != nil {
		x.add("user namespace", warning, "no: %w", err).Advice = "containers run without one; it wants Linux 5.19 or later and a file system that has idmapped mounts"
		return
	}
	x.add("user namespace", healthy, "yes: containers have ids of their own, idmapped on disk")
}
