package image_test

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/image"
)

// TestLoadLaunchCache loads an image whose layer comes out of a launch cache: it is the image that has the layer from
// anywhere else, in its manifest and in Docker.
func TestLoadLaunchCache(t *testing.T) {
	s := store(t)
	made := layer(t, s.Store(), "app", unique(1<<20))
	id, err := made.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	v, err := cache.OpenVolume(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.ReplaceLayers(t.Context(), []string{id.String()}, func(string) (v1.Layer, error) { return made, nil }); err != nil {
		t.Fatal(err)
	}
	kept, err := v.Layer(id.String())
	if err != nil {
		t.Fatal(err)
	}
	want, app := compose(t, nil, "app", made), compose(t, nil, "app", kept)
	sameImage(t, app, want)
	e := connect(t)
	remove(t, e, "slipway.test/launch-cache:app")
	w, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/launch-cache:app")}, app, image.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, config := digests(t, want)
	if got, err := e.Inspect(t.Context(), "slipway.test/launch-cache:app"); err != nil || w.ID != config || got.ID != w.EngineID {
		t.Errorf("Docker has %s, %v; want %s (%+v)", got.ID, err, config, w)
	}
}
