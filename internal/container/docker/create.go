package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/internal/container"
)

// create makes the container of s. It is not torn by a cancelled ctx: an
// engine that has begun creates it anyway, and then nobody would know its id.
func (r *Runtime) create(ctx context.Context, s container.Spec) (string, error) {
	if err := s.Check(); err != nil {
		return "", err
	}
	if err := r.checkMounts(s.Mounts); err != nil {
		return "", err
	}
	opts, err := r.request(s)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	res, err := r.api.ContainerCreate(ctx, opts)
	if err == nil {
		return res.ID, nil
	}
	if cerrdefs.IsNotFound(err) && strings.Contains(strings.ToLower(err.Error()), "image") {
		return "", fmt.Errorf("create a container of %s: %w", s.Image, container.ErrNoImage)
	}
	return "", fmt.Errorf("create a container of %s: %w", s.Image, trim(err))
}

// request translates a Spec. Everything is said, nothing left to what the
// image or the engine's configuration would choose.
func (r *Runtime) request(s container.Spec) (client.ContainerCreateOptions, error) {
	host := &api.HostConfig{
		LogConfig:      api.LogConfig{Type: "none"},
		NetworkMode:    api.NetworkMode(networkMode(s.Network.Mode)),
		RestartPolicy:  api.RestartPolicy{Name: api.RestartPolicyDisabled},
		CapDrop:        []string{"ALL"},
		CapAdd:         slices.Sorted(slices.Values(s.Capabilities)),
		IpcMode:        api.IPCModePrivate,
		ExtraHosts:     s.Network.ExtraHosts,
		ReadonlyRootfs: s.ReadOnlyRoot,
		Tmpfs:          tmpfs(s.Tmpfs),
		Mounts:         mounts(s.Mounts),
		Init:           new(bool), // whatever the engine's default: pid 1 is ours
		Resources: api.Resources{
			Memory: s.Limits.Memory, MemorySwap: s.Limits.Memory, // equal: no swap
			NanoCPUs: int64(math.Round(s.Limits.CPUs * 1e9)),
			// A core file would hold what a process kept in memory only.
			Ulimits: []*api.Ulimit{{Name: "core", Soft: 0, Hard: 0}},
		},
	}
	if !s.AllowNewPrivileges {
		host.SecurityOpt = []string{"no-new-privileges:true"}
	}
	if s.Limits.PIDs > 0 {
		host.PidsLimit = &s.Limits.PIDs
	}
	for _, g := range s.Groups {
		host.GroupAdd = append(host.GroupAdd, strconv.Itoa(g))
	}
	cfg := &api.Config{
		Image:    s.Image,
		Hostname: "slipway",
		Env:      s.Env, WorkingDir: s.Dir,
		Cmd: s.Args,
		Tty: s.Terminal,
		// Always open, closed at once when there is no input, so that a prepared
		// container may still get some.
		OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		Healthcheck: &api.HealthConfig{Test: []string{"NONE"}},
		Labels:      maps.Clone(s.Labels),
	}
	if s.Hostname != "" {
		cfg.Hostname = s.Hostname
	}
	if !s.ImageUser {
		cfg.User = fmt.Sprintf("%d:%d", s.UID, s.GID)
	}
	if len(s.Argv) > 0 {
		cfg.Entrypoint, cfg.Cmd = s.Argv[:1:1], s.Argv[1:]
	}
	if cfg.Labels == nil {
		cfg.Labels = map[string]string{}
	}
	cfg.Labels[container.OwnerLabel] = r.owner.String()
	if err := publish(cfg, host, s.Ports); err != nil {
		return client.ContainerCreateOptions{}, err
	}
	return client.ContainerCreateOptions{Name: s.Name, Config: cfg, HostConfig: host, Platform: platform(s.Platform)}, nil
}

func networkMode(mode string) string {
	if mode == "" {
		return "bridge"
	}
	return mode
}

func platform(s string) *ocispec.Platform {
	if s == "" {
		return nil
	}
	f := append(strings.SplitN(s, "/", 3), "", "")
	return &ocispec.Platform{OS: f[0], Architecture: f[1], Variant: f[2]}
}

func tmpfs(m map[string]int64) map[string]string {
	out := map[string]string{}
	for path, size := range m {
		out[path] = "rw,nosuid,nodev,exec,mode=1777"
		if size > 0 {
			out[path] += fmt.Sprintf(",size=%d", size)
		}
	}
	return out
}

// mounts uses the engine's mount form, not its bind strings: a missing source
// is an error instead of a new root-owned directory, and a colon is a letter.
func mounts(ms []container.Mount) []mount.Mount {
	out := make([]mount.Mount, 0, len(ms))
	for _, m := range ms {
		t := mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		if m.Volume {
			t.Type = mount.TypeVolume
		} else {
			t.BindOptions = &mount.BindOptions{Propagation: mount.PropagationRPrivate}
		}
		if m.Slave {
			t.BindOptions = &mount.BindOptions{Propagation: mount.PropagationRSlave}
		}
		out = append(out, t)
	}
	return out
}

// publish asks for ports, on the loopback address unless told otherwise.
func publish(cfg *api.Config, host *api.HostConfig, ports []container.Port) error {
	if len(ports) == 0 {
		return nil
	}
	cfg.ExposedPorts, host.PortBindings = network.PortSet{}, network.PortMap{}
	for _, p := range ports {
		port, err := enginePort(p)
		if err != nil {
			return err
		}
		ip := p.HostIP
		if ip == "" {
			ip = "127.0.0.1"
		}
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return fmt.Errorf("publish port %d: host address %q: %w", p.Container, ip, err)
		}
		b := network.PortBinding{HostIP: addr}
		if p.Host != 0 {
			b.HostPort = strconv.Itoa(p.Host)
		}
		cfg.ExposedPorts[port] = struct{}{}
		host.PortBindings[port] = append(host.PortBindings[port], b)
	}
	return nil
}

func enginePort(p container.Port) (network.Port, error) {
	proto := p.Protocol
	if proto == "" {
		proto = "tcp"
	}
	port, err := network.ParsePort(fmt.Sprintf("%d/%s", p.Container, proto))
	if err != nil {
		return network.Port{}, fmt.Errorf("publish port %d: %w", p.Container, err)
	}
	return port, nil
}

// checkMounts refuses engines' sockets, our own engine's too.
func (r *Runtime) checkMounts(ms []container.Mount) error {
	var own []string
	if p, ok := strings.CutPrefix(r.host, "unix://"); ok {
		own = append(own, p)
	}
	return container.CheckMounts(ms, own...)
}

// trim takes the client's words off an engine's error.
func trim(err error) error {
	if u := errors.Unwrap(err); u != nil {
		if inner := errors.Unwrap(u); inner != nil && strings.HasPrefix(u.Error(), "Error response from daemon") {
			return inner
		}
	}
	return err
}
