package platform

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
)

// Process says which process of a built image to run to its end.
type Process struct {
	Image string // image argument
	Type  string
	Env   map[string]string
	// Limits bound it; Disk and Source count for nothing.
	Limits  Limits
	Network string    // see Options.Network
	Output  io.Writer // what it prints on both streams, as it comes
	Labels  map[string]string
}

// RunProcess runs one process of an image and waits for it: a one-off, such as a release command. Its own failure is a
// *container.ExitError, a limit that it hit a *container.LimitError. When ctx ends it is killed, with all that it started.
func RunProcess(ctx context.Context, m *Machine, p Process) error {
	if _, err := m.runtime(); err != nil {
		return err
	}
	r := &image.Resolver{Images: m.Images, Registry: m.Registry, Engine: m.Engine, Policy: image.PullIfNotPresent}
	img, err := r.Resolve(ctx, p.Image)
	if err != nil {
		return err
	}
	id, err := m.Bring(ctx, img)
	if err != nil {
		return err
	}
	l := p.Limits.withDefaults()
	s := container.Spec{
		Image: id, ImageUser: true, Argv: []string{"/cnb/process/" + p.Type}, Network: container.Network{Mode: p.Network}, Labels: p.Labels,
		Limits: container.Limits{Memory: l.Memory, CPUs: l.CPUs, PIDs: l.PIDs, Time: l.Time}, Stdout: p.Output, Stderr: p.Output,
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		s.Env = append(s.Env, name+"="+p.Env[name])
	}
	return m.Runtime.Run(ctx, s)
}
