package image_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
)

// told is an engine that tells of one image and holds no bytes.
type told struct {
	image.Engine
	img   image.EngineImage
	steps []v1.History
}

func (e told) Inspect(context.Context, string) (image.EngineImage, error) { return e.img, nil }
func (e told) History(context.Context, string) ([]v1.History, error)      { return e.steps, nil }
func (e told) EngineInfo(context.Context) (image.EngineInfo, error)       { return image.EngineInfo{}, nil }

func diffID(digit string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)}
}

// TestViewEngine looks at an image without its bytes: config and history are what the engine tells, and a layer is
// asked for only when it is read.
func TestViewEngine(t *testing.T) {
	e := told{img: image.EngineImage{ID: diffID("a").String()}, steps: []v1.History{{CreatedBy: "one"}, {CreatedBy: "two"}}}
	e.img.Config.OS = "linux"
	e.img.Config.RootFS.DiffIDs = []v1.Hash{diffID("1"), diffID("2")}
	ref, err := image.ParseRef("app")
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	view, err := image.ViewEngine(t.Context(), e, ref, func(id string) (v1.Layer, error) {
		asked = append(asked, id)
		return nil, errors.New("gone")
	})
	if err != nil {
		t.Fatal(err)
	}
	cf, err := view.ConfigFile()
	if err != nil || cf.OS != "linux" || len(cf.History) != 2 || cf.History[1].CreatedBy != "two" {
		t.Errorf("config %+v, %v", cf, err)
	}
	if view.EngineID != diffID("a").String() || view.ID != diffID("a") {
		t.Errorf("identity %s, %s", view.EngineID, view.ID)
	}
	m, err := view.Manifest()
	if err != nil || len(m.Layers) != 2 {
		t.Errorf("manifest %+v, %v", m, err)
	}
	l, err := view.LayerByDiffID(diffID("2"))
	if err != nil || len(asked) != 0 {
		t.Fatalf("%v, asked for %q", err, asked)
	}
	if _, err := l.Uncompressed(); err == nil || err.Error() != "gone" || len(asked) != 1 || asked[0] != diffID("2").String() {
		t.Errorf("reading the layer: %v, asked for %q", err, asked)
	}
	if _, err := view.LayerByDiffID(diffID("3")); err == nil {
		t.Error("found a layer that the image has not")
	}
}

// TestViewEngineHistory: steps that are not one for each layer say nothing about layers.
func TestViewEngineHistory(t *testing.T) {
	e := told{img: image.EngineImage{ID: diffID("a").String()}, steps: []v1.History{{}, {}, {}}}
	e.img.Config.RootFS.DiffIDs = []v1.Hash{diffID("1")}
	ref, err := image.ParseRef("app")
	if err != nil {
		t.Fatal(err)
	}
	view, err := image.ViewEngine(t.Context(), e, ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(view.Config.History) != 0 {
		t.Errorf("history %v", view.Config.History)
	}
}
