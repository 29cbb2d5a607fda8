package container

import (
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Check says what is wrong with s before an engine is asked, so that every
// engine refuses the same things with the same words.
func (s Spec) Check() error {
	if s.Image == "" {
		return fmt.Errorf("container: no image given")
	}
	if len(s.Argv) > 0 && len(s.Args) > 0 {
		return fmt.Errorf("container: both a command line (%q) and arguments for the image's own (%q) given", s.Argv, s.Args)
	}
	if len(s.Argv) > 0 && s.Argv[0] == "" {
		return fmt.Errorf("container: empty command")
	}
	if s.UID < 0 || s.GID < 0 {
		return fmt.Errorf("container: user %d:%d is negative", s.UID, s.GID)
	}
	for _, e := range s.Env {
		if name, _, _ := strings.Cut(e, "="); name == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("container: environment %q is not NAME=value", e)
		}
	}
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		return fmt.Errorf("container: working directory %q is not absolute", s.Dir)
	}
	for _, m := range s.Mounts {
		if err := m.Check(); err != nil {
			return err
		}
	}
	for p := range s.Tmpfs {
		if !path.IsAbs(p) {
			return fmt.Errorf("container: tmpfs %q is not an absolute path", p)
		}
	}
	if err := s.Limits.check(); err != nil {
		return err
	}
	return s.checkNetwork()
}

// Check says what is wrong with one mount.
func (m Mount) Check() error {
	if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
		return fmt.Errorf("container: mount target %q is not an absolute path below /", m.Target)
	}
	if !m.Volume && !path.IsAbs(m.Source) {
		return fmt.Errorf("container: mount source %q is not an absolute path", m.Source)
	}
	if m.Volume && m.Slave {
		return fmt.Errorf("container: volume %s has no mounts below it to show", m.Source)
	}
	if m.Volume && (m.Source == "" || strings.ContainsAny(m.Source, "/:,")) {
		return fmt.Errorf("container: %q is not a volume name", m.Source)
	}
	return nil
}

func (l Limits) check() error {
	if l.Memory < 0 || l.CPUs < 0 || l.PIDs < 0 || l.Disk < 0 || l.Time < 0 {
		return fmt.Errorf("container: a limit is negative: %+v", l)
	}
	if l.Memory > 0 && l.Memory < 6<<20 {
		return fmt.Errorf("container: memory limit %s is below 6 MiB, with which no container starts", Bytes(l.Memory))
	}
	return nil
}

func (s Spec) checkNetwork() error {
	mode := s.Network.Mode
	// "container:ID" and "ns:PATH" would join a stranger's network.
	if strings.ContainsAny(mode, ":/ ,") || strings.HasPrefix(mode, "-") {
		return fmt.Errorf("container: network %q is neither none, bridge, host nor a network's name", mode)
	}
	if mode == "none" && len(s.Ports) > 0 {
		return fmt.Errorf("container: port %d cannot be published without a network", s.Ports[0].Container)
	}
	for _, p := range s.Ports {
		if p.Container < 1 || p.Container > 65535 || p.Host < 0 || p.Host > 65535 {
			return fmt.Errorf("container: port %d:%d is out of range", p.Host, p.Container)
		}
		if p.Protocol != "" && p.Protocol != "tcp" && p.Protocol != "udp" {
			return fmt.Errorf("container: port %d: protocol %q is neither tcp nor udp", p.Container, p.Protocol)
		}
		if p.HostIP != "" {
			if _, err := netip.ParseAddr(p.HostIP); err != nil {
				return fmt.Errorf("container: port %d: host address %q: %w", p.Container, p.HostIP, err)
			}
		}
	}
	return nil
}

// engineSockets are where engines listen: who can write to one is root.
var engineSockets = []string{"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock"}

// CheckMounts refuses an engine's socket, one of sockets or a known one, and
// every directory above one.
func CheckMounts(ms []Mount, sockets ...string) error {
	for _, m := range ms {
		if m.Volume {
			continue
		}
		source := realPath(m.Source)
		for _, s := range slices.Concat(engineSockets, sockets) {
			if within(realPath(s), source) {
				return fmt.Errorf("container: refused to mount %s: it holds the container engine's socket %s, which would make the container root on this machine", m.Source, s)
			}
		}
	}
	return nil
}

// realPath follows links as far as the path exists.
func realPath(p string) string {
	p = filepath.Clean(p)
	if real, err := filepath.EvalSymlinks(p); err == nil {
		return real
	}
	if dir := filepath.Dir(p); dir != p {
		return filepath.Join(realPath(dir), filepath.Base(p))
	}
	return p
}

func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
