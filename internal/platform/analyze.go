package platform

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// checkCompression refuses zstd on a run image whose manifest has no name for such layers.
func (j *job) checkCompression() error {
	if j.o.Compression != layerstore.Zstd {
		return nil
	}
	kind, err := j.run.MediaType()
	if err == nil && kind != types.OCIManifestSchema1 {
		err = fmt.Errorf("it has a Docker manifest, which has gzip layers only: leave out --compression zstd, or take a run image with an OCI manifest")
	}
	if err != nil {
		return fmt.Errorf("run image %s: %w", j.runName.Image, err)
	}
	return nil
}

// inspected is an image by the config that its place tells. For an image in Docker that is what inspect says; the exact
// config would have the whole image read out of there, to look at its labels.
type inspected struct{ *image.Image }

// ConfigFile is what is known without reading.
func (t inspected) ConfigFile() (*v1.ConfigFile, error) { return t.Config, nil }
