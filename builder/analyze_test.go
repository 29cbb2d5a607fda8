package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/builder/cnb"
)

// withConfig is img with a changed config.
func withConfig(t *testing.T, img v1.Image, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	cf := config(t, img).DeepCopy()
	if cf.Config.Labels == nil {
		cf.Config.Labels = map[string]string{}
	}
	change(cf)
	out, err := mutate.ConfigFile(img, cf)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImageTarget(t *testing.T) {
	debian := []byte("NAME=x\nID=debian\nVERSION_ID=\"13\"\n")
	for _, c := range []struct {
		name      string
		labels    map[string]string
		osRelease []byte
		want      string
	}{
		{"labels", map[string]string{cnb.LabelDistroName: "ubuntu", cnb.LabelDistroVersion: "24.04"}, debian, "linux/amd64/v2 (ubuntu 24.04)"},
		{"one label", map[string]string{cnb.LabelDistroName: "ubuntu"}, debian, "linux/amd64/v2 (ubuntu)"},
		{"os-release", nil, debian, "linux/amd64/v2 (debian 13)"},
		{"bionic", map[string]string{cnb.LabelStackID: "io.buildpacks.stacks.bionic"}, debian, "linux/amd64/v2 (ubuntu 18.04)"},
		{"nothing", nil, nil, "linux/amd64/v2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := withConfig(t, runImage(t), func(cf *v1.ConfigFile) { cf.Variant, cf.Config.Labels = "v2", c.labels })
			got, err := ImageTarget(img, c.osRelease)
			if err != nil || got.String() != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
	if _, err := ImageTarget(withConfig(t, runImage(t), func(cf *v1.ConfigFile) { cf.OS = "" }), nil); err == nil {
		t.Error("an image without an operating system has a target")
	}
}

func TestParseOSRelease(t *testing.T) {
	for in, want := range map[string]cnb.Distro{
		"":                                    {},
		"ID=alpine\nVERSION_ID=3.22.0":        {Name: "alpine", Version: "3.22.0"},
		"ID='a b'\r\nVERSION_ID=\"1\\\"\\$\"": {Name: "a b", Version: `1"$`},
		"#ID=x\n\n=\nID\nPRETTY_NAME=y\nID=z": {Name: "z"},
		"ID=a\x1b[31m\nVERSION_ID=\"1":        {Version: `"1`},
		"ID=" + strings.Repeat("a", 70<<10):   {},
	} {
		if got := ParseOSRelease([]byte(in)); got != want {
			t.Errorf("%.50q: %+v, want %+v", in, got, want)
		}
	}
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add([]byte("ID=debian\nVERSION_ID=\"13\"\n"))
	f.Add([]byte("ID=\"\\\"\nVERSION_ID='"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d := ParseOSRelease(b); strings.ContainsAny(d.Name+d.Version, "\n\x1b\x00") {
			t.Errorf("%+v", d)
		}
	})
}

func TestAnalyzeMismatch(t *testing.T) {
	_, err := Analyze(AnalyzeInput{PlatformAPI: cnb.NewestPlatformAPI, Run: runImage(t), RunName: "r:1", Platform: cnb.Target{OS: "linux", Arch: "arm64"}})
	if _, ok := errors.AsType[*MismatchError](err); !ok || err.Error() != "run image r:1 does not fit the build image: its architecture is amd64, not arm64" || ExitCode(err) != 32 {
		t.Errorf("%v, exit status %d", err, ExitCode(err))
	}
}

func TestAnalyzePrevious(t *testing.T) {
	has := config(t, runImage(t)).RootFS.DiffIDs // never in the images below
	img := runImage(t)
	held := config(t, img).RootFS.DiffIDs[0].String()
	label := func(app, layers string) string {
		return fmt.Sprintf(`{"app":%s,"sbom":{"sha":%q},"buildpacks":[{"key":"a/b","version":"1","layers":{%s},"store":{"metadata":{"n":1}}}],"config":{"sha":"x"}}`, app, has[0], layers)
	}
	layer := func(sha string) string { return fmt.Sprintf(`{"sha":%q,"data":{"n":12},"launch":true}`, sha) }
	for _, c := range []struct {
		name, label, execEnv string
		layers               string // names that are left
		warning              string
	}{
		{"good", label(`[{"sha":"q"}]`, `"x":`+layer(held)), "", "x", "the SBOM layer"},
		{"old form of app", label(`{"sha":"q"}`, `"x":`+layer(held)), "", "x", "the SBOM layer"},
		{"a layer that is not there", label("null", `"x":`+layer(held)+`,"y":`+layer(has[0].String())), "", "x", `layer "y" of buildpack a/b`},
		{"bad names", label("null", `"../y":`+layer(held)+`,"store":`+layer(held)), "", "", `layer "../y" of buildpack a/b`},
		{"bad buildpack", strings.ReplaceAll(label("null", ""), "a/b", "../b"), "", "", `buildpack "../b"`},
		{"deep data", label("null", `"x":{"sha":"`+held+`","launch":true,"data":`+strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40)+"}"), "", "", `layer "x" of buildpack a/b`},
		{"garbled", "{not json", "", "none", "previous image app is not used: "},
		{"another type", `[1]`, "", "none", "previous image app is not used: "},
		{"none", "", "", "none", "was not made by buildpacks"},
		{"too large", `{"app":[` + strings.Repeat(" ", maxLabel) + "]}", "", "none", "more than 4194304"},
		{"deep", strings.Repeat(`{"app":`, 20000), "", "none", "previous image app is not used: "},
		{"another execution environment", label("null", ""), "test", "none", "it was built for the execution environment test, not production"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var warnings []string
			prev := withConfig(t, img, func(cf *v1.ConfigFile) {
				cf.Config.Labels[cnb.LabelLifecycleMetadata] = c.label
				cf.Config.Labels[cnb.LabelExecEnv] = c.execEnv
			})
			a, err := Analyze(AnalyzeInput{
				PlatformAPI: cnb.NewestPlatformAPI, Previous: prev, PreviousReference: "app",
				Emit: func(e Event) { warnings = append(warnings, e.Text) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(warnings, ""), c.warning) || strings.Contains(strings.Join(warnings, ""), "\n") {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
			if (a.Image == nil) != (c.layers == "none") {
				t.Errorf("previous image %v", a.Image)
			}
			got := strings.Join(sortedKeys(layersOf(a.Metadata.Buildpacks, "a/b")), ",")
			if c.layers != "none" && got != c.layers {
				t.Errorf("layers %q, want %q", got, c.layers)
			}
			if c.layers == "x" {
				if n := layersOf(a.Metadata.Buildpacks, "a/b")["x"].Data.(map[string]any)["n"]; n != json.Number("12") {
					t.Errorf("the layer's data is %v (%T)", n, n)
				}
			}
		})
	}
}
