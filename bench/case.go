package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
)

// A benchCase is one situation: key selects it, measure times its rows.
type benchCase struct {
	key, title string
	measure    func(ctx context.Context, y *yard) ([]*row, error)
}

func (y *yard) cases() []benchCase {
	return []benchCase{
		{"a", "A. no-op rebuild of a small app, to Docker", noopDocker},
		{"a", "A. no-op rebuild of a small app, to a registry", noopRegistry},
		{"b", "B. rebuild of a Node app with 75 MB of modules, nothing changed, to Docker", rebuildNode},
		{"c", "C. first build of a new repository with 75 MB of modules, to a registry", firstPublish},
	}
}

// both are the two tools' rows. own builds with the tool's name in the image's.
func (y *yard) both(ours, theirs func(ctx context.Context, round int) error) []*row {
	rows := []*row{{name: "slipway", run: ours}}
	if y.withPack {
		rows = append(rows, &row{name: "pack", run: theirs})
	}
	return rows
}

func (y *yard) smallApp() (string, error) {
	app := filepath.Join(y.dir, "small")
	if err := os.MkdirAll(app, 0o755); err != nil {
		return "", err
	}
	return app, os.WriteFile(filepath.Join(app, "hello.txt"), []byte("hello\n"), 0o644)
}

func noopDocker(ctx context.Context, y *yard) ([]*row, error) {
	app, err := y.smallApp()
	if err != nil {
		return nil, err
	}
	ours, theirs := prefix+"/small-slipway", prefix+"/small-pack"
	cache := y.packCache("small")
	y.names = append(y.names, ours, theirs)
	rows := y.both(
		func(ctx context.Context, _ int) error { return y.ours(ctx, ours, app) },
		func(ctx context.Context, _ int) error { return y.theirs(ctx, theirs, app, cache...) },
	)
	rows = append(rows, &row{name: "one empty container of the builder", run: y.emptyContainer})
	return rows, y.alternate(ctx, rows)
}

// emptyContainer is the floor of every build with one container.
func (y *yard) emptyContainer(ctx context.Context, _ int) error {
	b, err := y.machine.Engine.Inspect(ctx, y.builder)
	if err != nil {
		return err
	}
	p, err := y.runtime.Prepare(ctx, container.Spec{Image: b.ID, Argv: []string{"/bin/true"}, Dir: "/", UID: 1000, GID: 1000})
	if err != nil {
		return err
	}
	return errors.Join(p.Run(ctx, container.Streams{}), p.Close())
}

// published is how pack reaches a registry on this machine's loopback: its lifecycle pushes from the container.
// Ours pushes from outside and keeps the build on a network of its own, which takes the engine a tenth of a second.
func published() []string { return []string{"--publish", "--network", "host"} }

func noopRegistry(ctx context.Context, y *yard) ([]*row, error) {
	app, err := y.smallApp()
	if err != nil {
		return nil, err
	}
	cache := y.packCache("small-published")
	ours, theirs := y.registry.host+"/small-slipway", y.registry.host+"/small-pack"
	rows := y.both(
		func(ctx context.Context, _ int) error { return y.ours(ctx, ours, app, "--publish") },
		func(ctx context.Context, _ int) error {
			return y.theirs(ctx, theirs, app, append(published(), cache...)...)
		},
	)
	if y.withPack {
		rows = append(rows, &row{name: "slipway --network host", run: func(ctx context.Context, _ int) error {
			return y.ours(ctx, y.registry.host+"/small-slipway-host", app, published()...)
		}})
	}
	return rows, y.alternate(ctx, rows)
}

func rebuildNode(ctx context.Context, y *yard) ([]*row, error) {
	app := filepath.Join(y.fixtures, "apps", "node-big")
	env := []string{"--env", "BP_NODE_MIRROR=" + y.mirror}
	ours, theirs := prefix+"/node-slipway", prefix+"/node-pack"
	cache := y.packCache("node")
	y.names = append(y.names, ours, theirs)
	rows := y.both(
		func(ctx context.Context, _ int) error { return y.ours(ctx, ours, app, env...) },
		func(ctx context.Context, _ int) error {
			return y.theirs(ctx, theirs, app, slices.Concat(env, cache, y.trust())...)
		},
	)
	// The first builds of both, which fetch Node and the modules, are not rebuilds.
	for _, r := range rows {
		if err := r.run(ctx, 0); err != nil {
			return nil, err
		}
	}
	tree := filepath.Join(y.dir, "node-tree")
	if err := y.layersOf(ctx, ours, tree); err != nil {
		return nil, err
	}
	rows = append(rows, floor(tree)...)
	return rows, errors.Join(y.alternate(ctx, rows), os.RemoveAll(tree))
}

// firstPublish builds content that neither tool has seen, under a name of its own each round: there is no image, no
// cache and no blob to reuse except the run image's.
func firstPublish(ctx context.Context, y *yard) ([]*row, error) {
	app := filepath.Join(y.dir, "vendored-app")
	y.before = func(round int) error {
		if err := os.RemoveAll(app); err != nil {
			return err
		}
		return writeModules(app, 75_000_000, uint64(round))
	}
	defer func() { y.before = nil }()
	rows := y.both(
		func(ctx context.Context, round int) error {
			return y.ours(ctx, fmt.Sprintf("%s/first-slipway-%d", y.registry.host, round), app, "--publish")
		},
		func(ctx context.Context, round int) error {
			name := fmt.Sprintf("first-pack-%d", round)
			return y.theirs(ctx, y.registry.host+"/"+name, app, append(published(), y.packCache(name)...)...)
		},
	)
	rows = append(rows, floor(app)...)
	return rows, errors.Join(y.alternate(ctx, rows), os.RemoveAll(app))
}

// layersOf unpacks the layers that a build put on its run image into dir.
func (y *yard) layersOf(ctx context.Context, name, dir string) error {
	r := image.Resolver{Images: y.machine.Images, Engine: y.machine.Engine, Policy: image.PullNever}
	built, err := r.Resolve(ctx, name)
	if err != nil {
		return err
	}
	base, err := r.Resolve(ctx, y.runImage)
	if err != nil {
		return err
	}
	layers, err := built.Layers()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, l := range layers[min(len(base.Config.RootFS.DiffIDs), len(layers)):] {
		if err := unpackLayer(ctx, l, dir); err != nil {
			return err
		}
	}
	return nil
}

func unpackLayer(ctx context.Context, l v1.Layer, dir string) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, "tar", "-xf", "-", "-C", dir, "--no-same-owner")
	cmd.Stdin = r
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return nil
}

// floor is what this machine takes to move the files of tree at all: read as one stream, hashed, compressed.
func floor(tree string) []*row {
	pipe := func(name string, args ...string) *row {
		return &row{name: name, run: func(ctx context.Context, _ int) error { return tarInto(ctx, tree, args...) }}
	}
	return []*row{
		pipe("its files: tar | cat", "cat"),
		pipe("its files: tar | sha256sum", "sha256sum"),
		pipe("its files: tar | gzip -1", "gzip", "-1"),
	}
}

// tarInto runs tar of tree into a program whose output is thrown away.
func tarInto(ctx context.Context, tree string, args ...string) error {
	from := exec.CommandContext(ctx, "tar", "-cf", "-", "-C", tree, ".")
	to := exec.CommandContext(ctx, args[0], args[1:]...)
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	from.Stdout, to.Stdin = w, r
	err = errors.Join(from.Start(), to.Start(), w.Close(), r.Close())
	if err != nil {
		return err
	}
	return errors.Join(from.Wait(), to.Wait())
}
