package platform_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestOrdinaryUser runs tests of this binary as a user who is nobody but may talk to the engine, with an environment
// of almost nothing. Where the tests run as such a user already, he is the one.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	y := open(t)
	socket := "/var/run/docker.sock"
	if at, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		socket = at
	}
	fi, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	group := fi.Sys().(*syscall.Stat_t).Gid
	user, as := 65533, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533, Groups: []uint32{group}}}
	if os.Geteuid() != 0 {
		user, as = os.Geteuid(), nil
	}

	home, err := os.MkdirTemp("", "slipway-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(home, "tests")
	tmp := filepath.Join(home, "tmp")
	if err := errors.Join(os.WriteFile(binary, self, 0o755), os.Chmod(binary, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, user, -1), os.Chown(home, user, -1)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.timeout=5m", "-test.run", "^(TestUsersOwn|TestCanary)$/^(docker_config)?$")
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "TMPDIR=" + tmp, "PATH=" + os.Getenv("PATH"), "DOCKER_HOST=" + os.Getenv("DOCKER_HOST"), yardVariable + "=" + y.dir}
	cmd.SysProcAttr = as
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestUsersOwn")) {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
	checkOwner(t, home, user)
	checkEmpty(t, filepath.Join(home, "state", "builds"))
}

// checkOwner looks for what belongs to somebody else.
func checkOwner(t *testing.T, dir string, uid int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Name() == "rootfs" && e.IsDir() {
			return fs.SkipDir // images' files, of whom the images say; root's alone to enter
		}
		if uid == 0 && e.Name() == "trees" { // layers as builds see them, with their owner; nobody else reaches the store
			return fs.SkipDir
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if owner := fi.Sys().(*syscall.Stat_t).Uid; int(owner) != uid && filepath.Base(p) != "tests" {
			t.Errorf("%s belongs to user %d", p, owner)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestUsersOwn builds what only the user can read, in every form of source, and looks at who owns what is left.
func TestUsersOwn(t *testing.T) {
	t.Parallel()
	y := open(t)
	state := t.TempDir()
	m, err := machine(state, y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	src := app(t)
	write(t, src, 0o600, "private/secret.txt", "mine\n")
	binding := t.TempDir()
	write(t, binding, 0o600, "type", "vault\n", "key", "of the binding\n")
	if err := errors.Join(os.Chmod(filepath.Join(src, "private"), 0o700), os.Chmod(src, 0o700), os.Chmod(binding, 0o700)); err != nil {
		t.Fatal(err)
	}
	reads := script(t, "test/reads", `
cat private/secret.txt "$CNB_PLATFORM_DIR/bindings/db/key" "$CNB_PLATFORM_DIR/bindings/db/type"
touch made
chmod -f 0700 "$CNB_LAYERS_DIR/data/dark" && rm -rf "$CNB_LAYERS_DIR/data"
mkdir -p "$CNB_LAYERS_DIR/data/dark"; echo of the layer >"$CNB_LAYERS_DIR/data/dark/file"; chmod 0 "$CNB_LAYERS_DIR/data/dark/file"; chmod 0500 "$CNB_LAYERS_DIR/data/dark"
printf '[types]\nlaunch = true\ncache = true\nbuild = true\n' >"$CNB_LAYERS_DIR/data.toml"
`)
	layout := filepath.Join(t.TempDir(), "bp")
	ref, err := image.ParseRef("oci:" + layout)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.WriteLayout(t.Context(), ref, nil, packageImage(t, script(t, "test/packed", "echo packed"), "test/packed", "1"), nil); err != nil {
		t.Fatal(err)
	}
	reports := t.TempDir()
	o := platform.Options{
		Image: name(t), Source: src, Builder: y.oci("builder"), RunImage: y.oci("run"), Buildpacks: append(y.fixtures("sbom"), reads, pack(t, layout, "bp.cnb")),
		Bindings: map[string]string{"db": binding}, SBOMDir: filepath.Join(reports, "sbom"), ReportDir: filepath.Join(reports, "report"),
	}
	first, r := y.buildOn(t, m, o)
	if missing := r.lacks("mine", "of the binding", "vault"); len(missing) > 0 {
		t.Errorf("the buildpack could not read %q:\n%s", missing, r)
	}
	again, r := y.buildOn(t, m, o)
	if again.ImageID != first.ImageID || again.Reused != again.Layers {
		t.Errorf("rebuild: image %s, want %s; %d of %d layers reused\n%s", again.ImageID, first.ImageID, again.Reused, again.Layers, r)
	}
	for _, form := range []string{"app.zip", "app.tar"} {
		o := o
		o.Source = pack(t, src, form)
		if res, r := y.buildOn(t, m, o); res.ImageID != first.ImageID {
			t.Errorf("from %s: image %s, want %s\n%s", form, res.ImageID, first.ImageID, r)
		}
	}
	bad := o
	bad.Buildpacks = []string{script(t, "test/bad", "mkdir -p \"$CNB_LAYERS_DIR/x/y\"; chmod 0 \"$CNB_LAYERS_DIR/x\"; exit 3\n")}
	if _, err := y.try(t, m, bad, &record{}); !isExit(3)(err) {
		t.Errorf("a build that fails: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := &record{on: func(e platform.Event) {
		if in(platform.PhaseBuild)(e) {
			cancel(errStop)
		}
	}}
	if _, err := platform.Build(ctx, m, o, stop); !isStop(err) {
		t.Errorf("a build that is cancelled: %v", err)
	}
	checkEmpty(t, filepath.Join(state, "builds"))
	checkOwner(t, state, os.Geteuid())
	checkOwner(t, reports, os.Geteuid())
	for _, f := range []string{"report/report.toml", "sbom/launch/sample_sbom/sbom.cdx.json", "sbom/launch/sample_sbom/dep/sbom.cdx.json", "sbom/build/sample_sbom/sbom.cdx.json"} {
		if b, err := os.ReadFile(filepath.Join(reports, f)); err != nil || len(b) == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// pack makes an archive of a source.
func pack(t *testing.T, src, form string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), form)
	f, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(form, ".zip") {
		w := zip.NewWriter(f)
		err = errors.Join(w.AddFS(os.DirFS(src)), w.Close())
	} else {
		w := tar.NewWriter(f)
		err = errors.Join(w.AddFS(os.DirFS(src)), w.Close())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return at
}
