package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// A rebaseYard is a registry with run images and an app image on the first of them.
type rebaseYard struct {
	*image.Registry
	host string
}

func newRebaseYard(t *testing.T) *rebaseYard {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	g, err := image.NewRegistry(image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	y := &rebaseYard{g, strings.TrimPrefix(s.URL, "http://")}
	for _, tag := range []string{"1", "2"} {
		y.push(t, "run:"+tag, random2(t), nil)
	}
	run := y.get(t, "run:1")
	top := run.Config.RootFS.DiffIDs[1]
	layers := random2(t)
	ls, err := layers.Layers()
	if err != nil {
		t.Fatal(err)
	}
	app, err := mutate.AppendLayers(run, ls...)
	if err != nil {
		t.Fatal(err)
	}
	y.push(t, "app", app, func(cf *v1.ConfigFile) {
		cf.Config.Env = []string{"CNB_PLATFORM_API=0.12"}
		cf.Config.Labels = map[string]string{cnb.LabelLifecycleMetadata: fmt.Sprintf(
			`{"runImage":{"topLayer":%q,"reference":"r","image":"127.0.0.1:1/run","mirrors":["%s/run:2"]}}`, top, y.host)}
	})
	y.push(t, "fixed", y.get(t, "app"), func(cf *v1.ConfigFile) { cf.Config.Labels[cnb.LabelRebasable] = "false" })
	return y
}

func random2(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(64, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func (y *rebaseYard) push(t *testing.T, name string, img v1.Image, change func(*v1.ConfigFile)) {
	t.Helper()
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	if change != nil {
		change(cf)
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	ref, err := image.ParseRef(y.host + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := y.Push(t.Context(), []image.Ref{ref}, img, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (y *rebaseYard) get(t *testing.T, name string) *image.Image {
	t.Helper()
	ref, err := image.ParseRef(y.host + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	img, err := y.Image(t.Context(), ref, v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestRebaser(t *testing.T) {
	y := newRebaseYard(t)
	at := func(name string) string { return y.host + "/" + name }
	for _, tc := range []struct {
		what string
		api  string
		args []string
		env  string
		code int
		want string
	}{
		{"the mirror in the app's registry", "0.12", []string{"-previous-image", at("app"), at("out"), at("out:two")}, "", 0, "Saving " + at("out") + "..."},
		{"a run image by its old flag", "0.7", []string{"-image", at("run:2"), at("app")}, "", 0, "*** Images (sha256:"},
		{"two run images", "0.12", []string{"-image", at("run:2"), "-run-image", at("run:1"), at("app")}, "", 3, "failed to resolve inputs: supply only one of -run-image or (deprecated) -image"},
		{"no image", "0.12", nil, "", 3, "failed to parse arguments: at least one image argument is required"},
		{"two registries", "0.12", []string{at("app"), "127.0.0.1:1/app"}, "", 3, "writing to multiple registries is unsupported"},
		{"another name", "0.12", []string{"-run-image", at("run:1"), at("app")}, "", 72, "failed to rebase: rebase app image: new base image '" + at("run:1") + "' not found in existing run image metadata: "},
		{"another name, forced", "0.12", []string{"-force", "-run-image", at("run:1"), "-previous-image", at("app"), at("forced")}, "", 0, "Warning: rebase app image: new base image"},
		{"forced by the environment", "0.12", []string{"-previous-image", at("fixed"), at("forced")}, "CNB_FORCE_REBASE=true", 0, "Warning: app image is not marked as rebasable"},
		{"not rebasable", "0.12", []string{at("fixed")}, "", 72, "failed to rebase: app image is not marked as rebasable; please provide -force to override"},
		{"no force before", "0.11", []string{"-force", at("app")}, "", 3, "flag provided but not defined: -force"},
		{"no such image", "0.12", []string{at("gone")}, "", 72, "failed to set app image: access image to rebase: "},
		{"no run image named", "0.12", []string{at("run:1")}, "", 72, "-run-image is required when there is no run image metadata available"},
		{"no such run image", "0.12", []string{"-run-image", at("gone"), at("app")}, "", 1, "failed to access run image: "},
		{"no such registry", "0.13", []string{"-insecure-registry", "registry.invalid", "registry.invalid/app"}, "", 72, "http://registry.invalid"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			report := filepath.Join(t.TempDir(), "reports", "report.toml")
			var out bytes.Buffer
			env := []string{"CNB_PLATFORM_API=" + tc.api, "CNB_NO_COLOR=true", "CNB_REPORT_PATH=" + report, tc.env, fmt.Sprintf("CNB_USER_ID=%d", os.Getuid()), fmt.Sprintf("CNB_GROUP_ID=%d", os.Getgid())}
			if code := run(t.Context(), append([]string{"/cnb/lifecycle/rebaser"}, tc.args...), env, &out, &out); code != tc.code || !strings.Contains(out.String(), tc.want) {
				t.Fatalf("exit %d, %q", code, out.String())
			}
			b, err := os.ReadFile(report)
			if tc.code == 0 && (err != nil || !strings.Contains(string(b), `digest = "sha256:`)) {
				t.Errorf("report %q, %v", b, err)
			}
		})
	}
	out, two, run := y.get(t, "out"), y.get(t, "out:two"), y.get(t, "run:2")
	if out.ID != two.ID || out.Config.RootFS.DiffIDs[1] != run.Config.RootFS.DiffIDs[1] || len(out.Config.RootFS.DiffIDs) != 4 {
		t.Errorf("%v", out.Config.RootFS.DiffIDs)
	}
}
