package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroups mounts the control groups where nobody did, as in a bare VM. Mounts of version 1 or of both versions are
// left as they are: the engine knows them all.
func (m *machine) cgroups(ctx context.Context) error {
	switch mounted := cgroupMounts(readAll("/proc/self/mounts")); {
	case mounted == "":
		m.say("mounting control groups on %s", cgroupRoot)
		return m.root(ctx, "mount", "-t", "cgroup2", "cgroup2", cgroupRoot)
	case mounted == "cgroup2":
		return m.delegate(ctx)
	}
	return nil
}

// cgroupMounts tells what is mounted: "", "cgroup2", or "cgroup" for version 1 and mixtures.
func cgroupMounts(mounts string) string {
	kind := ""
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		switch {
		case len(f) < 3 || !strings.HasPrefix(f[1], cgroupRoot):
		case f[2] == "cgroup":
			return "cgroup"
		case f[2] == "cgroup2":
			kind = "cgroup2"
		}
	}
	return kind
}

// delegate prepares version 2 inside a container: a group that holds processes cannot hand controllers on to
// groups below it (cgroup-v2, "no internal processes"), so ours move one level down first. On a machine of its
// own the root group is exempt, and recognised by having no type.
func (m *machine) delegate(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.type")); err != nil {
		return nil
	}
	if os.Geteuid() != 0 {
		return nil // with sudo we are on a machine with users, and an init system that has seen to it
	}
	inner := filepath.Join(cgroupRoot, "init")
	if err := os.Mkdir(inner, 0o755); err != nil && !os.IsExist(err) {
		return nil // read-only: the engine says so itself
	}
	for pid := range strings.Lines(readAll(filepath.Join(cgroupRoot, "cgroup.procs"))) {
		// A process that has ended meanwhile cannot be moved, and need not.
		_ = os.WriteFile(filepath.Join(inner, "cgroup.procs"), []byte(strings.TrimSpace(pid)), 0)
	}
	var all []string
	for c := range strings.FieldsSeq(readAll(filepath.Join(cgroupRoot, "cgroup.controllers"))) {
		all = append(all, "+"+c)
	}
	// Without controllers containers run, unlimited; the engine warns.
	_ = os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte(strings.Join(all, " ")), 0)
	return nil
}
