package platform_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestIndexed builds with buildpacks that an index names: by URN and by plain name, the version chosen; a yanked one is
// warned of, and an image that is not what the index says is refused.
func TestIndexed(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	var rows strings.Builder
	for _, version := range []string{"1.0.0", "1.1.0", "2.0.0"} {
		dir := script(t, "test/indexed", "echo this is "+version)
		toml := filepath.Join(dir, "buildpack.toml")
		b, err := os.ReadFile(toml)
		if err == nil {
			err = os.WriteFile(toml, []byte(strings.Replace(string(b), `version = "1"`, `version = "`+version+`"`, 1)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		img := packageImage(t, dir, "test/indexed", version)
		ref, _ := image.ParseRef(host + "/bp:" + version)
		w, err := y.machine.Registry.Push(t.Context(), []image.Ref{ref}, img, image.PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&rows, `{"ns":"test","name":"indexed","version":%q,"yanked":%t,"addr":"%s/bp@%s"}`+"\n", version, version == "2.0.0", host, w.Digest)
	}
	dir := t.TempDir()
	write(t, dir, 0o644, "in/de/test_indexed", rows.String(), "li/ar/test_liar", strings.ReplaceAll(rows.String(), "indexed", "liar"))
	write(t, filepath.Join(y.machine.State, platform.IndexDir), 0o644, "registries.toml", "[[registries]]\nname = 'ours'\nurl = '"+dir+"'\n")

	for _, tc := range []struct{ arg, want, fault string }{
		{arg: "test/indexed", fault: "it is neither a path nor in builder"}, // nothing was synced, and a plain name syncs nothing
		{arg: "urn:cnb:registry:test/indexed@1.0.0", want: "1.0.0"},
		{arg: "urn:cnb:registry:test/indexed", want: "1.1.0"},
		{arg: "test/indexed", want: "1.1.0"},
		{arg: "test/indexed@^1.0", want: "1.1.0"},
		{arg: "urn:cnb:registry:test/indexed@2.0.0", want: "2.0.0"},
		{arg: "urn:cnb:registry:test/liar", fault: "which is of buildpack test/indexed@1.1.0"},
		{arg: "urn:cnb:registry:test/indexes", fault: "no buildpack test/indexes in index ours; there is test/indexed"},
		{arg: "test/indexed@3", fault: "buildpack test/indexed has no version 3: it has 1.1.0, 1.0.0"},
	} {
		r := &record{}
		o := platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: []string{tc.arg}}
		res, err := y.try(t, y.machine, o, r)
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s: %v, want %q", tc.arg, err, tc.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.arg, err)
			continue
		}
		if got := strings.Trim(fmt.Sprint(res.Buildpacks), "[]"); got != "test/indexed@"+tc.want {
			t.Errorf("%s: %s, want version %s", tc.arg, got, tc.want)
		}
		if yanked := strings.Contains(fmt.Sprint(r), "is yanked in index ours"); yanked != (tc.want == "2.0.0") {
			t.Errorf("%s: warned of a yanked one: %t\n%s", tc.arg, yanked, r)
		}
	}
}
