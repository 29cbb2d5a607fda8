package platform_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestFlatten puts buildpacks of a directory and of a package into one layer, builds with it, and takes it apart again.
func TestFlatten(t *testing.T) {
	t.Parallel()
	y := open(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var group strings.Builder
	group.WriteString("[[order]]\n")
	for _, n := range []string{"a", "b", "c"} {
		write(t, dir, 0o644, n+"/buildpack.toml", fmt.Sprintf("api = \"0.12\"\n[buildpack]\nid = \"test/%s\"\nversion = \"1\"\n", n))
		write(t, dir, 0o755, n+"/bin/build", "#!/bin/sh\n. \"$CNB_BUILDPACK_DIR/say\"\n", n+"/say", "echo here speaks "+n+"\n")
		fmt.Fprintf(&group, "[[order.group]]\nid = \"test/%s\"\nversion = \"1\"\n", n)
	}
	write(t, dir, 0o644, "all/buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/flat\"\nversion = \"2\"\n"+group.String(),
		"package.toml", "[buildpack]\nuri = \"all\"\n[[dependencies]]\nuri = \"a.cnb\"\n[[dependencies]]\nuri = \"b\"\n[[dependencies]]\nuri = \"c\"\n")
	make := func(o platform.PackageOptions) platform.Packaged {
		t.Helper()
		done, err := platform.PackageBuildpack(t.Context(), y.machine, o)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	make(platform.PackageOptions{File: at("a.cnb"), Path: at("a")})
	flat := platform.PackageOptions{Name: "test-flat/all", Config: at("package.toml"), Flatten: true, Output: platform.Output{OCI: at("flat")}}
	first := make(flat)
	y.layersOf(t, "oci:"+at("flat"), 1, 4)
	flat.Output.OCI = at("again")
	if again := make(flat); again.Digest != first.Digest {
		t.Error("the same package has another digest")
	}
	flat.Apart, flat.Output.OCI = []string{"test/b@1"}, at("apart")
	make(flat)
	y.layersOf(t, "oci:"+at("apart"), 2, 4)
	flat.Apart, flat.Name, flat.File = nil, "", at("flat.cnb")
	make(flat)
	write(t, dir, 0o644, "outer/buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/outer\"\nversion = \"3\"\n[[order]]\n[[order.group]]\nid = \"test/flat\"\nversion = \"2\"\n",
		"outer.toml", "[buildpack]\nuri = \"outer\"\n[[dependencies]]\nuri = \"flat.cnb\"\n")
	make(platform.PackageOptions{Name: "test-flat/outer", Config: at("outer.toml"), Output: platform.Output{OCI: at("outer-out")}})
	y.layersOf(t, "oci:"+at("outer-out"), 2, 5) // the flattened one stays one
	outer := platform.PackageOptions{File: at("outer.cnb"), Config: at("outer.toml"), Flatten: true, Apart: []string{"test/c@1"}}
	make(outer)
	for _, file := range []string{"flat.cnb", "outer.cnb"} {
		r := &record{}
		_, err := y.try(t, y.machine, platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: []string{at(file)}, Pull: image.PullIfNotPresent}, r)
		if lacks := r.lacks("here speaks a", "here speaks b", "here speaks c"); err != nil || len(lacks) > 0 {
			t.Errorf("%s: %v, lacks %q\n%s", file, err, lacks, r)
		}
	}
	for want, o := range map[string]platform.PackageOptions{
		"buildpack test/none@1, which is not to be flattened, is not in the package": {Flatten: true, Apart: []string{"test/none@1"}},
		`buildpack "test/b": want ID@VERSION`:                                        {Flatten: true, Apart: []string{"test/b"}},
		"give --flatten too":                                                         {Apart: []string{"test/b@1"}},
	} {
		o.File, o.Config = at("bad.cnb"), at("package.toml")
		if _, err := platform.PackageBuildpack(t.Context(), y.machine, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// layersOf checks how many layers an image has, and how many buildpacks its label.
func (y *yard) layersOf(t *testing.T, arg string, layers, buildpacks int) {
	t.Helper()
	img := y.find(t, arg)
	var label cnb.BuildpackLayersLabel
	if err := json.Unmarshal([]byte(img.Label(cnb.LabelBuildpackLayers)), &label); err != nil {
		t.Fatal(err)
	}
	if got := len(img.Config.RootFS.DiffIDs); got != layers || len(label) != buildpacks {
		t.Errorf("%s: %d layers and %d buildpacks, want %d and %d", arg, got, len(label), layers, buildpacks)
	}
}
