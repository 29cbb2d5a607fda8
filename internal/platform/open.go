package platform

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// Settings say where a Machine keeps its things and whom it may talk to. They are filled in by cmd from
// flags, configuration and environment.
type Settings struct {
	State    string // directory of Slipway's own files; made when it is not there
	Tools    Tools
	Version  string
	Registry image.RegistryOptions
	Docker   docker.Options
	// NoDocker leaves Docker alone although there is one.
	NoDocker bool
	// Copy is Machine.Copy.
	Copy bool
}

// Open makes a Machine. That Docker cannot be reached is not an error here: what needs it will say so.
// Close the Machine in the end.
func Open(ctx context.Context, s Settings) (*Machine, error) {
	state, err := filepath.Abs(s.State)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	m := &Machine{State: state, Tools: s.Tools, Version: s.Version, Copy: s.Copy}
	if m.Store, err = layerstore.Open(filepath.Join(state, "images")); err != nil {
		return nil, err
	}
	if m.Images, err = image.OpenImages(m.Store); err != nil {
		return nil, err
	}
	if m.Registry, err = image.NewRegistry(s.Registry); err != nil {
		return nil, err
	}
	if s.NoDocker {
		return m, nil
	}
	rt, err := docker.New(ctx, s.Docker)
	if err != nil {
		m.NoRuntime = err
		return m, nil
	}
	m.Runtime, m.Engine = rt, rt.Images()
	return m, nil
}

// Close waits for removals that still go on.
func (m *Machine) Close() error {
	if m.Runtime == nil {
		return nil
	}
	return m.Runtime.Close()
}
