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
		{"b", "B. rebuild of it, nothing changed, to a registry", rebuildNodePublished},
		{"b", "B. rebuild of it, one line of source changed, to a registry", changedNodePublished},
		{"c", "C. first build of a new repository with 75 MB of modules, to a registry", firstPublish},
		{"d", "D. first build with three layers copied from system libraries, to a registry", firstLibraries},
		{"d", "D. rebuild of it, nothing changed, to a registry", rebuildLibraries},
		{"d", "D. rebuild of it, nothing changed, to Docker", rebuildLibrariesDocker},
	}
}

// A tool builds images: slipway with one of its runtimes, or pack.
type tool struct {
	name, key string // key makes names of images and caches
	ours      bool
	build     func(ctx context.Context, image, app string, more ...string) error
}

// tools are slipway with Docker, slipway without where it can, and pack where it is.
func (y *yard) tools() []tool {
	with := func(runtime string) func(context.Context, string, string, ...string) error {
		return func(ctx context.Context, image, app string, more ...string) error {
			return y.ours(ctx, image, app, append([]string{"--runtime", runtime}, more...)...)
		}
	}
	list := []tool{{"slipway, docker runtime", "slipway", true, with("docker")}}
	if y.withOCI {
		list = append(list, tool{"slipway, oci runtime", "slipway-oci", true, with("oci")})
	}
	if y.withPack {
		list = append(list, tool{"pack", "pack", false, y.theirs})
	}
	return list
}

// rows has each tool do the same.
func (y *yard) rows(run func(ctx context.Context, t tool, round int) error) (rows []*row) {
	for _, t := range y.tools() {
		rows = append(rows, &row{name: t.name, ours: t.ours, run: func(ctx context.Context, round int) error { return run(ctx, t, round) }})
	}
	return rows
}

// rebuild is a case of builds over and over under one name a tool. where is "" for Docker, else a registry.
func (y *yard) rebuild(ctx context.Context, what, where, app string, more ...string) ([]*row, error) {
	if where == "" {
		for _, t := range y.tools() {
			y.names = append(y.names, prefix+"/"+what+"-"+t.key)
		}
	}
	rows := y.rows(func(ctx context.Context, t tool, _ int) error {
		name, args := prefix+"/"+what+"-"+t.key, slices.Clone(more)
		if where != "" {
			name = where + "/" + what + "-" + t.key
			args = append(args, "--publish")
		}
		if !t.ours {
			args = slices.Concat(args, y.packCache(what+where[:min(1, len(where))]), y.trust())
			if where != "" {
				args = append(args, "--network", "host")
			}
		}
		return t.build(ctx, name, app, args...)
	})
	// The first builds, which fetch and make what later ones find, are not rebuilds; the next unpack what they keep.
	for range 2 {
		for _, r := range rows {
			if err := r.run(ctx, 0); err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
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
	rows, err := y.rebuild(ctx, "small", "", app)
	if err != nil {
		return nil, err
	}
	rows = append(rows, &row{name: "one empty container of the builder, Docker", run: y.emptyContainer})
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

func noopRegistry(ctx context.Context, y *yard) ([]*row, error) {
	app, err := y.smallApp()
	if err != nil {
		return nil, err
	}
	rows, err := y.rebuild(ctx, "small", y.registry.host, app)
	if err != nil {
		return nil, err
	}
	return rows, y.alternate(ctx, rows)
}

// nodeApp is a copy of the large Node app, and what its build is told.
func (y *yard) nodeApp() (app string, env []string, err error) {
	app = filepath.Join(y.dir, "node-big")
	if _, err := os.Stat(app); err == nil {
		return app, []string{"--env", "BP_NODE_MIRROR=" + y.mirror}, nil
	}
	return app, []string{"--env", "BP_NODE_MIRROR=" + y.mirror}, os.CopyFS(app, os.DirFS(filepath.Join(y.fixtures, "apps", "node-big")))
}

func rebuildNode(ctx context.Context, y *yard) ([]*row, error) {
	app, env, err := y.nodeApp()
	if err != nil {
		return nil, err
	}
	rows, err := y.rebuild(ctx, "node", "", app, env...)
	if err != nil {
		return nil, err
	}
	tree := filepath.Join(y.dir, "node-tree")
	if err := y.layersOf(ctx, prefix+"/node-slipway", tree); err != nil {
		return nil, err
	}
	rows = append(rows, floor(tree)...)
	return rows, errors.Join(y.alternate(ctx, rows), os.RemoveAll(tree))
}

func rebuildNodePublished(ctx context.Context, y *yard) ([]*row, error) {
	app, env, err := y.nodeApp()
	if err != nil {
		return nil, err
	}
	rows, err := y.rebuild(ctx, "node", y.registry.host, app, env...)
	if err != nil {
		return nil, err
	}
	return rows, y.alternate(ctx, rows)
}

// changedNodePublished has another line in the source each round.
func changedNodePublished(ctx context.Context, y *yard) ([]*row, error) {
	app, env, err := y.nodeApp()
	if err != nil {
		return nil, err
	}
	rows, err := y.rebuild(ctx, "node", y.registry.host, app, env...)
	if err != nil {
		return nil, err
	}
	y.before = func(round int) error {
		return os.WriteFile(filepath.Join(app, "line.js"), fmt.Appendf(nil, "// %d\n", round), 0o644)
	}
	defer func() { y.before = nil }()
	return rows, errors.Join(y.alternate(ctx, rows), os.Remove(filepath.Join(app, "line.js")))
}

// librariesApp makes the app of bench/libraries: stamp tells its layers from others'.
func (y *yard) librariesApp(stamp string) (string, error) {
	app := filepath.Join(y.dir, "libraries-app")
	if err := os.MkdirAll(app, 0o755); err != nil {
		return "", err
	}
	return app, os.WriteFile(filepath.Join(app, "libraries"), []byte(stamp+"\n"), 0o644)
}

func firstLibraries(ctx context.Context, y *yard) ([]*row, error) {
	app := filepath.Join(y.dir, "libraries-app")
	y.before = func(round int) error { _, err := y.librariesApp(fmt.Sprint("first ", round)); return err }
	defer func() { y.before = nil }()
	rows := y.rows(func(ctx context.Context, t tool, round int) error {
		name := fmt.Sprintf("libs-%s-%d", t.key, round)
		args := []string{"--publish"}
		if !t.ours {
			args = append(args, append(y.packCache(name), "--network", "host")...)
		}
		return t.build(ctx, y.registry.host+"/"+name, app, args...)
	})
	return rows, y.alternate(ctx, rows)
}

func rebuildLibraries(ctx context.Context, y *yard) ([]*row, error) {
	return y.sameLibraries(ctx, y.registry.host)
}

func rebuildLibrariesDocker(ctx context.Context, y *yard) ([]*row, error) {
	return y.sameLibraries(ctx, "")
}

func (y *yard) sameLibraries(ctx context.Context, where string) ([]*row, error) {
	app, err := y.librariesApp("rebuild")
	if err != nil {
		return nil, err
	}
	rows, err := y.rebuild(ctx, "libs", where, app)
	if err != nil {
		return nil, err
	}
	return rows, y.alternate(ctx, rows)
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
	rows := y.rows(func(ctx context.Context, t tool, round int) error {
		name := fmt.Sprintf("first-%s-%d", t.key, round)
		args := []string{"--publish"}
		if !t.ours {
			args = append(args, append(y.packCache(name), "--network", "host")...)
		}
		return t.build(ctx, y.registry.host+"/"+name, app, args...)
	})
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
