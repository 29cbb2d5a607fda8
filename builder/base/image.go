package base

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/slipway-build/slipway/builder/cnb"
)

// Annotations of the image in its layout's index.
const (
	recipeAnnotation = "io.github.slipway-build.base.recipe" // Options.key
	nameAnnotation   = "org.opencontainers.image.ref.name"
)

// config is the image's configuration: what platform 0.15 wants of a build image ("Build Image") and of a run
// image ("Run Image"), and what older platforms want (the stack ID).
func (o Options) config(t *tree, layer *blob) *v1.ConfigFile {
	created := o.Created
	if created.IsZero() {
		created = t.newest
	}
	if created.IsZero() {
		created = layerTime()
	}
	created = created.UTC().Truncate(time.Second)
	uid, gid := o.user()
	what := map[Kind]string{Build: "build", Run: "run"}[o.Kind]
	labels := map[string]string{
		cnb.LabelBaseID:                   o.id(),
		cnb.LabelStackID:                  o.id(),
		cnb.LabelDistroName:               t.name,
		cnb.LabelDistroVersion:            t.vers,
		"io.buildpacks.base.description":  "Slipway's " + what + " base image, from Debian " + o.Suite + " packages",
		"io.buildpacks.base.maintainer":   "Slipway",
		"io.buildpacks.base.homepage":     "https://github.com/slipway-build/slipway",
		"io.buildpacks.base.released":     created.Format(time.RFC3339),
		"org.opencontainers.image.title":  "slipway/" + what + ":" + o.Suite,
		"org.opencontainers.image.source": "https://github.com/slipway-build/slipway",
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	if o.Kind == Build {
		env = append(env, "CNB_USER_ID="+strconv.Itoa(uid), "CNB_GROUP_ID="+strconv.Itoa(gid), "CNB_STACK_ID="+o.id())
	} else {
		labels[cnb.LabelRebasable] = "true" // one suite keeps its ABI; another suite is another target ID
	}
	arch, variant := goArch(o.Arch), ""
	switch arch {
	case "arm64":
		variant = "v8"
	case "arm":
		variant = "v7"
	}
	return &v1.ConfigFile{
		Architecture: arch, Variant: variant, OS: "linux", Created: v1.Time{Time: created},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer.diffID}},
		History: []v1.History{{
			Created: v1.Time{Time: created}, CreatedBy: "slipway base " + what + " " + o.Suite,
		}},
		Config: v1.Config{
			User: fmt.Sprintf("%d:%d", uid, gid), Env: env, Labels: labels, WorkingDir: "/", Cmd: []string{"/bin/bash"},
		},
	}
}

// writeLayout writes what belongs around the layer, which is in the layout already.
func writeLayout(dir string, o Options, t *tree, layer *blob) error {
	img, err := mutate.Append(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1),
		mutate.Addendum{Layer: layer})
	if err != nil {
		return err
	}
	if img, err = mutate.ConfigFile(img, o.config(t, layer)); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendImage(img, layout.WithAnnotations(map[string]string{
		nameAnnotation: "slipway/" + string(o.Kind) + ":" + o.Suite, recipeAnnotation: o.key(),
	}))
}

// Cached returns the image that Make left in dir, if it was made from these very options. The mirror may have
// newer packages since: making it anew is the caller's decision.
func Cached(dir string, o Options) (v1.Image, bool) {
	o, err := o.complete()
	if err != nil {
		return nil, false
	}
	desc, err := only(dir)
	if err != nil || desc.Annotations[recipeAnnotation] != o.key() {
		return nil, false
	}
	img, err := readLayout(dir)
	if err != nil {
		return nil, false
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		return nil, false
	}
	digest, err := layers[0].Digest()
	if err != nil {
		return nil, false
	}
	size, err := layers[0].Size()
	st, statErr := os.Stat(filepath.Join(dir, "blobs", digest.Algorithm, digest.Hex))
	return img, err == nil && statErr == nil && st.Size() == size
}

func readLayout(dir string) (v1.Image, error) {
	desc, err := only(dir)
	if err != nil {
		return nil, err
	}
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("read OCI layout %s: %w", dir, err)
	}
	return path.Image(desc.Digest)
}

// only is the descriptor of the one image in the layout.
func only(dir string) (v1.Descriptor, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("read OCI layout %s: %w", dir, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("read OCI layout %s: %w", dir, err)
	}
	if len(m.Manifests) != 1 {
		return v1.Descriptor{}, fmt.Errorf("read OCI layout %s: holds %d images, want one", dir, len(m.Manifests))
	}
	return m.Manifests[0], nil
}

// replaceable refuses to remove a directory that is not an earlier result.
func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return fmt.Errorf("replace %s: it is not empty and not an OCI layout", dir)
	}
	return nil
}
