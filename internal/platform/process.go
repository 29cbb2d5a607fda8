package platform

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
)

// Process says what of a built image to run.
type Process struct {
	Image string // image argument
	// Type is the process to run, or Command is, by the launcher, in the place of one: after "--" it is executed, else a
	// shell is given it.
	Type    string
	Command []string
	Env     map[string]string
	// Serve publishes the port that the app is told to listen on, on a free one of 127.0.0.1.
	Serve bool
	// Limits bound it; Source counts for nothing, and where there is no limit of Disk it is not looked at.
	Limits  Limits
	Network string // see Options.Network
	Public  bool   // see container.Network
	Grace   time.Duration
	Output  io.Writer // what it prints on both streams, as it comes
	Started func(container.Info)
	Labels  map[string]string
}

// RunProcess runs one process of an image and waits for it: a one-off, such as a release command, or a server. Its own
// failure is a *container.ExitError, a limit that it hit a *container.LimitError. When ctx ends it is killed, after Grace,
// with all that it started.
func RunProcess(ctx context.Context, m *Machine, p Process) error {
	s, err := m.process(ctx, p)
	if err != nil {
		return err
	}
	return m.Runtime.Run(ctx, s)
}

const launcherPath = "/cnb/lifecycle/launcher"

// process is the container of a process, whose image the runtime has then.
func (m *Machine) process(ctx context.Context, p Process) (s container.Spec, err error) {
	if _, err := m.runtime(); err != nil {
		return s, err
	}
	r := &image.Resolver{Images: m.Images, Registry: m.Registry, Engine: m.Engine, Policy: image.PullIfNotPresent}
	img, err := r.Resolve(ctx, p.Image)
	if err != nil {
		return s, err
	}
	id, err := m.Bring(ctx, img)
	if err != nil {
		return s, err
	}
	disk := p.Limits.Disk
	l := p.Limits.withDefaults()
	s = container.Spec{
		Image: id, ImageUser: true, Argv: []string{"/cnb/process/" + p.Type}, Network: container.Network{Mode: p.Network, Public: p.Public}, Labels: p.Labels,
		Limits: container.Limits{Memory: l.Memory, CPUs: l.CPUs, PIDs: l.PIDs, Time: l.Time, Disk: disk}, DiskEvery: 10 * time.Second,
		Grace: p.Grace, Stdout: p.Output, Stderr: p.Output, Started: p.Started,
	}
	if len(p.Command) > 0 {
		s.Argv = append([]string{launcherPath}, p.Command...)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		s.Env = append(s.Env, name+"="+p.Env[name])
	}
	if p.Serve {
		port, err := AppPort(s.Env, img.Config.Config)
		if err != nil {
			return s, err
		}
		s.Ports, s.Env = []container.Port{{Container: port}}, WithPort(s.Env, port)
	}
	return s, nil
}
