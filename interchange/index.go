package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const ns = "slipway" // of the project's buildpacks

// index is a buildpack's life: packaged, pushed, registered, yanked, built with in three ways, locked, renewed.
func (t *trial) index(ctx context.Context) {
	t.publish(ctx)
	t.builds(ctx)
	t.unmodified(ctx)
	t.locks(ctx)
	t.say("index: packaged, pushed to both registries, registered, yanked, built with by slipway, the service and pack, locked and updated")
}

// say prints a line of what is settled.
func (t *trial) say(format string, args ...any) {
	if t.err == nil {
		fmt.Fprintf(t.out, "ok: "+format+"\n", args...)
	}
}

// publish packages all of the project's buildpacks and pushes them to both registries, where they are the same; registers
// them, and three versions of one on top, of which the newest is yanked.
func (t *trial) publish(ctx context.Context) {
	dirs, err := filepath.Glob(filepath.Join(t.packs, "*", "buildpack.toml"))
	if t.err == nil && (err != nil || len(dirs) == 0) {
		t.err = fmt.Errorf("no buildpacks are in %s: make buildpacks: %w", t.packs, err)
	}
	for _, toml := range dirs {
		dir := filepath.Dir(toml)
		a, b := t.pushed(ctx, t.registry, dir, "0.1.0"), t.pushed(ctx, t.service, dir, "0.1.0")
		if t.err == nil && a[strings.Index(a, "@"):] != b[strings.Index(b, "@"):] {
			t.err = fmt.Errorf("the package of %s is %s in one registry and %s in the other", dir, a, b)
		}
		t.ours(ctx, says("Registered "+ns+"/"+filepath.Base(dir)+"@0.1.0 as "+a), "buildpack", "register", a, "--reason", "the first")
		t.ours(ctx, says("nothing has changed"), "buildpack", "register", a)
		t.command(ctx, true, "", says("0.1.0"), t.slipway, "buildpack", "register", b) // another address of a version that is there
	}
	for version, host := range map[string]string{"1.0.0": t.registry, "1.1.0": t.service, "1.2.0": t.registry} {
		t.register(ctx, host, version)
	}
	t.ours(ctx, says("Yanked slipway/static@1.2.0"), "buildpack", "yank", ns+"/static@1.2.0", "--reason", "it serves too much")
}

// register packages another version of the static buildpack, pushes and registers it.
func (t *trial) register(ctx context.Context, host, version string) {
	image := t.pushed(ctx, host, t.version(version), version)
	t.ours(ctx, says("Registered slipway/static@"+version+" as "+image), "buildpack", "register", image, "--reason", version)
}

// pushed packages a buildpack and pushes it to a registry, for the targets that it names, and returns it by its digest.
func (t *trial) pushed(ctx context.Context, host, dir, version string) string {
	name := host + "/" + ns + "/" + strings.Split(filepath.Base(dir), "@")[0]
	text := t.ours(ctx, nil, "buildpack", "package", name+":"+version, "--path", dir, "--publish", "-q")
	image := name + "@" + t.digestOf(text)
	t.made = append(t.made, image) // where pack pulls it
	return image
}

// version is a directory with the static buildpack in another version.
func (t *trial) version(version string) string {
	dir := t.at("static@" + version)
	if _, err := os.Stat(dir); err == nil || t.err != nil {
		return dir
	}
	if t.err = os.CopyFS(dir, os.DirFS(filepath.Join(t.packs, "static"))); t.err != nil {
		return dir
	}
	toml, err := os.ReadFile(filepath.Join(dir, "buildpack.toml"))
	if t.err = err; err == nil {
		text := strings.Replace(string(toml), `version = "0.1.0"`, fmt.Sprintf("version = %q", version), 1)
		t.err = os.WriteFile(filepath.Join(dir, "buildpack.toml"), []byte(text), 0o644)
	}
	return dir
}

// built is the digest of an image that slipway builds into its own store, with a version of the static buildpack.
func (t *trial) built(ctx context.Context, name, path, version string, args ...string) string {
	argv := append([]string{"build", name, "--path", path, "--builder", t.builder, "--output", "store", "--clear-cache"}, args...)
	text := t.ours(ctx, says("slipway/static@"+version, "Successfully built image"), argv...)
	if _, after, ok := strings.Cut(text, "Successfully built image"); ok {
		text = after
	}
	return t.digestOf(text)
}

// builds builds by ids of the index, with slipway and through the service.
func (t *trial) builds(ctx context.Context) {
	t.ours(ctx, says("ours: "), "registry", "add", "ours", "http://"+t.service+"/registry-index.git")
	urn := "urn:cnb:registry:" + ns + "/static"
	t.built(ctx, "exact", t.app, "0.1.0", "--buildpack", urn+"@0.1.0")
	t.built(ctx, "range", t.app, "1.1.0", "--buildpack", urn+"@^1")
	t.built(ctx, "latest", t.app, "1.1.0", "--buildpack", urn)
	t.ours(ctx, says("is yanked", "slipway/static@1.2.0"), "build", "yanked", "--path", t.app, "--builder", t.builder, "--output", "store", "--buildpack", urn+"@1.2.0")

	t.ours(ctx, nil, "apps", "create", "shop", "--buildpack", urn+"@1")
	tree := t.at("shop")
	if t.err == nil {
		t.err = os.CopyFS(tree, os.DirFS(t.app))
	}
	t.git(ctx, nil, "init", "-q", "-b", "main")
	t.git(ctx, nil, "remote", "add", "slipway", "http://x:"+t.token+"@"+t.service+"/shop.git")
	t.push(ctx, "slipway/static@1.1.0", "Released v1 of shop")
}

func (t *trial) git(ctx context.Context, want []string, args ...string) {
	t.command(ctx, false, t.at("shop"), want, append([]string{"git"}, args...)...)
}

// push commits what is there, pushes it, and wants what the service says of its build.
func (t *trial) push(ctx context.Context, want ...string) {
	t.git(ctx, nil, "add", "-A")
	t.git(ctx, nil, "commit", "-q", "--allow-empty", "-m", "an app")
	t.git(ctx, want, "push", "slipway", "main")
}

// unmodified has pack read the index that the service serves by git, and build with what is in it.
func (t *trial) unmodified(ctx context.Context) {
	t.theirs(ctx, nil, "config", "experimental", "true") // what pack calls its registries
	t.theirs(ctx, says("Successfully added 'ours'"), "config", "registries", "add", "ours", "http://"+t.service+"/registry-index.git", "--type", "git")
	for version, id := range map[string]string{"1.0.0": "urn:cnb:registry:slipway/static@1.0.0", "1.1.0": "slipway/static@1.1.0"} { // of each registry
		t.packed(ctx, "pack-"+version, version, "--buildpack", id, "-r", "ours")
	}
	t.theirs(ctx, says("slipway/static", "1.1.0"), "buildpack", "inspect", "urn:cnb:registry:slipway/static@1.1.0", "-r", "ours")
}

// packed builds with pack, which has to build with a version of the static buildpack.
func (t *trial) packed(ctx context.Context, name, version string, args ...string) {
	argv := append([]string{"build", t.image(name), "--path", t.app, "--builder", t.builder, "--pull-policy", "if-not-present", "--trust-builder", "--trust-extra-buildpacks"}, args...)
	t.theirs(ctx, says("slipway/static "+version, "Successfully built image"), argv...)
}

// locks has an app whose buildpack is a range, and a lock file of it: a newer version changes nothing of its builds, by
// slipway and by the service, before the lock is updated.
func (t *trial) locks(ctx context.Context) {
	if t.err == nil {
		t.err = os.CopyFS(t.at("locked"), os.DirFS(t.app))
	}
	project := "[_]\nschema-version = \"0.2\"\n[[io.buildpacks.group]]\nuri = \"urn:cnb:registry:slipway/static@^1\"\n"
	app, lock := t.at("locked"), t.at("locked/slipway.lock")
	t.step("locked/project.toml", project)
	t.ours(ctx, says("slipway/static@^1 is 1.1.0"), "registry", "lock", "--path", app)
	first := t.built(ctx, "locked", app, "1.1.0")
	t.lockedPush(ctx, lock, project, "slipway/static@1.1.0", "Released v2 of shop")

	t.register(ctx, t.service, "1.3.0")
	t.ours(ctx, says("(+1)"), "registry", "sync", "ours")
	t.built(ctx, "unlocked", t.app, "1.3.0", "--buildpack", "urn:cnb:registry:slipway/static@^1")
	if again := t.built(ctx, "again", app, "1.1.0"); t.err == nil && again != first {
		t.err = fmt.Errorf("with the lock the image was %s, and is %s", first, again)
	}
	t.lockedPush(ctx, lock, project, "slipway/static@1.1.0", "Released v3 of shop")

	t.ours(ctx, says("slipway/static@^1 is 1.3.0 (it was 1.1.0)"), "registry", "update", "--path", app)
	if newer := t.built(ctx, "newer", app, "1.3.0"); t.err == nil && newer == first {
		t.err = fmt.Errorf("with the lock updated the image is %s as before", newer)
	}
	t.lockedPush(ctx, lock, project, "slipway/static@1.3.0", "Released v4 of shop")
}

// lockedPush pushes the app with project.toml and the lock.
func (t *trial) lockedPush(ctx context.Context, lock, project string, want ...string) {
	if t.err != nil {
		return
	}
	text, err := os.ReadFile(lock)
	if t.err = err; err != nil {
		return
	}
	t.step("shop/project.toml", project)
	t.step("shop/slipway.lock", string(text))
	t.ours(ctx, nil, "apps", "update", "--app", "shop", "--buildpack", "")
	t.push(ctx, want...)
}
