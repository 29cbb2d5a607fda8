package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/container/oci"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// A yard is what the cases stand on: a registry, a builder that all tools use, and a state of Slipway that is empty but
// for its images.
type yard struct {
	options
	dir       string // ours; the caller removes it
	environ   []string
	machine   *platform.Machine
	registry  *registry
	builder   string
	builderID string // for machine.Runtime
	engineID  string // for Docker
	uid, gid  int    // of the builder
	published string // the run image in the registry
	withPack  bool
	withOCI   bool // there can be containers without Docker here

	primed  map[string]bool // what was built before, so that the next is a rebuild
	names   []string        // images that were made in Docker
	volumes map[string]bool // pack's
	bundle  string          // the CA certificates that this host trusts, where the environment names them
}

// names of what this program makes in Docker begin so.
const prefix = "slipway-bench"

func setUp(ctx context.Context, o options, dir string, getenv func(string) string, stderr io.Writer) (*yard, error) {
	y := &yard{
		options: o, dir: dir, builder: prefix + "/builder", bundle: getenv("SSL_CERT_FILE"),
		primed: map[string]bool{}, volumes: map[string]bool{},
	}
	home := filepath.Join(dir, "slipway")
	y.environ = append(os.Environ(), "PACK_HOME="+filepath.Join(dir, "pack"), "PACK_VOLUME_KEY="+prefix, "NO_COLOR=1", "SLIPWAY_HOME="+home)
	y.leftOut(stderr)
	host := docker.FromEnv(os.Environ(), getenv("HOME"))
	var err error
	if y.registry, err = startRegistry(ctx, o.registry, filepath.Join(dir, "registry")); err != nil {
		return y, err
	}
	with := platform.Settings{State: home, Docker: host, Runtime: platform.RuntimeDocker}
	if _, err := oci.Find(""); err == nil {
		y.withOCI, with.Runtime = true, platform.RuntimeOCI
	}
	if y.machine, err = platform.Open(ctx, with); err != nil {
		return y, err
	}
	if y.machine.Docker == nil {
		return y, errors.New("there is no Docker Engine: make setup starts one")
	}
	base, err := platform.Open(ctx, platform.Settings{State: o.state, Docker: host, Runtime: platform.RuntimeDocker})
	if err != nil {
		return y, err
	}
	return y, errors.Join(y.makeBuilder(ctx, base), base.Close())
}

// leftOut says what is not measured.
func (y *yard) leftOut(stderr io.Writer) {
	switch {
	case y.pack == "":
		fmt.Fprintln(stderr, "bench: without pack: it is not on PATH and not named by -pack")
	case y.lifecycle == "":
		fmt.Fprintln(stderr, "bench: without pack: its lifecycle is not named (-lifecycle or $LIFECYCLE)")
	default:
		y.withPack = true
	}
	if y.reference == "" {
		fmt.Fprintln(stderr, "bench: without the reference's creator: its directory is not named (-reference or $REFERENCE)")
	}
}

// makeBuilder makes one builder for all. Its run image is in the registry, where a published image's has to be, and
// under the same name in the local store and in Docker. base has the images that it is made of.
func (y *yard) makeBuilder(ctx context.Context, base *platform.Machine) error {
	y.published = y.registry.host + "/" + prefix + "/run:latest"
	build := prefix + "/build"
	if err := errors.Join(y.take(ctx, base, y.buildImage, build, false), y.take(ctx, base, y.runImage, y.published, true)); err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString(fmt.Sprintf("[build]\nimage = %q\n\n[run]\n[[run.images]]\nimage = %q\n\n", build, y.published))
	if y.withPack {
		text.WriteString(fmt.Sprintf("[lifecycle]\nuri = %q\n\n", "file://"+y.lifecycle))
	}
	in := func(name string) string { return filepath.Join(y.dir, "buildpacks", name) }
	if err := errors.Join(
		writeNode(in("nodejs"), filepath.Join(y.buildpacks, "nodejs")), writeLibraries(in("libraries")), writeBurn(in("burn")), writeScript(in("script")),
	); err != nil {
		return err
	}
	for _, b := range []struct{ id, dir string }{
		{"bench/libraries", in("libraries")},
		{"bench/burn", in("burn")},
		{"bench/script", in("script")},
		{"slipway/nodejs", in("nodejs")},
		{"sample/one-layer", filepath.Join(y.fixtures, "buildpacks", "one-layer")},
	} {
		text.WriteString(fmt.Sprintf("[[buildpacks]]\nuri = %q\n\n[[order]]\n[[order.group]]\nid = %q\n\n", b.dir, b.id))
	}
	config := filepath.Join(y.dir, "builder.toml")
	if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
		return err
	}
	y.names = append(y.names, y.builder)
	if err := y.command(ctx, y.slipway, "builder", "create", y.builder, "--config", config); err != nil {
		return err
	}
	return y.bringBuilder(ctx)
}

// take copies an image from where make builder left it into the state of the cases, under another name, and where it
// is to be shared also into Docker and the registry.
func (y *yard) take(ctx context.Context, from *platform.Machine, name, as string, shared bool) error {
	ref, err := image.ParseRef(as)
	if err != nil {
		return err
	}
	r := image.Resolver{Images: from.Images, Engine: from.Engine, Registry: from.Registry, Policy: image.PullIfNotPresent}
	img, err := r.Resolve(ctx, name)
	if err != nil {
		return fmt.Errorf("base image: %w (make builder makes it)", err)
	}
	if _, err := y.machine.Images.Put(ctx, []image.Ref{ref}, img, nil); err != nil || !shared {
		return err
	}
	if _, err := y.machine.Registry.Push(ctx, []image.Ref{ref}, img, image.PushOptions{}); err != nil {
		return err
	}
	y.names = append(y.names, as)
	_, err = image.LoadEngine(ctx, y.machine.Engine, []image.Ref{ref}, img, image.LoadOptions{Store: y.machine.Store})
	return err
}

// describe says what is compared.
func (y *yard) describe() string {
	beside := []string{"slipway"}
	if y.withPack {
		beside = append(beside, "pack (--trust-builder --pull-policy never)")
	}
	if y.reference != "" && y.withOCI {
		beside = append(beside, "the reference's creator")
	}
	return strings.Join(beside, " beside ") + ", one builder"
}

// tearDown removes what was made outside the directory.
func (y *yard) tearDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var errs []error
	if y.machine != nil {
		for _, n := range y.names {
			if err := y.machine.Engine.Remove(ctx, n); err != nil && !errors.Is(err, image.ErrNotFound) {
				errs = append(errs, err)
			}
		}
		for v := range y.volumes {
			errs = append(errs, y.machine.Docker.RemoveVolume(ctx, v))
		}
		errs = append(errs, y.machine.Close())
	}
	return errors.Join(append(errs, y.registry.stop())...)
}
