package platform

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// A foundPackage is a package of which a build has seen the labels only.
type foundPackage struct {
	arg    string // that led to it
	img    *image.Image
	layers cnb.BuildpackLayersLabel
}

// foundPackages are those of one build.
type foundPackages []foundPackage

// of says which argument the last ones were found by.
func (f foundPackages) of(arg string) {
	for i := len(f) - 1; i >= 0 && f[i].arg == ""; i-- {
		f[i].arg = strings.TrimPrefix(arg, prefixNamed)
	}
}

// wholePackage reads the labels of a package that has the buildpack that it is about.
func wholePackage(img *image.Image) (cnb.Ref, cnb.BuildpackLayersLabel, error) {
	main, layers, err := readPackage(img)
	if err != nil {
		return cnb.Ref{}, nil, err
	}
	if err := checkPackage(layers); err != nil {
		return cnb.Ref{}, nil, fmt.Errorf("image %s: label %s: %w", img.Ref, cnb.LabelBuildpackLayers, err)
	}
	ref := cnb.Ref{ID: main.ID, Version: main.Version}
	if _, _, ok := layers.Find(ref); !ok {
		return cnb.Ref{}, nil, fmt.Errorf("image %s is about buildpack %s, which is not in it", img.Ref, ref)
	}
	return ref, layers, nil
}

// packageBuildpacks notes that a package is to be unpacked; the result is the buildpack that it is about.
func (j *job) packageBuildpacks(img *image.Image) (entry, error) {
	ref, layers, err := wholePackage(img)
	if err != nil {
		return entry{}, err
	}
	j.packages = append(j.packages, foundPackage{img: img, layers: layers})
	return entry{ref: ref}, nil
}

// unpackPackages unpacks every buildpack of the packages that were found. One that is there already stays: a directory
// of its author's, or that of an earlier package.
func (j *job) unpackPackages(ctx context.Context) error {
	at := map[string]string{} // diffID -> where its layer is unpacked
	for _, p := range j.packages {
		if err := j.unpackPackage(ctx, p, at); err != nil {
			return &BuildpackError{p.arg, fmt.Errorf("image %s: %w", p.img.Ref, err)}
		}
	}
	return nil
}

func (j *job) unpackPackage(ctx context.Context, p foundPackage, at map[string]string) error {
	for id, versions := range p.layers {
		for version, info := range versions {
			ref := cnb.Ref{ID: id, Version: version}
			if slices.ContainsFunc(j.added, func(a addedBuildpack) bool { return a.ref == ref }) {
				continue
			}
			if at[info.LayerDiffID] == "" {
				var err error
				if at[info.LayerDiffID], err = j.unpackLayer(ctx, p.img, info.LayerDiffID); err != nil {
					return err
				}
			}
			dir, err := plainDir(at[info.LayerDiffID], id.Dir(), version)
			if err != nil {
				return fmt.Errorf("buildpack %s: %w", ref, err)
			}
			j.added = append(j.added, addedBuildpack{ref: ref, dir: dir, from: p.img.Reference})
		}
	}
	return nil
}

// unpackLayer unpacks one layer of a package and says where.
func (j *job) unpackLayer(ctx context.Context, img *image.Image, diffID string) (string, error) {
	h, err := v1.NewHash(diffID)
	if err != nil {
		return "", fmt.Errorf("layer %q: %w", diffID, err)
	}
	l, err := img.LayerByDiffID(h)
	if err != nil {
		return "", fmt.Errorf("layer %s: %w", diffID, err)
	}
	if err := image.Keep(ctx, j.m.Store, l); err != nil {
		return "", err
	}
	blob, err := j.h.Blob(ctx, diffID)
	if err != nil {
		return "", err
	}
	parent := filepath.Join(j.dir.path, "buildpacks")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("make a directory for buildpacks: %w", err)
	}
	dest := filepath.Join(parent, h.Hex)
	return dest, j.collector.UnpackPackage(ctx, blob, diffID, dest)
}
