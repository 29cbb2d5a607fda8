package builder

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

// MakeReport is report.toml for an image that was written to a registry, a layout or a store under tags
// (platform, "report.toml"); cnb.EncodeReport gives its text. Where a container engine is the destination the
// caller sets ImageID in place of Digest, and for Platform API 0.8 and older Build.BOM to Built.BuildBOM.
func MakeReport(img v1.Image, tags []string) (cnb.Report, error) {
	digest, err := img.Digest()
	if err != nil {
		return cnb.Report{}, fmt.Errorf("find the digest of the app image: %w", err)
	}
	size, err := img.Size()
	if err != nil {
		return cnb.Report{}, fmt.Errorf("find the size of the app image's manifest: %w", err)
	}
	return cnb.Report{Image: cnb.ImageReport{Tags: tags, Digest: digest.String(), ManifestSize: size}}, nil
}
