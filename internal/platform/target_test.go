package platform_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// twoTargets is a buildpack whose scripts lie in a directory for each of two architectures: this machine's and another.
func twoTargets(t *testing.T) (dir, own, other string) {
	t.Helper()
	own, other = runtime.GOARCH, "s390x"
	dir = t.TempDir()
	write(t, dir, 0o644, "buildpack.toml", fmt.Sprintf(
		"api = \"0.12\"\n[buildpack]\nid = \"test/two\"\nversion = \"1\"\n[[targets]]\nos = \"linux\"\narch = %q\n[[targets]]\nos = \"linux\"\narch = %q\n[[targets]]\nos = \"windows\"\narch = \"amd64\"\n", own, other))
	for _, arch := range []string{own, other} {
		write(t, dir, 0o755, "linux/"+arch+"/bin/detect", "#!/bin/sh\n", "linux/"+arch+"/bin/build", "#!/bin/sh\necho it speaks "+arch+"\n")
	}
	return dir, own, other
}

// TestPackageTargets packages a buildpack that is for several targets, and builds with it from everywhere.
func TestPackageTargets(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	dir, own, other := twoTargets(t)
	out := t.TempDir()
	make := func(o platform.PackageOptions) platform.Packaged {
		t.Helper()
		done, err := platform.PackageBuildpack(t.Context(), y.machine, o)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	published := make(platform.PackageOptions{Name: host + "/two:1", Path: dir, Output: platform.Output{Publish: true}})
	layout := make(platform.PackageOptions{Name: "two", Path: dir, Output: platform.Output{OCI: filepath.Join(out, "two")}})
	files := make(platform.PackageOptions{File: filepath.Join(out, "two.cnb"), Path: dir})
	stored := make(platform.PackageOptions{Name: "test-package/two", Path: dir, Output: platform.Output{Store: true}})
	if published.Digest != layout.Digest || len(published.Targets) != 2 || len(files.Targets) != 2 || len(stored.Targets) != 1 {
		t.Fatalf("%v\n%v\n%v\n%v", published, layout, files, stored)
	}
	for i, arch := range []string{own, other} {
		if got, want := files.Targets[i].File, filepath.Join(out, "two-linux-"+arch+".cnb"); got != want || files.Targets[i].Digest != published.Targets[i].Digest {
			t.Errorf("%v, want %s and the digest of %v", files.Targets[i], want, published.Targets[i])
		}
		r := image.Resolver{Registry: y.machine.Registry, Policy: image.PullAlways, Platform: v1.Platform{OS: "linux", Architecture: arch}}
		img, err := r.Resolve(t.Context(), host+"/two:1")
		if err != nil || img.Config.Architecture != arch {
			t.Errorf("%s: %v %v", arch, img, err)
		}
	}
	if stored.Digest != published.Targets[0].Digest {
		t.Errorf("the local store has %s", stored.Digest)
	}
	for _, arg := range []string{host + "/two:1", "docker://" + host + "/two@" + published.Digest.String(), files.Targets[0].File, "docker://test-package/two", dir} {
		r := &record{}
		_, err := y.try(t, y.machine, platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: []string{arg}, Pull: image.PullIfNotPresent}, r)
		if err != nil || len(r.lacks("it speaks "+own)) > 0 {
			t.Errorf("%s: %v\n%s", arg, err, r)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "linux", own, "buildpack.toml")); err == nil {
		t.Error("the author's directory was written to")
	}
	r := &record{}
	_, err := y.try(t, y.machine, platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: []string{files.Targets[1].File}}, r)
	if want := "buildpack " + files.Targets[1].File + `: image "two-linux-s390x.cnb" is not for platform linux/` + own + ": it has linux/s390x"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("the other's file: %v, want %q", err, want)
	}
	y.compositeOfTargets(t, host, own, other)
}

// compositeOfTargets takes each target's part from an index.
func (y *yard) compositeOfTargets(t *testing.T, host, own, other string) {
	dir := t.TempDir()
	write(t, dir, 0o644,
		"all/buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/alltwo\"\nversion = \"2\"\n[[order]]\n[[order.group]]\nid = \"test/two\"\nversion = \"1\"\n",
		"package.toml", fmt.Sprintf("[buildpack]\nuri = \"all\"\n[[dependencies]]\nuri = \"docker://%s/two:1\"\n[[targets]]\nos=\"linux\"\narch=%q\n[[targets]]\nos=\"linux\"\narch=%q\n", host, own, other))
	o := platform.PackageOptions{Name: host + "/all:2", Config: filepath.Join(dir, "package.toml"), Output: platform.Output{Publish: true}}
	done, err := platform.PackageBuildpack(t.Context(), y.machine, o)
	if err != nil || len(done.Targets) != 2 {
		t.Fatalf("%v %v", done, err)
	}
	o.Targets, o.Name = []string{"linux/" + other}, host+"/other:2"
	one, err := platform.PackageBuildpack(t.Context(), y.machine, o)
	if err != nil || one.Digest != done.Targets[1].Digest {
		t.Errorf("for one of them: %v %v, want %v", one, err, done.Targets[1])
	}
	write(t, dir, 0o644, "builder.toml", fmt.Sprintf("[build]\nimage = %q\n[[run.images]]\nimage = %q\n[[buildpacks]]\nuri = \"docker://%s/all:2\"\n[[order]]\n[[order.group]]\nid = \"test/alltwo\"\n", y.oci("builder"), y.oci("run"), host))
	builder := y.name + "-targets"
	if _, err := platform.CreateBuilder(t.Context(), y.machine, platform.CreateOptions{Name: builder, Config: filepath.Join(dir, "builder.toml"), Output: platform.Output{Store: true}}); err != nil {
		t.Fatal(err)
	}
	forget(t, y.machine, builder)
	r := &record{}
	_, err = y.try(t, y.machine, platform.Options{Image: name(t), Source: app(t), Builder: builder, Output: platform.Output{Store: true}}, r)
	if err != nil || len(r.lacks("it speaks "+own)) > 0 {
		t.Errorf("by the builder: %v\n%s", err, r)
	}
}

// TestBadTargets refuses what no package can be made for.
func TestBadTargets(t *testing.T) {
	t.Parallel()
	y := open(t)
	dir, own, _ := twoTargets(t)
	for _, tt := range []struct{ target, want string }{
		{"linux", `target "linux": want os/arch or os/arch/variant`},
		{"linux/a b", "want os/arch"},
		{"windows/amd64", "only linux is built for"},
		{"linux/" + own + ":../../etc@1", "want distro@version behind the colon"},
		{"linux/" + own + ":ubuntu", "want distro@version behind the colon"},
		{"linux/riscv64", "buildpack test/two@1: it is made for linux/" + own + ", linux/s390x, windows/amd64, not for linux/riscv64"},
	} {
		// What it is made for is asked first, and then what lies in the directory.
		write(t, dir, 0o755, "linux/riscv64/bin/build", "#!/bin/sh\n")
		_, err := platform.PackageBuildpack(t.Context(), y.machine, platform.PackageOptions{File: filepath.Join(t.TempDir(), "x.cnb"), Path: dir, Targets: []string{tt.target}})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", tt.target, err, tt.want)
		}
	}
	distros := script(t, "test/distros", "")
	write(t, distros, 0o755, "linux/"+own+"/debian@12/bin/build", "#!/bin/sh\n", "linux/"+own+"/debian@13/bin/build", "#!/bin/sh\n")
	pack := func(target string) error {
		_, err := platform.PackageBuildpack(t.Context(), y.machine, platform.PackageOptions{File: filepath.Join(t.TempDir(), "x.cnb"), Path: distros, Targets: []string{target}})
		return err
	}
	if err := pack("linux/" + own + ":debian@12;debian@13"); err == nil || !strings.Contains(err.Error(), "has directories for debian@12 and debian@13") {
		t.Errorf("two distributions: %v", err)
	}
	if err := pack("linux/" + own + ":debian@13"); err != nil {
		t.Errorf("one distribution: %v", err)
	}
}

// TestStacksOfPackage: a package runs where all that is in it runs.
func TestStacksOfPackage(t *testing.T) {
	t.Parallel()
	y := open(t)
	dir := t.TempDir()
	write(t, dir, 0o644,
		"all/buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/all\"\nversion = \"2\"\n[[order]]\n[[order.group]]\nid = \"test/a\"\nversion = \"1\"\n[[order.group]]\nid = \"test/b\"\nversion = \"1\"\n",
		"a/buildpack.toml", "api = \"0.9\"\n[buildpack]\nid = \"test/a\"\nversion = \"1\"\n[[stacks]]\nid = \"one\"\nmixins=[\"x\"]\n[[stacks]]\nid = \"two\"\n",
		"b/buildpack.toml", "api = \"0.9\"\n[buildpack]\nid = \"test/b\"\nversion = \"1\"\n[[stacks]]\nid = \"one\"\nmixins=[\"y\"]\n",
		"package.toml", "[buildpack]\nuri = \"all\"\n[[dependencies]]\nuri = \"a\"\n[[dependencies]]\nuri = \"b\"\n")
	write(t, dir, 0o755, "a/bin/build", "#!/bin/sh\n", "b/bin/build", "#!/bin/sh\n")
	o := platform.PackageOptions{Name: "stacks", Config: filepath.Join(dir, "package.toml"), Output: platform.Output{OCI: filepath.Join(dir, "out")}}
	if _, err := platform.PackageBuildpack(t.Context(), y.machine, o); err != nil {
		t.Fatal(err)
	}
	img := y.find(t, "oci:"+filepath.Join(dir, "out"))
	if got := img.Label(cnb.LabelBuildpackage); !strings.HasSuffix(got, `"stacks":[{"id":"one","mixins":["x","y"]}]}`) || img.Config.Architecture != "" {
		t.Errorf("%s of %q", got, img.Config.Architecture)
	}
	write(t, dir, 0o644, "b/buildpack.toml", "api = \"0.9\"\n[buildpack]\nid = \"test/b\"\nversion = \"1\"\n[[stacks]]\nid = \"three\"\n")
	if _, err := platform.PackageBuildpack(t.Context(), y.machine, o); err == nil || !strings.Contains(err.Error(), "buildpack test/b@1: it has no stack in common with the others of the package") {
		t.Errorf("no stack in common: %v", err)
	}
}
