package oci

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/container"
)

// defaultPath is what a process finds where neither image nor Spec says a PATH, as with Docker.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// masked are files of the kernel that tell of the host or of other containers, or reach it.
var masked = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
	"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

// readOnly are directories of the kernel whose files set things of the host.
var readOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// configure translates a Spec to the bundle's config.json (OCI runtime-spec 1.0). Everything is said, nothing left to
// the binary. user is who runs it.
func (p *Prepared) configure(image *v1.ConfigFile, user specs.User) (*specs.Spec, error) {
	s := p.spec
	argv, err := commandLine(s, image.Config)
	if err != nil {
		return nil, err
	}
	caps := capabilities(s.Capabilities)
	spec := &specs.Spec{
		Version:  "1.0.2",
		Hostname: hostname(s),
		Root:     &specs.Root{Path: p.root(), Readonly: s.ReadOnlyRoot},
		Process: &specs.Process{
			Terminal: s.Terminal, User: user, Args: argv, Env: environment(s, image.Config), Cwd: directory(s, image.Config),
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: !s.AllowNewPrivileges,
			Rlimits:         rlimits(),
		},
		Linux: &specs.Linux{
			CgroupsPath: p.cgroup(),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			},
			Resources:     resources(s.Limits),
			MaskedPaths:   masked,
			ReadonlyPaths: readOnly,
		},
		Annotations: s.Labels,
	}
	if exists("/proc/self/ns/cgroup") {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	if s.Network.Mode != "host" {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: fdPath(p.netns)})
	}
	if p.users != nil {
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = p.users.mappings(), p.users.mappings()
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: fdPath(p.users.user)})
	}
	spec.Mounts = append(spec.Mounts, kernelMounts(p.users != nil && s.Network.Mode == "host")...)
	spec.Mounts = append(spec.Mounts, p.fileMounts()...)
	for _, path := range slices.Sorted(keys(s.Tmpfs)) {
		options := []string{"nosuid", "nodev", "mode=1777"}
		if size := s.Tmpfs[path]; size > 0 {
			options = append(options, fmt.Sprintf("size=%d", size))
		}
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: path, Type: "tmpfs", Source: "tmpfs", Options: options})
	}
	for i, m := range s.Mounts {
		source := p.source(m)
		if p.users != nil {
			source = p.place.path(strconv.Itoa(i))
		}
		to := bind(source, m.Target, m.ReadOnly)
		if m.Slave {
			to.Options = append(to.Options, "rslave")
		} else {
			to.Options = append(to.Options, "rprivate")
		}
		spec.Mounts = append(spec.Mounts, to)
	}
	spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("make the seccomp profile: %w", err)
	}
	// Programs of the x32 ABI are as good as extinct, and the binary takes 10 ms to make the filter for them. Without it
	// they are killed.
	s32 := func(a specs.Arch) bool { return a == specs.ArchX32 }
	spec.Linux.Seccomp.Architectures = slices.DeleteFunc(spec.Linux.Seccomp.Architectures, s32)
	return spec, nil
}

func keys(m map[string]int64) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func hostname(s container.Spec) string {
	if s.Hostname != "" {
		return s.Hostname
	}
	return "slipway"
}

func directory(s container.Spec, c v1.Config) string {
	switch {
	case s.Dir != "":
		return s.Dir
	case c.WorkingDir != "":
		return c.WorkingDir
	}
	return "/"
}

func commandLine(s container.Spec, c v1.Config) ([]string, error) {
	argv := s.Argv
	if len(argv) == 0 {
		args := c.Cmd
		if len(s.Args) > 0 {
			args = s.Args
		}
		argv = append(slices.Clone(c.Entrypoint), args...)
	}
	if len(argv) == 0 {
		return nil, fmt.Errorf("start a container of %s: the image has no command and none is given", s.Image)
	}
	return argv, nil
}

// environment is the image's, with the Spec's on top. A name alone is taken out.
func environment(s container.Spec, c v1.Config) []string {
	env := []string{defaultPath, "HOSTNAME=" + hostname(s)}
	if s.Terminal {
		env = append(env, "TERM=xterm")
	}
	for _, e := range slices.Concat(c.Env, s.Env) {
		name, _, set := strings.Cut(e, "=")
		env = slices.DeleteFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		if set {
			env = append(env, e)
		}
	}
	return env
}

func capabilities(names []string) []string {
	caps := []string{}
	for _, n := range names {
		caps = append(caps, "CAP_"+strings.TrimPrefix(n, "CAP_"))
	}
	slices.Sort(caps)
	return caps
}

// rlimits: a core file would hold what a process kept in memory only; open files are as many as ours may be.
func rlimits() []specs.POSIXRlimit {
	limits := []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		n := min(files.Max, 1<<20)
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: n, Hard: n})
	}
	return limits
}

func resources(l container.Limits) *specs.LinuxResources {
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	if l.Memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &l.Memory}
		if swapCounted() {
			r.Memory.Swap = &l.Memory // the sum of both: no swap
		}
	}
	if l.CPUs > 0 {
		period := uint64(100_000)
		quota := int64(math.Round(l.CPUs * float64(period)))
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if l.PIDs > 0 {
		r.Pids = &specs.LinuxPids{Limit: &l.PIDs}
	}
	return r
}

// swapCounted says whether the kernel can limit swap (cgroup v1 with swapaccount; v2 has it where there is swap).
func swapCounted() bool {
	if exists("/sys/fs/cgroup/cgroup.controllers") {
		return true
	}
	return exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
}

// kernelMounts are the kernel's own file systems. Who is in a user namespace may mount a sysfs of no other's network:
// then the host's is bound.
func kernelMounts(hostSys bool) []specs.Mount {
	sys := specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}}
	if hostSys {
		sys.Type, sys.Source, sys.Options = "bind", "/sys", append(sys.Options, "rbind")
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		sys,
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

func bind(source, target string, readOnly bool) specs.Mount {
	m := specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"rbind", "nodev"}}
	if readOnly {
		m.Options = append(m.Options, "ro")
	}
	return m
}

// cgroup is the control group of the container, from the root of each hierarchy.
func (p *Prepared) cgroup() string { return groupOf(p.id) }

func groupOf(id string) string { return "/slipway/" + id }

// memoryFiles are where the kernel counts its kills in the container's control group: cgroup v2 and v1.
func (p *Prepared) memoryFiles() []string {
	return []string{
		"/sys/fs/cgroup" + p.cgroup() + "/memory.events",
		"/sys/fs/cgroup/memory" + p.cgroup() + "/memory.oom_control",
	}
}

// killed says whether the kernel has killed a process of the container for lack of memory.
func (p *Prepared) killed() bool {
	for _, f := range p.memoryFiles() {
		if b, err := os.ReadFile(f); err == nil && container.Kills(b) > 0 {
			return true
		}
	}
	return false
}
