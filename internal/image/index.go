package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations of the entries in an index.json.
const (
	annotationName = "org.opencontainers.image.ref.name" // OCI image layout, "index.json file"
	annotationID   = "build.slipway.image.id"            // the config's digest: the image's ID
)

// parseIndex reads an OCI index or a Docker manifest list.
func parseIndex(raw []byte) (*v1.IndexManifest, error) {
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("image index is larger than %d bytes", maxManifest)
	}
	var idx v1.IndexManifest
	if err := json.Unmarshal(raw, &idx); err != nil {
		return nil, fmt.Errorf("parse image index: %w", err)
	}
	if idx.SchemaVersion != 2 {
		return nil, fmt.Errorf("image index has schema version %d, want 2", idx.SchemaVersion)
	}
	for _, d := range idx.Manifests {
		if d.Digest.Algorithm != "sha256" {
			return nil, fmt.Errorf("image index: manifest %s: want a sha256 digest", d.Digest)
		}
	}
	return &idx, nil
}

func emptyIndex() *v1.IndexManifest {
	return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
}

// selectPlatform picks the one image of an index for a platform. An entry without a platform fits only
// when it is the sole one; attestations and the like are no images.
func selectPlatform(idx *v1.IndexManifest, want v1.Platform) (v1.Descriptor, error) {
	var images []v1.Descriptor
	for _, d := range idx.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown" {
			continue
		}
		if d.MediaType.IsImage() || d.MediaType.IsIndex() || d.MediaType == "" {
			images = append(images, d)
		}
	}
	if len(images) == 1 && images[0].Platform == nil {
		return images[0], nil
	}
	best, anyArch := -1, -1
	for i, d := range images {
		if d.Platform == nil || d.Platform.OS != want.OS || d.Platform.Architecture != "" && d.Platform.Architecture != want.Architecture {
			continue
		}
		switch {
		case d.Platform.Architecture == "":
			anyArch = i
		case variant(*d.Platform) == variant(want):
			return d, nil
		case want.Variant == "" && best < 0:
			best = i
		}
	}
	if best < 0 {
		best = anyArch
	}
	if best >= 0 {
		return images[best], nil
	}
	return v1.Descriptor{}, &PlatformError{Want: want, Have: platforms(images)}
}

// A PlatformError says that an image exists, but not for the platform.
type PlatformError struct {
	Image string
	Want  v1.Platform
	Have  []string
}

func (e *PlatformError) Error() string {
	have := "no image at all"
	if len(e.Have) > 0 {
		have = strings.Join(e.Have, ", ")
	}
	subject := "it"
	if e.Image != "" {
		subject = fmt.Sprintf("image %q", e.Image)
	}
	return fmt.Sprintf("%s is not for platform %s: it has %s", subject, platformString(e.Want), have)
}

// variant gives the default variants their one spelling.
func variant(p v1.Platform) string {
	if p.Architecture == "arm64" && p.Variant == "v8" {
		return ""
	}
	if p.Architecture == "arm" && p.Variant == "" {
		return "v7"
	}
	return p.Variant
}

func platformString(p v1.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

func platforms(ds []v1.Descriptor) []string {
	var out []string
	for _, d := range ds {
		if d.Platform != nil {
			out = append(out, platformString(*d.Platform))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checkPlatform says whether a single image runs on the platform. A zero platform takes any; one without an
// architecture takes an image for any.
func checkPlatform(c *v1.ConfigFile, want v1.Platform) error {
	if want.OS == "" && want.Architecture == "" {
		return nil
	}
	have := v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
	// A buildpackage without targets is for every architecture, and its config, as pack writes it, names none.
	if have.OS == want.OS && (want.Architecture == "" || have.Architecture == "") {
		return nil
	}
	if have.OS == want.OS && have.Architecture == want.Architecture &&
		(want.Variant == "" || have.Variant == "" || variant(have) == variant(want)) {
		return nil
	}
	return &PlatformError{Want: want, Have: []string{platformString(have)}}
}

// imageAt follows a descriptor to the image for a platform, through at most two nested indexes.
func imageAt(src blobSource, d v1.Descriptor, want v1.Platform) (*rawImage, error) {
	for range 3 {
		raw, err := readBlob(src, d, maxManifest)
		if err != nil {
			return nil, err
		}
		if !isIndex(d.MediaType, raw) {
			return newRawImage(raw, src)
		}
		idx, err := parseIndex(raw)
		if err != nil {
			return nil, err
		}
		if d, err = selectPlatform(idx, want); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("image index holds indexes that hold indexes")
}

func isIndex(mt types.MediaType, raw []byte) bool {
	if mt.IsIndex() || mt.IsImage() {
		return mt.IsIndex()
	}
	var probe struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	return json.Unmarshal(raw, &probe) == nil && probe.Manifests != nil
}

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
