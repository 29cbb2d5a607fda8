package builder

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
)

// ComposeInput is what Compose works on.
type ComposeInput struct {
	Run v1.Image
	// RunReference is where the run image was found. The app image records the digest form wherever it is stored,
	// so that all outputs of a build are the same image: a tag is replaced by Run's digest, a digest stays (an
	// image that comes from a container engine does not have the digest that it has in its registry).
	RunReference string
	// RunImage is the run image with its mirrors as run.toml or the builder names it; it is what a later rebase
	// is allowed to use.
	RunImage cnb.RunImageName
	// Extended is the config of the run image that extensions extended, nil where they did not. Run is then still
	// the image below the extensions' layers, which Exported has.
	Extended *v1.Config
	Exported *Exported
	// Layer gives a layer of Exported by diffID. Its DiffID, Digest, Size and MediaType have to be known without
	// a look at its contents.
	Layer func(diffID string) (v1.Layer, error)
	// Created is the image's time of creation; zero is LayerTime (platform, "SOURCE_DATE_EPOCH").
	Created time.Time
}

// Compose puts the layers of Exported on the run image and gives the app image, with media types of the run
// image's kind (Docker or OCI). It reads no layer, and the same input gives the same bytes.
func Compose(in ComposeInput) (v1.Image, error) {
	img, err := compose(in)
	return img, inPhase("export", err)
}

func compose(in ComposeInput) (v1.Image, error) {
	created := in.Created
	if created.IsZero() {
		created = LayerTime()
	}
	base, err := in.Run.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the run image's config: %w", err)
	}
	cf := base.DeepCopy()
	if in.Extended != nil {
		cf.Config = *in.Extended.DeepCopy()
	}
	metadata, err := in.metadata(cf)
	if err != nil {
		return nil, err
	}
	if err := in.configure(&cf.Config, metadata); err != nil {
		return nil, err
	}
	stamp := v1.Time{Time: created.UTC()}
	cf.Created = stamp
	cf.Container = ""
	withHistory := in.Exported.PlatformAPI.AtLeast(0, 12)
	cf.History = baseHistory(cf, stamp, withHistory)
	img, err := mutate.ConfigFile(in.Run, cf)
	if err != nil {
		return nil, fmt.Errorf("set the image's config: %w", err)
	}
	return in.addLayers(img, stamp, withHistory)
}

// metadata completes the lifecycle metadata with what is known of the run image.
func (in ComposeInput) metadata(run *v1.ConfigFile) (cnb.LayersMetadata, error) {
	ids := run.RootFS.DiffIDs
	if len(ids) == 0 {
		return cnb.LayersMetadata{}, fmt.Errorf("run image %s has no layers", in.RunReference)
	}
	ref, err := digestReference(in.RunReference, in.Run)
	if err != nil {
		return cnb.LayersMetadata{}, err
	}
	md := in.Exported.Metadata
	md.RunImage = cnb.RunImageMetadata{TopLayer: ids[len(ids)-1].String(), Reference: ref}
	if in.Exported.PlatformAPI.AtLeast(0, 12) {
		md.RunImage.Image, md.RunImage.Mirrors = in.RunImage.Image, in.RunImage.Mirrors
	}
	md.Stack = &cnb.StackLabel{RunImage: in.RunImage}
	return md, nil
}

// imageID is an image's ID in a container engine, in the form that analyzed.toml has it.
var imageID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// digestReference is ref without its tag and with the image's own digest. What is no name, an image's ID or a
// directory with its digest, is exact as it is.
func digestReference(ref string, img v1.Image) (string, error) {
	if _, err := v1.NewHash(ref); err == nil || strings.HasPrefix(ref, "oci:") || strings.HasPrefix(ref, "/") || imageID.MatchString(ref) {
		return ref, nil
	}
	digest, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("find the digest of run image %s: %w", ref, err)
	}
	r, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return "", fmt.Errorf("run image: %w", err)
	}
	if d, ok := r.(name.Digest); ok {
		return d.Context().Name() + "@" + d.DigestStr(), nil
	}
	return r.Context().Name() + "@" + digest.String(), nil
}

// configure changes the run image's config into the app image's. What is not named here is inherited.
func (in ComposeInput) configure(c *v1.Config, md cnb.LayersMetadata) error {
	label, err := json.Marshal(md)
	if err != nil {
		return fmt.Errorf("encode label %s: %w", cnb.LabelLifecycleMetadata, err)
	}
	labels := maps.Clone(c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[cnb.LabelLifecycleMetadata] = string(label)
	for _, l := range in.Exported.Labels {
		labels[l.Key] = l.Value
	}
	c.Labels = labels
	for _, v := range in.Exported.Env {
		c.Env = setEnv(c.Env, v.Key, v.Value)
	}
	dirs := append(slices.Clone(in.Exported.PathPrefix), getEnv(c.Env, "PATH"))
	c.Env = setEnv(c.Env, "PATH", strings.Join(dirs, ":"))
	c.WorkingDir = in.Exported.WorkingDir
	c.Entrypoint = in.Exported.Entrypoint
	c.Cmd = nil
	return nil
}

func getEnv(env []string, key string) string {
	for _, e := range env {
		if k, v, _ := strings.Cut(e, "="); k == key {
			return v
		}
	}
	return ""
}

// setEnv replaces a variable where it stands or adds it at the end; env itself is left as it is.
func setEnv(env []string, key, value string) []string {
	env = slices.Clone(env)
	for i, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == key {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}

// baseHistory is the run image's history with one entry per layer, all of the image's time of creation. A
// history that does not fit the layers is replaced by empty entries, as it is before Platform API 0.12.
func baseHistory(cf *v1.ConfigFile, created v1.Time, keep bool) []v1.History {
	var h []v1.History
	for _, e := range cf.History {
		if !e.EmptyLayer {
			h = append(h, e)
		}
	}
	if !keep || len(h) != len(cf.RootFS.DiffIDs) {
		h = make([]v1.History, len(cf.RootFS.DiffIDs))
	}
	for i := range h {
		h[i].Created = created
	}
	return h
}

func (in ComposeInput) addLayers(img v1.Image, created v1.Time, withHistory bool) (v1.Image, error) {
	kind, err := in.Run.MediaType()
	if err != nil {
		return nil, fmt.Errorf("read the run image's media type: %w", err)
	}
	var adds []mutate.Addendum
	for _, l := range in.Exported.Layers {
		layer, err := in.Layer(l.DiffID)
		if err != nil {
			return nil, fmt.Errorf("find layer %s (%s): %w", l.ID, l.DiffID, err)
		}
		media, err := layerMediaType(layer, kind)
		if err != nil {
			return nil, fmt.Errorf("layer %s (%s): %w", l.ID, l.DiffID, err)
		}
		h := v1.History{Created: created}
		if withHistory {
			h.CreatedBy = l.CreatedBy
		}
		adds = append(adds, mutate.Addendum{Layer: layer, History: h, MediaType: media})
	}
	img, err = mutate.Append(img, adds...)
	if err != nil {
		return nil, fmt.Errorf("add layers to the run image: %w", err)
	}
	return img, nil
}

// layerMediaType is the media type of layer in a manifest of the given kind.
func layerMediaType(layer v1.Layer, manifest types.MediaType) (types.MediaType, error) {
	own, err := layer.MediaType()
	if err != nil {
		return "", err
	}
	oci := manifest == types.OCIManifestSchema1
	switch own {
	case types.OCIUncompressedLayer, types.DockerUncompressedLayer:
		if oci {
			return types.OCIUncompressedLayer, nil
		}
		return types.DockerUncompressedLayer, nil
	case types.OCILayerZStd:
		return own, nil // Docker's manifests have no name of their own for it
	}
	if oci {
		return types.OCILayer, nil
	}
	return types.DockerLayer, nil
}
