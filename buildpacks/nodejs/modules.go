package main

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// modules installs what package.json asks for and runs the build script. There are two ways:
//
//   - beside the app: npm installs into a layer, and node_modules in the app is a link to it. The layer with
//     the production modules is launch only: when its key still fits, nothing is restored, installed,
//     copied or exported again. Development modules are in a cache layer of their own.
//   - in the app, where a link would break: workspaces and file: dependencies are relative links out of
//     node_modules, and some bundlers refuse a node_modules outside the app. Then npm's own cache and a
//     slice have to do.
func (b *builder) modules(ctx context.Context) error {
	scripts, err := b.scripts()
	if err != nil {
		return err
	}
	cache, err := b.c.Layers.Layer("npm-cache")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache.Path, 0o755); err != nil {
		return err
	}
	cache.LayerTypes = libcnb.LayerTypes{Cache: true}
	b.layers = append(b.layers, cache)
	env := b.npmEnv(cache.Path)
	full := len(scripts)+len(b.m.hooks()) > 0 && len(b.m.DevDependencies) > 0

	if names, err := os.ReadDir(filepath.Join(b.c.ApplicationPath, "node_modules")); err == nil && len(names) > 0 {
		b.w.Sayf("WARNING: node_modules of the source is replaced by a fresh install; keep it out of the source")
	}
	if b.lock == "" && len(b.m.Dependencies)+len(b.m.DevDependencies) > 0 {
		b.w.Sayf("WARNING: no package-lock.json: the versions of the modules are whatever is newest today, and each build installs them again; run npm install and commit package-lock.json")
	}
	why, err := b.inApp()
	if err != nil {
		return err
	}
	if why != "" {
		b.w.Sayf("modules are installed in the app directory: %s", why)
		return b.modulesInApp(ctx, env, full, scripts)
	}
	return b.modulesBeside(ctx, env, full, scripts)
}

// inApp is the reason to install in the app directory, or "".
func (b *builder) inApp() (string, error) {
	forced, err := b.w.Env.Flag("BP_NODE_MODULES_IN_APP")
	switch {
	case err != nil:
		return "", err
	case forced:
		return "BP_NODE_MODULES_IN_APP is set", nil
	case len(b.m.Workspaces) > 0 && string(b.m.Workspaces) != "null":
		return "the app has workspaces", nil
	case b.locked != nil && b.locked.linked() != "":
		return b.locked.linked() + " is linked to a directory of the app", nil
	case b.m.Dependencies["next"] != "":
		return "Next.js does not accept a node_modules outside the app", nil
	}
	for _, name := range slices.Sorted(maps.Keys(b.m.Dependencies)) {
		if strings.HasPrefix(b.m.Dependencies[name], "file:") {
			return name + " is a directory of the app", nil
		}
	}
	return "", nil
}

func (b *builder) modulesInApp(ctx context.Context, env parcel.Env, full bool, scripts []string) error {
	if err := os.RemoveAll(filepath.Join(b.c.ApplicationPath, "node_modules")); err != nil {
		return err
	}
	if err := b.run(ctx, env, b.installArgs(full)...); err != nil {
		return err
	}
	for _, s := range scripts {
		if err := b.run(ctx, env, "run", s); err != nil {
			return err
		}
	}
	if full {
		if err := b.run(ctx, env, "prune", "--omit=dev", "--ignore-scripts"); err != nil {
			return err
		}
	}
	if isDir(filepath.Join(b.c.ApplicationPath, "node_modules")) {
		b.slices = append(b.slices, libcnb.Slice{Paths: []string{"node_modules"}})
	}
	if b.locked == nil {
		return nil
	}
	return parcel.WriteSBOM(b.c.Layers.LaunchSBOMPath(libcnb.CycloneDXJSON), b.c.Buildpack, b.locked.components())
}

// installArgs is the install command; npm ci wants a lock file.
func (b *builder) installArgs(full bool) []string {
	args := []string{"ci", "--prefer-offline"}
	if b.lock == "" {
		args = []string{"install", "--no-package-lock"}
	}
	if full {
		return append(args, "--include=dev")
	}
	return append(args, "--omit=dev")
}

// key is what an install depends on. Hooks see the whole app, so then all of it counts; Prisma's own hook
// reads the schema.
func (b *builder) key(full bool) (string, error) {
	npmrc, err := parcel.FileKey(filepath.Join(b.c.ApplicationPath, ".npmrc"), 1<<20)
	if err != nil {
		return "", err
	}
	parts := []string{"modules 1", b.lockText, b.m.installKey(), npmrc, b.t.nodeVersion, b.t.npmVersion, b.arch,
		b.c.TargetDistro.Name, b.c.TargetDistro.Version, b.w.Env["NODE_ENV"]}
	if full {
		parts = append(parts, "dev")
	}
	app := b.c.ApplicationPath
	if len(b.m.hooks()) > 0 {
		tree, err := parcel.TreeKey(app, func(rel string, _ fs.DirEntry) bool { return rel == "node_modules" || rel == ".git" })
		return parcel.KeyOf(append(parts, tree)...), err
	}
	if b.m.Dependencies["@prisma/client"] != "" && isDir(filepath.Join(app, "prisma")) {
		tree, err := parcel.TreeKey(filepath.Join(app, "prisma"), nil)
		return parcel.KeyOf(append(parts, tree)...), err
	}
	return parcel.KeyOf(parts...), nil
}

func (b *builder) modulesBeside(ctx context.Context, env parcel.Env, full bool, scripts []string) error {
	key, err := b.key(full)
	if err != nil {
		return err
	}
	prod, err := b.c.Layers.Layer("modules")
	if err != nil {
		return err
	}
	if len(scripts) > 0 || full {
		if key, err = b.buildWith(ctx, env, full, scripts, key); err != nil {
			return err
		}
	}
	link := filepath.Join(b.c.ApplicationPath, "node_modules")
	if b.buildOnly {
		return os.RemoveAll(link)
	}
	switch {
	case b.lock != "" && parcel.Fresh(prod, key):
		b.w.Sayf("production modules: reused, nothing they depend on has changed")
	default:
		if prod, err = prod.Reset(); err != nil {
			return err
		}
		if all := b.layer("modules-all"); all != nil {
			err = b.prune(ctx, env, *all, prod)
		} else {
			err = b.install(ctx, env, prod.Path, false)
		}
		if err != nil {
			return err
		}
		parcel.Note(&prod, key, nil)
	}
	prod.LayerTypes = libcnb.LayerTypes{Launch: true}
	b.layers = append(b.layers, prod)
	if err := relink(filepath.Join(prod.Path, "node_modules"), link); err != nil {
		return err
	}
	if b.locked == nil {
		return nil
	}
	return parcel.WriteSBOM(prod.SBOMPath(libcnb.CycloneDXJSON), b.c.Buildpack, b.locked.components())
}

// layer finds a layer that this build has put into its result.
func (b *builder) layer(name string) *libcnb.Layer {
	for i := range b.layers {
		if b.layers[i].Name == name {
			return &b.layers[i]
		}
	}
	return nil
}

// buildWith installs all modules into a cache layer and runs the scripts with them. The key it gives covers
// what the scripts changed there (a generated database client, for instance).
func (b *builder) buildWith(ctx context.Context, env parcel.Env, full bool, scripts []string, key string) (string, error) {
	all, err := b.c.Layers.Layer("modules-all")
	if err != nil {
		return "", err
	}
	link := filepath.Join(b.c.ApplicationPath, "node_modules")
	if b.lock != "" && parcel.Fresh(all, key) && isDir(filepath.Join(all.Path, "node_modules")) {
		b.w.Sayf("modules for the build: reused from the cache")
		err = relink(filepath.Join(all.Path, "node_modules"), link)
	} else {
		if all, err = all.Reset(); err != nil {
			return "", err
		}
		err = b.install(ctx, env, all.Path, full)
	}
	if err != nil {
		return "", err
	}
	parcel.Note(&all, key, nil)
	all.LayerTypes = libcnb.LayerTypes{Cache: true}
	b.layers = append(b.layers, all)
	const tick = 20 * time.Millisecond // file times are as coarse as the kernel's tick
	time.Sleep(tick)
	mark := time.Now().Add(-tick / 2)
	for _, s := range scripts {
		if err := b.run(ctx, env.With("NODE_ENV="+nodeEnv(b.w.Env)), "run", s); err != nil {
			return "", err
		}
	}
	touched, err := parcel.TreeKey(all.Path, func(rel string, d fs.DirEntry) bool {
		if d.IsDir() {
			return d.Name() == ".cache"
		}
		info, err := d.Info()
		return err != nil || info.ModTime().Before(mark)
	})
	return parcel.KeyOf(key, touched), err
}

func nodeEnv(e parcel.Env) string {
	if v := e["NODE_ENV"]; v != "" {
		return v
	}
	return "production"
}

// install runs npm with dir in the place of the app, links the result into the app and runs the app's own
// hooks there. npm's working directory stays the app, which is what INIT_CWD tells the hooks of modules.
func (b *builder) install(ctx context.Context, env parcel.Env, dir string, full bool) error {
	if err := trim(env["npm_config_cache"]); err != nil {
		return err
	}
	if b.m.Scripts["preinstall"] != "" {
		if err := b.run(ctx, env, "run", "preinstall"); err != nil {
			return err
		}
	}
	done, err := b.stage(dir)
	if err != nil {
		return err
	}
	err = b.run(ctx, env, append([]string{"--prefix", dir}, b.installArgs(full)...)...)
	if err := done(err); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "node_modules"), 0o755); err != nil {
		return err
	}
	if err := relink(filepath.Join(dir, "node_modules"), filepath.Join(b.c.ApplicationPath, "node_modules")); err != nil {
		return err
	}
	for _, h := range b.m.hooks() {
		if h == "preinstall" {
			continue
		}
		if err := b.run(ctx, env, "run", h); err != nil {
			return err
		}
	}
	return nil
}

// trim empties npm's cache once it holds more than any app needs: npm never removes old packages itself.
func trim(cache string) error {
	const most = 1 << 30
	var size int64
	err := filepath.WalkDir(cache, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil || size <= most {
		return err
	}
	if err := os.RemoveAll(cache); err != nil {
		return err
	}
	return os.MkdirAll(cache, 0o755)
}

// prune makes the production modules from all of them, without running hooks a second time.
func (b *builder) prune(ctx context.Context, env parcel.Env, all, prod libcnb.Layer) error {
	if err := parcel.CopyTree(filepath.Join(all.Path, "node_modules"), filepath.Join(prod.Path, "node_modules")); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(prod.Path, "node_modules", ".cache")); err != nil {
		return err
	}
	if len(b.m.DevDependencies) == 0 {
		return nil
	}
	done, err := b.stage(prod.Path)
	if err != nil {
		return err
	}
	return done(b.run(ctx, env, "--prefix", prod.Path, "prune", "--omit=dev", "--ignore-scripts"))
}

// stage copies the files that npm reads into dir; done removes them again, .npmrc with its token above all,
// and hands on err.
func (b *builder) stage(dir string) (done func(err error) error, err error) {
	files := []string{"package.json", ".npmrc"}
	done = func(err error) error {
		for _, n := range append(files, "package-lock.json", "npm-shrinkwrap.json") {
			if rerr := os.Remove(filepath.Join(dir, n)); rerr != nil && !os.IsNotExist(rerr) && err == nil {
				err = rerr
			}
		}
		return err
	}
	text, err := b.m.scrubbed()
	if err != nil {
		return done, err
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), text, 0o644); err != nil {
		return done, err
	}
	if b.lock != "" {
		if err := os.WriteFile(filepath.Join(dir, b.lock), []byte(b.lockText), 0o644); err != nil {
			return done, err
		}
	}
	npmrc, ok, err := parcel.ReadText(b.c.ApplicationPath, ".npmrc")
	if ok {
		err = os.WriteFile(filepath.Join(dir, ".npmrc"), []byte(npmrc), 0o600)
	}
	return done, err
}
