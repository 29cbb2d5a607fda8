package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// ErrNoSBOM tells that an image holds no bill of materials.
var ErrNoSBOM = errors.New("no SBOM files")

// SBOMLayer is the diffID of the layer of an app image that holds its bill of materials.
func SBOMLayer(img *image.Image) (string, error) {
	label := img.Label(cnb.LabelLifecycleMetadata)
	if label == "" {
		return "", fmt.Errorf("image %s was not made by buildpacks: it has no label %s", img.Ref.Familiar(), cnb.LabelLifecycleMetadata)
	}
	md, err := cnb.DecodeLayersMetadata(label)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", img.Ref.Familiar(), err)
	}
	if md.BOM == nil || md.BOM.SHA == "" {
		return "", fmt.Errorf("image %s holds %w", img.Ref.Familiar(), ErrNoSBOM)
	}
	return md.BOM.SHA, nil
}

// DownloadSBOM writes the SBOM files of an app image below dir, where they have the paths that they have in the image
// (layers/sbom/launch/...), and returns their directory. What an earlier download left there goes.
func DownloadSBOM(ctx context.Context, img *image.Image, dir string) (string, error) {
	diffID, err := SBOMLayer(img)
	if err != nil {
		return "", err
	}
	h, err := v1.NewHash(diffID)
	if err != nil {
		return "", fmt.Errorf("image %s: its SBOM layer %q: %w", img.Ref.Familiar(), diffID, err)
	}
	l, err := img.LayerByDiffID(h)
	if err != nil {
		return "", fmt.Errorf("image %s: its SBOM layer: %w", img.Ref.Familiar(), err)
	}
	rc, err := l.Uncompressed()
	if err != nil {
		return "", fmt.Errorf("image %s: its SBOM layer: %w", img.Ref.Familiar(), err)
	}
	defer rc.Close()
	layers := layersDir(img)
	parent := filepath.Join(dir, filepath.FromSlash(layers), "sbom")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("make the directory of the SBOM files: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, ".launch-")
	if err != nil {
		return "", fmt.Errorf("make the directory of the SBOM files: %w", err)
	}
	defer os.RemoveAll(fresh) // after the rename there is nothing to remove
	if err := builder.ExtractLaunchSBOM(ctx, rc, diffID, layers, fresh); err != nil {
		return "", fmt.Errorf("image %s: %w", img.Ref.Familiar(), err)
	}
	at := filepath.Join(parent, "launch")
	if err := os.RemoveAll(at); err != nil {
		return "", fmt.Errorf("write the SBOM files: %w", err)
	}
	if err := os.Rename(fresh, at); err != nil {
		return "", fmt.Errorf("write the SBOM files: %w", err)
	}
	return at, nil
}

// layersDir is the layers directory of the build that made an image. It is the image's own word, so it is taken
// only if it cannot lead out of where it is put.
func layersDir(img *image.Image) string {
	for _, e := range img.Config.Config.Env {
		if dir, ok := strings.CutPrefix(e, "CNB_LAYERS_DIR="); ok && path.IsAbs(dir) && path.Clean(dir) == dir {
			return dir
		}
	}
	return "/layers"
}
