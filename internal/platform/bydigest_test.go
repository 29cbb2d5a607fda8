package platform_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestByDigest publishes without a tag: the image is there by its digest, and no name means it yet.
func TestByDigest(t *testing.T) {
	t.Parallel()
	y := open(t)
	repo := registry(t, "") + "/" + name(t)
	reports := t.TempDir()
	o := platform.Options{
		Image: repo + ":1", Tags: []string{repo + ":latest"}, Source: app(t), Buildpacks: y.fixtures("layer-types"), ReportDir: reports,
		Output: platform.Output{Publish: true, ByDigest: true},
	}
	result, _ := y.build(t, o)
	img := y.find(t, repo+"@"+result.Digest)
	checkBytes(t, img)
	for _, tag := range []string{":1", ":latest"} {
		ref, err := image.ParseRef(repo + tag)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := y.machine.Registry.Image(t.Context(), ref, v1.Platform{}); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	report, err := os.ReadFile(filepath.Join(reports, "report.toml"))
	if err != nil || strings.Contains(string(report), ":latest") || !strings.Contains(string(report), repo+"@"+result.Digest) {
		t.Errorf("report, %v:\n%s", err, report)
	}
	o.Output = platform.Output{Store: true, ByDigest: true}
	if _, err := y.try(t, y.machine, o, &record{}); err == nil || !strings.Contains(err.Error(), "in a registry only") {
		t.Errorf("without a tag in the store: %v", err)
	}
}
