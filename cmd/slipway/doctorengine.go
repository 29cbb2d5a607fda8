package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/transcript"
)

// engine looks at the Docker engine.
func (x *examination) engine(ctx context.Context, rt *docker.Runtime) {
	in, err := rt.Info(ctx)
	if err != nil {
		x.add("docker", broken, "the engine at %s does not tell about itself: %w", rt.Host(), err)
		return
	}
	f := x.add("docker", healthy, "%s (API %s) at %s, %s", in.Version, in.APIVersion, in.Host, in.System)
	if older(in.Version, 20, 10) {
		f.State, f.Advice = warning, "builds are tested with Docker 20.10 and later"
	}
	if !rt.Local() {
		x.add("docker host", warning, "the engine is on another machine").Advice = "builds mount directories of this machine, which that engine does not see"
	}
	x.cgroups(in)
	x.storage(in)
	if in.Rootless {
		x.add("rootless", warning, "the engine runs without root").Advice = "limits hold only where cgroup v2 is delegated to the user"
	}
	if in.UserNamespaces {
		x.add("userns-remap", noted, "containers' users are mapped to other ids of this host")
	}
	if !in.Seccomp() {
		x.add("seccomp", warning, "the engine filters no system calls").Advice = "builds are less isolated: enable seccomp in the kernel and the engine"
	}
	for _, w := range in.Warnings {
		x.add("engine says", warning, "%s", strings.TrimPrefix(w, "WARNING: "))
	}
}

func (x *examination) cgroups(in docker.Info) {
	f := x.add("cgroup", healthy, "v%d (%s)", in.CgroupVersion, in.CgroupDriver)
	var missing []string
	for _, l := range []struct {
		name string
		ok   bool
	}{{"--memory", in.MemoryLimit}, {"--cpus", in.CPULimit}, {"--pids", in.PIDsLimit}} {
		if !l.ok {
			missing = append(missing, l.name)
		}
	}
	if len(missing) > 0 {
		f.State, f.Advice = warning, "this kernel cannot hold the limits "+strings.Join(missing, ", ")
	}
	if in.CgroupVersion == 1 && in.Rootless {
		f.State, f.Advice = warning, "a rootless engine on cgroup v1 holds no limits at all"
	}
}

func (x *examination) storage(in docker.Info) {
	f := x.add("storage", healthy, "%s in %s", in.StorageDriver, in.RootDir)
	switch {
	case in.StorageDriver == "vfs":
		f.State, f.Advice = warning, "vfs copies every layer in full: builds are slow and fill the disk; use overlay2"
	case in.StorageDriver == "devicemapper" || in.StorageDriver == "aufs":
		f.State, f.Advice = warning, "this driver is gone from newer engines; use overlay2"
	}
	if in.ContainerdStore {
		x.add("image store", noted, "containerd's: image IDs are manifest digests, images are loaded in full")
	} else {
		x.add("image store", healthy, "classic: only layers that Docker lacks are loaded")
	}
	if free, ok := freeSpace(in.RootDir); ok && free < lowDisk {
		x.add("docker disk", warning, "%s free in %s", transcript.Bytes(free), in.RootDir).Advice = "docker system prune frees what is not used"
	}
}

// dockerAccess says whether the user may talk to the engine, and what that means.
func (x *examination) dockerAccess() {
	path, isUnix := strings.CutPrefix(docker.FromEnv(x.a.environ, x.a.getenv("HOME")).Host, "unix://")
	if path == "" {
		path, isUnix = strings.TrimPrefix(docker.DefaultHost, "unix://"), true
	}
	if !isUnix || os.Getuid() == 0 {
		return
	}
	fi, err := os.Stat(path)
	if err != nil {
		return
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Getuid() {
		return
	}
	gid := int(st.Gid)
	name := strconv.Itoa(gid)
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	groups, err := os.Getgroups()
	switch {
	case err != nil:
	case slices.Contains(groups, gid):
		x.add("docker group", healthy, "you are in group %s, which may use %s", name, path)
	default:
		x.add("docker group", warning, "you are not in group %s, which may use %s", name, path).Advice = fmt.Sprintf("sudo usermod -aG %s $USER, then log in again", name)
	}
}

// older compares the beginning of a version.
func older(v string, major, minor int) bool {
	f := strings.FieldsFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if len(f) < 2 {
		return false
	}
	have := make([]int, 2)
	for i := range have {
		n, err := strconv.Atoi(f[i])
		if err != nil {
			return false
		}
		have[i] = n
	}
	return have[0] < major || have[0] == major && have[1] < minor
}

// freeSpace is what an ordinary user may still write below dir, or below the first directory above it that exists.
func freeSpace(dir string) (int64, bool) {
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		if err == nil {
			return int64(st.Bavail) * st.Bsize, true
		}
		up := dir[:max(strings.LastIndexByte(dir, '/'), 0)]
		if !errors.Is(err, syscall.ENOENT) || up == "" {
			return 0, false
		}
		dir = up
	}
}
