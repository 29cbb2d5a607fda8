package main

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// grown is base with one more layer, of one file.
func grown(t *testing.T, base v1.Image, file, createdBy string) v1.Image {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: 2}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(tw, "x\n")
	tw.Close()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.Append(base, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: createdBy}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func configured(t *testing.T, img v1.Image, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	change(cf)
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// inProcess is a command with its directories and a registry, in this process.
func inProcess(t *testing.T) (c *command, host string, out *bytes.Buffer) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	dir := t.TempDir()
	out = &bytes.Buffer{}
	c = &command{log: &logger{w: out, plain: true}, stdout: out, stderr: out}
	c.Inputs = *fromEnvironment(cnb.NewestPlatformAPI, environment{})
	c.Layers, c.App, c.Kaniko, c.Run = filepath.Join(dir, "layers"), filepath.Join(dir, "app"), filepath.Join(dir, "kaniko"), filepath.Join(dir, "run.toml")
	c.Launcher = filepath.Join(dir, "launcher")
	if err := c.settle(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{c.Layers, c.App} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(c.Launcher, []byte("launcher"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c, host, out
}

func push(t *testing.T, ref string, img v1.Image) string {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// TestExtendedRunImage goes from what an extension switched to, by what restorer keeps for an extender, to the app
// image on what the extender leaves.
func TestExtendedRunImage(t *testing.T) {
	c, host, out := inProcess(t)
	base := configured(t, grown(t, empty.Image, "base", "base"), func(cf *v1.ConfigFile) {
		cf.OS, cf.Architecture = "linux", "amd64"
		cf.Config.Env, cf.Config.User = []string{"PATH=/bin"}, "1:1"
	})
	digest := push(t, host+"/run:latest", base)
	buildDigest := push(t, host+"/build:latest", grown(t, base, "build", "build"))
	c.BuildImage = host + "/build"
	extension := cnb.GroupElement{Ref: cnb.Ref{ID: "e", Version: "1"}, API: cnb.NewestBuildpackAPI, Extension: true, Optional: true}
	group := cnb.Group{Elements: []cnb.GroupElement{extension}}
	a, err := c.baseImages(t.Context(), group, cnb.Analyzed{RunImage: &cnb.RunImage{Reference: host + "/run", Image: host + "/run", Extend: true}})
	if err != nil {
		t.Fatal(err)
	}
	if r := a.RunImage; r.Reference != host+"/run@"+digest || r.Image != host+"/run" || !r.Extend || r.Target == nil || r.Target.OS != "linux" || a.BuildImage.Reference != host+"/build@"+buildDigest {
		t.Errorf("run image %+v, build image %+v", r, a.BuildImage)
	}
	for _, d := range []string{digest, buildDigest} {
		dir := filepath.Join(c.Kaniko, "cache", "base", d)
		blobs, _ := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
		if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(d, "sha256:"))); err != nil || len(blobs) != 2 {
			t.Errorf("%s: %v, %v", d, blobs, err)
		}
	}

	if err := c.extended(&exportation{}, &builder.ExportInput{}, a); err == nil || !strings.Contains(err.Error(), "missing extended run image") {
		t.Errorf("without an extended image: %v", err)
	}
	history := "Layer: 'RUN x', Created by extension: e"
	extended := configured(t, grown(t, base, "more", history), func(cf *v1.ConfigFile) {
		cf.Config.Labels = map[string]string{cnb.LabelRebasable: "true"}
		cf.Config.User = "2:2"
	})
	leaveExtended(t, filepath.Join(c.Extended, "run", "image"), extended, base)
	c.Image = host + "/app"
	buildpack := cnb.GroupElement{Ref: cnb.Ref{ID: "b", Version: "1"}, API: cnb.NewestBuildpackAPI}
	group.Elements = append(group.Elements, buildpack)
	built := &builder.Built{
		Metadata:   cnb.Metadata{Buildpacks: []cnb.GroupElement{buildpack}, Extensions: []cnb.GroupElement{{Ref: extension.Ref, API: extension.API}}},
		Buildpacks: []builder.BuiltBuildpack{{GroupElement: buildpack}},
	}
	if err := c.export(t.Context(), builder.ExportInput{Group: group, Built: built}, a, nil); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ref, err := name.ParseReference(c.Image)
	if err != nil {
		t.Fatal(err)
	}
	app, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := app.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	below, _ := base.ConfigFile()
	if cf.RootFS.DiffIDs[0] != below.RootFS.DiffIDs[0] || cf.History[1].CreatedBy != history || cf.Config.User != "2:2" || cf.Config.Labels[cnb.LabelRebasable] != "true" {
		t.Errorf("config %+v, history %+v", cf.Config, cf.History)
	}
	if md := cf.Config.Labels[cnb.LabelBuildMetadata]; !strings.Contains(md, `"extensions":[{"id":"e","version":"1"}]`) {
		t.Errorf("build metadata %s", md)
	}
	if md := cf.Config.Labels[cnb.LabelLifecycleMetadata]; !strings.Contains(md, `"topLayer":"`+below.RootFS.DiffIDs[0].String()) || !strings.Contains(md, `"reference":"`+host+"/run@"+digest) {
		t.Errorf("lifecycle metadata %s", md)
	}
}

// leaveExtended writes a layout as an extender does: without the blobs of the base.
func leaveExtended(t *testing.T, dir string, img, base v1.Image) {
	t.Helper()
	ref, err := image.ParseRef("oci:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.WriteLayout(t.Context(), ref, nil, img, nil); err != nil {
		t.Fatal(err)
	}
	ls, err := base.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, "blobs", "sha256", d.Hex)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBaseImagesFail(t *testing.T) {
	c, host, _ := inProcess(t)
	run := cnb.Analyzed{RunImage: &cnb.RunImage{Reference: host + "/none", Image: host + "/none", Extend: true}}
	if _, err := c.baseImages(t.Context(), cnb.Group{}, run); err == nil || !strings.Contains(err.Error(), "failed to pull run image "+host+"/none") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(c.Run, []byte("[[images]]\nimage = \""+host+"/none\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.baseImages(t.Context(), cnb.Group{}, run); err == nil || !strings.Contains(err.Error(), "selected run image '"+host+"/none' is not accessible") {
		t.Errorf("%v", err)
	}
	if a, err := c.baseImages(t.Context(), cnb.Group{}, cnb.Analyzed{}); err != nil || a.RunImage != nil || a.BuildImage != nil {
		t.Errorf("%+v, %v", a, err)
	}
}
