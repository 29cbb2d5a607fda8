package image_test

import (
	"io"
	"log"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/image"
)

func emptyIndex() v1.ImageIndex { return mutate.IndexMediaType(empty.Index, types.OCIImageIndex) }

// quiet keeps the test registry from logging its requests.
func quiet() registry.Option { return registry.Logger(log.New(io.Discard, "", 0)) }

// An image that names no architecture is for all, as buildpackages without targets are.
func TestAnyArchitecture(t *testing.T) {
	s := store(t)
	none := compose(t, nil, "none", layer(t, s.Store(), "none", []byte("x")))
	cf, err := none.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", ""
	none, err = mutate.ConfigFile(none, cf)
	if err != nil {
		t.Fatal(err)
	}
	dir := "oci:" + filepath.Join(t.TempDir(), "layout")
	if _, err := image.WriteLayout(t.Context(), ref(t, dir), nil, none, nil); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if _, err := image.ReadLayout(t.Context(), ref(t, dir), v1.Platform{OS: "linux", Architecture: arch}); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
	}
	if _, err := image.ReadLayout(t.Context(), ref(t, dir), v1.Platform{OS: "windows", Architecture: "amd64"}); err == nil {
		t.Error("it was read for another system")
	}
}
