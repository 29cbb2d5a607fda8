package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/container/oci"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// A yard is what the cases stand on: a registry, a builder that both tools use, and their private states.
type yard struct {
	options
	dir      string // ours; the caller removes it
	environ  []string
	machine  *platform.Machine
	runtime  *docker.Runtime
	registry *registry
	builder  string
	withPack bool
	withOCI  bool   // slipway can do without Docker here
	why      string // pack is left out

	before  func(round int) error // of the case: makes what a round needs, untimed
	names   []string              // images that were made in Docker
	volumes []string              // pack's
	bundle  string                // the CA certificates that this host trusts, where the environment names them
}

// names of what this program makes in Docker begin so.
const prefix = "slipway-bench"

func setUp(ctx context.Context, o options, dir string, getenv func(string) string, stderr io.Writer) (*yard, error) {
	y := &yard{options: o, dir: dir, builder: prefix + "/builder", bundle: getenv("SSL_CERT_FILE")}
	y.environ = append(os.Environ(), "PACK_HOME="+filepath.Join(dir, "pack"), "PACK_VOLUME_KEY="+prefix, "NO_COLOR=1", "SLIPWAY_HOME="+o.state)
	switch {
	case o.pack == "":
		y.why = "pack is not on PATH and not named by -pack"
	case o.lifecycle == "":
		y.why = "pack's lifecycle is not named (-lifecycle or $LIFECYCLE)"
	default:
		y.withPack = true
	}
	if !y.withPack {
		fmt.Fprintf(stderr, "bench: %s: only slipway and the machine are measured\n", y.why)
	}
	_, err := oci.Find("")
	y.withOCI = err == nil
	host := docker.FromEnv(os.Environ(), getenv("HOME"))
	if y.runtime, err = docker.New(ctx, host); err != nil {
		return nil, err
	}
	if y.registry, err = startRegistry(ctx, o.registry, filepath.Join(dir, "registry")); err != nil {
		return y, err
	}
	y.machine, err = platform.Open(ctx, platform.Settings{State: o.state, Docker: host, Runtime: platform.RuntimeDocker})
	if err != nil {
		return y, err
	}
	return y, y.makeBuilder(ctx)
}

// makeBuilder makes one builder for both tools. Its run image is in the registry, where a published image's has
// to be, and under the same name in Docker.
func (y *yard) makeBuilder(ctx context.Context) error {
	run, err := y.spreadRunImage(ctx)
	if err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString(fmt.Sprintf("[build]\nimage = %q\n\n[run]\n[[run.images]]\nimage = %q\n\n", y.buildImage, run))
	if y.withPack {
		text.WriteString(fmt.Sprintf("[lifecycle]\nuri = %q\n\n", "file://"+y.lifecycle))
	}
	vendored := filepath.Join(y.dir, "vendored")
	if err := writeVendored(vendored); err != nil {
		return err
	}
	libraries := filepath.Join(y.dir, "libraries")
	if err := writeLibraries(libraries); err != nil {
		return err
	}
	for _, b := range []struct{ id, dir string }{
		{"bench/libraries", libraries},
		{"slipway/nodejs", filepath.Join(y.buildpacks, "nodejs")},
		{"bench/vendored", vendored},
		{"sample/one-layer", filepath.Join(y.fixtures, "buildpacks", "one-layer")},
	} {
		text.WriteString(fmt.Sprintf("[[buildpacks]]\nuri = %q\n\n[[order]]\n[[order.group]]\nid = %q\n\n", b.dir, b.id))
	}
	config := filepath.Join(y.dir, "builder.toml")
	if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
		return err
	}
	y.names = append(y.names, y.builder)
	return y.command(ctx, y.slipway, "builder", "create", y.builder, "--config", config)
}

// spreadRunImage gives the run image a name in the registry and puts it there, into the store and into Docker.
func (y *yard) spreadRunImage(ctx context.Context) (string, error) {
	name := y.registry.host + "/" + prefix + "/run:latest"
	ref, err := image.ParseRef(name)
	if err != nil {
		return "", err
	}
	r := image.Resolver{Images: y.machine.Images, Engine: y.machine.Engine, Registry: y.machine.Registry, Policy: image.PullIfNotPresent}
	img, err := r.Resolve(ctx, y.runImage)
	if err != nil {
		return "", fmt.Errorf("run image: %w (make builder makes it)", err)
	}
	if _, err := y.machine.Registry.Push(ctx, []image.Ref{ref}, img, image.PushOptions{}); err != nil {
		return "", err
	}
	if _, err := image.LoadEngine(ctx, y.machine.Engine, []image.Ref{ref}, img, image.LoadOptions{Store: y.machine.Store}); err != nil {
		return "", err
	}
	y.names = append(y.names, name)
	return name, nil
}

// command runs a program and gives its output's end as the reason of a failure.
func (y *yard) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = y.environ
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	if len(text) > 2000 {
		text = "..." + text[len(text)-2000:]
	}
	return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, text)
}

// ours and theirs build the same app with the same builder. to is where the image goes.
func (y *yard) ours(ctx context.Context, name, app string, more ...string) error {
	return y.command(ctx, y.slipway, append([]string{"build", name, "--quiet", "--path", app, "--builder", y.builder, "--pull-policy", "never"}, more...)...)
}

func (y *yard) theirs(ctx context.Context, name, app string, more ...string) error {
	return y.command(ctx, y.pack, append([]string{"build", name, "--quiet", "--path", app, "--builder", y.builder, "--pull-policy", "never", "--trust-builder"}, more...)...)
}

// trust gives pack's builds the certificates that this host trusts; ours have them anyway.
func (y *yard) trust() []string {
	if y.bundle == "" {
		return nil
	}
	const at = "/etc/ssl/certs/ca-certificates.crt"
	return []string{"--volume", y.bundle + ":" + at + ":ro", "--env", "SSL_CERT_FILE=" + at, "--env", "NODE_EXTRA_CA_CERTS=" + at}
}

// packCache names pack's cache volumes, so that they can be removed.
func (y *yard) packCache(name string) []string {
	var args []string
	for _, kind := range []string{"build", "launch"} {
		v := prefix + "-" + name + "-" + kind
		y.volumes = append(y.volumes, v)
		args = append(args, "--cache", "type="+kind+";format=volume;name="+v)
	}
	return args
}

// describe says what is compared.
func (y *yard) describe() string {
	if !y.withPack {
		return "slipway alone"
	}
	return "slipway beside pack (--trust-builder --pull-policy never), one builder"
}

// tearDown removes what was made outside the directory.
func (y *yard) tearDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if y.machine != nil {
		for _, n := range y.names {
			if err := y.machine.Engine.Remove(ctx, n); err != nil && !errors.Is(err, image.ErrNotFound) {
				errs = append(errs, err)
			}
			if ref, err := image.ParseRef(n); err == nil {
				_ = y.machine.Images.Remove(ctx, ref) // most of them were never there
			}
		}
		errs = append(errs, y.machine.Close())
	}
	if y.withPack {
		for _, v := range y.volumes {
			_ = y.runtime.RemoveVolume(ctx, v) // a case that did not run made none
		}
	}
	return errors.Join(append(errs, y.registry.stop(), y.runtime.Close())...)
}
