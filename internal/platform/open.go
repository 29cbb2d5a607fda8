package platform

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/container/oci"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/rootfs"
)

// Settings say where a Machine keeps its things and whom it may talk to. They are filled in by cmd from
// flags, configuration and environment.
type Settings struct {
	State    string // directory of Slipway's own files; made when it is not there
	Tools    Tools
	Version  string
	Registry image.RegistryOptions
	// Fetch is Machine.Fetch.
	Fetch  *fetch.Fetcher
	Docker docker.Options
	// NoDocker leaves Docker alone although there is one.
	NoDocker bool
	// Runtime chooses what runs containers: see ParseRuntime.
	Runtime string
	// Allow are private networks (CIDR or an address) that builds may reach where the Runtime keeps them from
	// private addresses.
	Allow []string
	// Copy is Machine.Copy.
	Copy bool
}

// Values of Settings.Runtime.
const (
	RuntimeAuto   = "auto"   // an OCI runtime where its needs are met, else Docker; also ""
	RuntimeDocker = "docker" // the Docker Engine
	RuntimeOCI    = "oci"    // runc or crun, with no daemon; "oci:NAME" another one
)

// ParseRuntime checks a value of Settings.Runtime.
func ParseRuntime(s string) error {
	name, isOCI := strings.CutPrefix(s, RuntimeOCI+":")
	if s == "" || s == RuntimeAuto || s == RuntimeDocker || s == RuntimeOCI || isOCI && name != "" && !strings.HasPrefix(name, "-") {
		return nil
	}
	return fmt.Errorf("runtime %q is neither auto, docker, oci nor oci:NAME", s)
}

// ParseNetwork checks one of Settings.Allow.
func ParseNetwork(s string) (netip.Prefix, error) { return oci.ParseNetwork(s) }

// errNothing is what a user sees who has neither.
var errNothing = errors.New("no container runtime: as root install runc (apt-get install runc), or install Docker (apt-get install docker.io) and start it")

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
	m := &Machine{State: state, Tools: s.Tools, Version: s.Version, Copy: s.Copy, Fetch: s.Fetch}
	if m.Store, err = layerstore.Open(filepath.Join(state, "images")); err != nil {
		return nil, err
	}
	if m.Images, err = image.OpenImages(m.Store); err != nil {
		return nil, err
	}
	if m.Registry, err = image.NewRegistry(s.Registry); err != nil {
		return nil, err
	}
	if err := ParseRuntime(s.Runtime); err != nil {
		return nil, err
	}
	var noDocker error
	if s.NoDocker {
		noDocker = errors.New("not to be used")
	} else if m.Docker, noDocker = docker.New(ctx, s.Docker); noDocker == nil {
		m.Engine = m.Docker.Images()
	} else {
		m.Docker = nil
	}
	return m, m.choose(s, noDocker)
}

// choose takes a runtime. That there is none is no error.
func (m *Machine) choose(s Settings, noDocker error) error {
	var noOCI error
	if s.Runtime != RuntimeDocker {
		_, binary, _ := strings.Cut(s.Runtime, ":")
		if _, noOCI = oci.Find(binary); noOCI == nil {
			return m.useOCI(s, binary)
		}
	}
	switch {
	case strings.HasPrefix(s.Runtime, RuntimeOCI):
		m.NoRuntime = noOCI
	case noDocker == nil:
		m.Runtime, m.Why = m.Docker, "the Docker Engine at "+m.Docker.Host()
		if noOCI != nil {
			m.Why += " (" + noOCI.Error() + ")"
		}
	case noOCI != nil && os.Geteuid() == 0 && !s.NoDocker && errors.As(noDocker, new(*docker.UnavailableError)):
		m.NoRuntime = fmt.Errorf("%w (%w)", errNothing, noDocker)
	case s.NoDocker:
		m.NoRuntime = errNothing
	default:
		m.NoRuntime = noDocker
	}
	return nil
}

func (m *Machine) useOCI(s Settings, binary string) (err error) {
	if m.Roots, err = rootfs.OpenStore(filepath.Join(m.State, "rootfs")); err != nil {
		return err
	}
	rt, err := oci.New(oci.Options{Dir: filepath.Join(m.State, "oci"), Store: m.Roots, Binary: binary, Allow: s.Allow})
	if err != nil {
		return err
	}
	m.Runtime, m.Why = rt, "OCI runtime "+rt.Binary()+", without a daemon"
	if s.Runtime == "" || s.Runtime == RuntimeAuto {
		m.Why += ": we are root and it is there"
	}
	return nil
}

// Close waits for removals that still go on.
func (m *Machine) Close() error {
	var errs []error
	for _, rt := range m.runtimes() {
		errs = append(errs, rt.Close())
	}
	return errors.Join(errs...)
}

// runtimes is the Runtime, and Docker where it is there besides.
func (m *Machine) runtimes() (out []container.Runtime) {
	if m.Runtime != nil {
		out = append(out, m.Runtime)
	}
	if m.Docker != nil && m.Runtime != container.Runtime(m.Docker) {
		out = append(out, m.Docker)
	}
	return out
}
