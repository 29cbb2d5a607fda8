package builder

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
)

func TestComposeConfig(t *testing.T) {
	b := sample(t)
	ex := b.export(t, func(in *ExportInput) { in.ProcessType = "task" })
	run := runImage(t)
	img := b.compose(t, run, ex, nil)
	cf := config(t, img)
	c := cf.Config
	env := []string{"A=b=c", "PATH=/cnb/process:/cnb/lifecycle:/bin", "CNB_APP_DIR=/workspace", "CNB_LAYERS_DIR=/layers", "CNB_PLATFORM_API=0.15", "CNB_DEPRECATION_MODE=quiet"}
	if !slices.Equal(c.Env, env) {
		t.Errorf("env %q", c.Env)
	}
	if !slices.Equal(c.Entrypoint, []string{"/cnb/process/task"}) || c.Cmd != nil || c.WorkingDir != "/workspace" || c.User != "1000:1000" || cf.Container != "" {
		t.Errorf("config %+v", c)
	}
	if !cf.Created.Time.Equal(LayerTime()) || len(cf.History) != len(cf.RootFS.DiffIDs) || cf.History[1].CreatedBy != "two" || !cf.History[1].Created.Time.Equal(LayerTime()) {
		t.Errorf("history %+v", cf.History)
	}
	digest, _ := run.Digest()
	var md cnb.LayersMetadata
	if err := json.Unmarshal([]byte(c.Labels[cnb.LabelLifecycleMetadata]), &md); err != nil {
		t.Fatal(err)
	}
	top := config(t, run).RootFS.DiffIDs[1].String()
	if md.RunImage.Reference != "example.com/run@"+digest.String() || md.RunImage.TopLayer != top || md.RunImage.Image != "example.com/run:1" {
		t.Errorf("run image %+v", md.RunImage)
	}
	if c.Labels["l"] != "two" || c.Labels[cnb.LabelExecEnv] != "production" || c.Labels[cnb.LabelDistroName] != "debian" || c.Labels[cnb.LabelRebasable] != "true" {
		t.Errorf("labels %v", c.Labels)
	}
}

// An opaqueLayer knows what it is and may not be read.
type opaqueLayer struct{ v1.Layer }

func (opaqueLayer) Compressed() (io.ReadCloser, error)   { return nil, errors.New("read") }
func (opaqueLayer) Uncompressed() (io.ReadCloser, error) { return nil, errors.New("read") }

func TestComposeReadsNoLayer(t *testing.T) {
	b := sample(t)
	ex := b.export(t, nil)
	for _, kind := range []struct{ manifest, config, layer types.MediaType }{
		{types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer},
		{types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer},
	} {
		run := mutate.ConfigMediaType(mutate.MediaType(runImage(t), kind.manifest), kind.config)
		img := b.compose(t, run, ex, func(d string) (v1.Layer, error) {
			l, err := b.sink.Get(d)
			return opaqueLayer{l}, err
		})
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if m.MediaType != kind.manifest || m.Config.MediaType != kind.config || m.Layers[len(m.Layers)-1].MediaType != kind.layer {
			t.Errorf("%s: config %s, last layer %s", m.MediaType, m.Config.MediaType, m.Layers[len(m.Layers)-1].MediaType)
		}
	}
}

func TestMakeReport(t *testing.T) {
	img := runImage(t)
	r, err := MakeReport(img, []string{"x:1"})
	digest, _ := img.Digest()
	size, _ := img.Size()
	if err != nil || r.Image.Digest != digest.String() || r.Image.ManifestSize != size || r.Image.Tags[0] != "x:1" {
		t.Errorf("%+v, %v", r, err)
	}
}
