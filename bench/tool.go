package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Who builds.
const (
	slipwayOCI    = "slipway-oci"
	slipwayDocker = "slipway-docker"
	packs         = "pack"
	references    = "reference"
)

// A tool builds images: slipway with one of its runtimes, pack, or the reference's creator.
type tool struct {
	key, name string
	ours      bool
	// prepare does what no platform would make its user wait for; nil where there is nothing.
	prepare func(ctx context.Context, j job) error
	build   func(ctx context.Context, j job) error
	// forget removes what a build left on this machine but for the image.
	forget func(ctx context.Context, j job) error
}

// A job is one build.
type job struct {
	image   string // its name; in a registry where publish
	publish bool
	app     string   // directory of the source
	env     []string // NAME=value, for buildpacks
	mounts  []mount
	cache   string // the name of caches where the tool does not name them by the image
	cold    bool   // a first build: what is kept of it is not wanted
}

// A mount shows a directory of this machine to buildpacks.
type mount struct {
	source, target string
	writable       bool
}

func (m mount) volume() string {
	if m.writable {
		return m.source + ":" + m.target + ":rw"
	}
	return m.source + ":" + m.target + ":ro"
}

func (j job) flags() []string {
	var args []string
	if j.publish {
		args = append(args, "--publish")
	}
	for _, e := range j.env {
		args = append(args, "--env", e)
	}
	for _, m := range j.mounts {
		args = append(args, "--volume", m.volume())
	}
	return args
}

// tools are all that there are here: ours with either runtime, pack and the reference where they were named. toRegistry
// is where the images go: the reference's creator in a container reaches no Docker.
func (y *yard) tools(toRegistry bool) []tool {
	var list []tool
	if y.withOCI {
		list = append(list, y.slipwayTool(slipwayOCI, "oci"))
	}
	list = append(list, y.slipwayTool(slipwayDocker, "docker"))
	if y.withPack {
		list = append(list, tool{key: packs, name: "pack", build: y.packBuild, forget: y.packForget})
	}
	if y.reference != "" && y.withOCI && toRegistry {
		list = append(list, tool{
			key: references, name: "reference creator, runc",
			prepare: y.creatorPrepare, build: y.creatorBuild, forget: y.creatorForget,
		})
	}
	return list
}

func (y *yard) slipwayTool(key, runtime string) tool {
	return tool{
		key: key, name: "slipway, " + runtime + " runtime", ours: true,
		build: func(ctx context.Context, j job) error { return y.slipwayBuild(ctx, runtime, j) },
		forget: func(ctx context.Context, j job) error {
			if err := y.command(ctx, y.slipway, "cache", "rm", j.image); err != nil {
				return err
			}
			return y.command(ctx, y.slipway, "cache", "prune")
		},
	}
}

func (y *yard) slipwayBuild(ctx context.Context, runtime string, j job) error {
	args := []string{"build", j.image, "--quiet", "--path", j.app, "--builder", y.builder, "--pull-policy", "never", "--runtime", runtime}
	return y.command(ctx, y.slipway, append(args, j.flags()...)...)
}

// packBuild builds in pack's fastest mode: the builder is trusted, nothing is looked for elsewhere. It gets the
// certificates that this host trusts; ours have them anyway.
func (y *yard) packBuild(ctx context.Context, j job) error {
	args := []string{"build", j.image, "--quiet", "--path", j.app, "--builder", y.builder, "--pull-policy", "never", "--trust-builder"}
	args = append(args, j.flags()...)
	if j.publish {
		args = append(args, "--network", "host")
	}
	for _, kind := range cacheKinds {
		args = append(args, "--cache", "type="+kind+";format=volume;name="+y.volume(j, kind))
	}
	if y.bundle != "" {
		args = append(args, "--volume", y.bundle+":"+bundleAt+":ro")
		for _, e := range bundleEnv() {
			args = append(args, "--env", e)
		}
	}
	return y.command(ctx, y.pack, args...)
}

// cacheKinds are pack's cache volumes of a build.
var cacheKinds = [...]string{"build", "launch"}

// volume names one of pack's cache volumes, and remembers it, so that it can be removed.
func (y *yard) volume(j job, kind string) string {
	v := prefix + "-" + j.cache + "-" + kind
	y.volumes[v] = true
	return v
}

func (y *yard) packForget(ctx context.Context, j job) error {
	for _, kind := range cacheKinds {
		if err := y.machine.Docker.RemoveVolume(ctx, y.volume(j, kind)); err != nil {
			return err
		}
	}
	return nil
}

// Where the certificates that this host trusts are shown to who does not take them from it.
const bundleAt = "/etc/ssl/certs/ca-certificates.crt"

func bundleEnv() []string {
	return []string{"SSL_CERT_FILE=" + bundleAt, "NODE_EXTRA_CA_CERTS=" + bundleAt}
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
	return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, tail(out))
}

// tail is the end of a program's output.
func tail(out []byte) string {
	const most = 2000
	text := strings.TrimSpace(string(out))
	if len(text) > most {
		text = "..." + text[len(text)-most:]
	}
	return text
}
