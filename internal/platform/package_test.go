package platform_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestPackage makes packages, of one buildpack and of a composite that takes the first from a file, and builds with them
// from everywhere.
func TestPackage(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	recipes := t.TempDir()
	at := func(name string) string { return filepath.Join(recipes, name) }
	if err := os.Rename(script(t, "test/part", "echo the part speaks"), at("part")); err != nil {
		t.Fatal(err)
	}
	write(t, recipes, 0o644,
		"all/buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/all\"\nversion = \"2\"\n[[order]]\n[[order.group]]\nid = \"test/part\"\nversion = \"1\"\n",
		"package.toml", "[buildpack]\nuri = \"all\"\n[[dependencies]]\nuri = \"part.cnb\"\n",
		"lacking.toml", "[buildpack]\nuri = \"all\"\n",
		"windows.toml", "[platform]\nos = \"windows\"\n",
		"wrong.toml", "[[dependencies]]\nuri = \"nowhere\"\n[buildpack]\nuri = \"all\"\n",
	)
	make := func(o platform.PackageOptions) platform.Packaged {
		t.Helper()
		done, err := platform.PackageBuildpack(t.Context(), y.machine, o)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	one := make(platform.PackageOptions{File: at("part.cnb"), Path: at("part")})
	first := make(platform.PackageOptions{File: at("all.cnb"), Config: at("package.toml")})
	if got := fmt.Sprint(one.Buildpack, first.Buildpack, first.Buildpacks); got != "test/part@1 test/all@2 [test/all@2 test/part@1]" {
		t.Errorf("in them is %s", got)
	}
	again := make(platform.PackageOptions{File: at("again.cnb"), Config: at("package.toml")})
	a, aerr := os.ReadFile(at("all.cnb"))
	b, berr := os.ReadFile(at("again.cnb"))
	if aerr != nil || berr != nil || !bytes.Equal(a, b) || again.Digest != first.Digest {
		t.Errorf("the same package is another file: %v %v", aerr, berr)
	}
	published := make(platform.PackageOptions{Name: host + "/all:2", Config: at("package.toml"), Output: platform.Output{Publish: true}})
	stored := make(platform.PackageOptions{Name: "test-package/all", Config: at("package.toml"), Output: platform.Output{Store: true}})
	if published.Digest != first.Digest || stored.Digest != first.Digest {
		t.Errorf("digests %s %s %s, want one", first.Digest, published.Digest, stored.Digest)
	}
	for _, arg := range []string{at("all.cnb"), host + "/all:2", "docker://test-package/all"} {
		r := &record{}
		res, err := y.try(t, y.machine, platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: []string{arg}, Pull: image.PullIfNotPresent}, r)
		if err != nil {
			t.Errorf("%s: %v", arg, err)
			continue
		}
		if got := fmt.Sprint(res.Buildpacks); got != "[test/part@1]" || len(r.lacks("the part speaks")) > 0 {
			t.Errorf("%s: %s\n%s", arg, got, r)
		}
	}
	for config, want := range map[string]string{
		"lacking.toml": "buildpack test/all@2: its order has test/part@1, which is not in the package: name it in [[dependencies]] of package.toml",
		"windows.toml": "only linux is built for",
		"wrong.toml":   "buildpack nowhere: there is no such directory",
		"none.toml":    "there is no such file",
	} {
		if _, err := platform.PackageBuildpack(t.Context(), y.machine, platform.PackageOptions{File: at("bad.cnb"), Config: at(config)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
	if _, err := platform.PackageBuildpack(t.Context(), y.machine, platform.PackageOptions{File: at("no/such/place.cnb"), Path: at("part")}); err == nil || !strings.Contains(err.Error(), "write package") {
		t.Errorf("a directory that is not there: %v", err)
	}
	if left, _ := filepath.Glob(at(".cnb-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
