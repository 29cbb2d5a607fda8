package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/builder/cnb"
)

// RebaseInput is what Rebase works on: images that the platform has found already.
type RebaseInput struct {
	PlatformAPI cnb.API
	App         v1.Image // the app image
	Run         v1.Image // the run image that it is to stand on
	// RunReference is the run image exactly, and recorded as it is: "repository@sha256:...", or an image's ID.
	RunReference string
	// RunName is the run image as the platform named it. It has to be among the names that the app image knows
	// for its run image, unless Force is set (from Platform API 0.12 on).
	RunName string
	// Force turns what would keep the image from being rebased into warnings (from Platform API 0.12 on).
	Force bool
	Emit  func(Event)
}

// A RebaseError tells that an app image must not be put on a run image.
type RebaseError struct {
	Reason string
	Force  bool // RebaseInput.Force would turn it into a warning
}

func (e *RebaseError) Error() string {
	if e.Force {
		return e.Reason + "; please provide -force to override"
	}
	return e.Reason
}

// Rebase puts the app image's layers on another run image (platform, "rebaser"). It reads no layer: of both images
// only config and manifest. The same input gives the same image.
//
// The app image keeps its config, with the run image's platform and its labels io.buildpacks.base.* (from Platform
// API 0.12 on) and io.buildpacks.stack.*. History and times are constant, what else stands beside "config" is gone,
// as the reference leaves it. The manifest keeps its kind (Docker or OCI), where the reference always writes
// Docker's, with layers of either kind in it; and the variant is the run image's, where the reference has none.
func Rebase(in RebaseInput) (v1.Image, error) {
	img, err := rebase(in)
	return img, inPhase("rebase", err)
}

// CheckRebase says whether Rebase would do it. It asks the images for their configs only, and emits what Rebase would.
func CheckRebase(in RebaseInput) error {
	_, _, err := in.plan()
	return inPhase("rebase", err)
}

func rebase(in RebaseInput) (v1.Image, error) {
	cf, base, err := in.plan()
	if err != nil {
		return nil, err
	}
	return in.stack(cf, base)
}

// plan is the rebased image's config without its layers, and how many of the app image's layers go.
func (in RebaseInput) plan() (cf *v1.ConfigFile, base int, err error) {
	if !in.PlatformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return nil, 0, &APIError{API: in.PlatformAPI}
	}
	app, err := in.App.ConfigFile()
	if err != nil {
		return nil, 0, fmt.Errorf("read the app image's config: %w", err)
	}
	run, err := in.Run.ConfigFile()
	if err != nil {
		return nil, 0, fmt.Errorf("read the run image's config: %w", err)
	}
	if len(run.RootFS.DiffIDs) == 0 {
		return nil, 0, fmt.Errorf("run image %s has no layers", in.RunName)
	}
	md, err := decodeRebaseLabel(app.Config.Labels[cnb.LabelLifecycleMetadata])
	if err != nil {
		return nil, 0, err
	}
	if err := in.check(app, run); err != nil {
		return nil, 0, err
	}
	if base, err = baseLayers(app.RootFS.DiffIDs, md); err != nil {
		return nil, 0, err
	}
	if err := in.renew(&md, run); err != nil {
		return nil, 0, err
	}
	cf, err = in.config(app, run, md)
	return cf, base, err
}

// rebaseLabel is the lifecycle metadata label as rebase writes it back: "app" was an object in very old images and
// is kept whatever it is; keys that the spec does not know are dropped. The order of fields is the reference's.
type rebaseLabel struct {
	App any `json:"app"`
	cnb.LayersMetadata
}

func decodeRebaseLabel(label string) (md rebaseLabel, err error) {
	switch {
	case label == "":
		return md, fmt.Errorf("the app image has no label %s, so it was not made by buildpacks", cnb.LabelLifecycleMetadata)
	case len(label) > maxLabel:
		return md, fmt.Errorf("the app image's label %s has %d bytes, more than %d", cnb.LabelLifecycleMetadata, len(label), maxLabel)
	}
	if err := json.Unmarshal([]byte(label), &md); err != nil {
		return md, fmt.Errorf("read the app image's label %s: %w", cnb.LabelLifecycleMetadata, err)
	}
	return md, nil
}

// baseLayers is how many of the app image's layers are those of its run image. A layer that stands in the run image
// more than once is no reason to leave a part of it in place: its last one counts, below all that the app is known
// to have.
func baseLayers(ids []v1.Hash, md rebaseLabel) (int, error) {
	own := md.layers()
	n := 0
	for i, id := range ids {
		if id.String() == md.RunImage.TopLayer {
			n = i + 1
		} else if n > 0 && own[id.String()] {
			break
		}
	}
	if n == 0 {
		return 0, errors.New("rebase app image: could not find base layer in image")
	}
	return n, nil
}

// layers is the diffIDs of the layers that the build put on the run image.
func (md rebaseLabel) layers() map[string]bool {
	own := map[string]bool{md.Config.SHA: true, md.Launcher.SHA: true, md.ProcessTypes.SHA: true}
	apps, _ := md.App.([]any)
	for _, a := range apps {
		if m, ok := a.(map[string]any); ok {
			sha, _ := m["sha"].(string)
			own[sha] = true
		}
	}
	if md.BOM != nil {
		own[md.BOM.SHA] = true
	}
	for _, b := range md.Buildpacks {
		for _, l := range b.Layers {
			own[l.SHA] = true
		}
	}
	return own
}

// renew makes the metadata that of an image on the new run image.
func (in RebaseInput) renew(md *rebaseLabel, run *v1.ConfigFile) error {
	ids := run.RootFS.DiffIDs
	md.RunImage.TopLayer, md.RunImage.Reference = ids[len(ids)-1].String(), in.RunReference
	if !in.PlatformAPI.AtLeast(0, 12) || knowsRunImage(md.LayersMetadata, in.RunName) {
		return nil
	}
	known := "not found"
	switch {
	case md.RunImage.Image != "":
		known = jsonText(md.RunImage)
	case md.Stack != nil:
		known = jsonText(md.Stack.RunImage)
	}
	if err := in.allow("rebase app image: new base image '%s' not found in existing run image metadata: %s", in.RunName, known); err != nil {
		return err
	}
	md.RunImage.Image, md.RunImage.Mirrors = in.RunName, nil
	md.Stack = &cnb.StackLabel{RunImage: cnb.RunImageName{Image: in.RunName}}
	return nil
}

// knowsRunImage says whether a name is among those of the app's run image. A digest beside a name does not count.
func knowsRunImage(md cnb.LayersMetadata, run string) bool {
	names := append([]string{md.RunImage.Image}, md.RunImage.Mirrors...)
	if md.Stack != nil {
		names = append(append(names, md.Stack.RunImage.Image), md.Stack.RunImage.Mirrors...)
	}
	run = withoutDigest(run)
	for _, n := range names {
		if n != "" && withoutDigest(n) == run {
			return true
		}
	}
	return false
}

// withoutDigest is an image's full name with its tag.
func withoutDigest(s string) string {
	bare, _, _ := strings.Cut(s, "@sha256:")
	ref, err := name.ParseReference(bare)
	if err != nil {
		return s
	}
	return ref.Name()
}

// config is the rebased image's config without its layers.
func (in RebaseInput) config(app, run *v1.ConfigFile, md rebaseLabel) (*v1.ConfigFile, error) {
	label, err := json.Marshal(md)
	if err != nil {
		return nil, fmt.Errorf("encode label %s: %w", cnb.LabelLifecycleMetadata, err)
	}
	of := func(key string) bool {
		return strings.HasPrefix(key, "io.buildpacks.stack.") || in.PlatformAPI.AtLeast(0, 12) && strings.HasPrefix(key, "io.buildpacks.base.")
	}
	c := app.Config.DeepCopy()
	maps.DeleteFunc(c.Labels, func(key, _ string) bool { return of(key) })
	for key, v := range run.Config.Labels {
		if of(key) {
			c.Labels[key] = v
		}
	}
	c.Labels[cnb.LabelLifecycleMetadata] = string(label)
	return &v1.ConfigFile{
		Architecture: run.Architecture, OS: run.OS, OSVersion: run.OSVersion, Variant: run.Variant,
		Created: v1.Time{Time: LayerTime()}, Config: *c, RootFS: v1.RootFS{Type: "layers"},
	}, nil
}

// stack is the image of the config, the run image's layers and the app's layers above its first base ones.
func (in RebaseInput) stack(cf *v1.ConfigFile, base int) (v1.Image, error) {
	manifest, err := in.App.Manifest()
	if err != nil {
		return nil, fmt.Errorf("read the app image's manifest: %w", err)
	}
	kind, err := in.App.MediaType()
	if err != nil {
		return nil, fmt.Errorf("read the app image's media type: %w", err)
	}
	layers, err := in.Run.Layers()
	if err != nil {
		return nil, fmt.Errorf("list the run image's layers: %w", err)
	}
	own, err := in.App.Layers()
	if err != nil {
		return nil, fmt.Errorf("list the app image's layers: %w", err)
	}
	var adds []mutate.Addendum
	for _, l := range append(layers[:len(layers):len(layers)], own[base:]...) {
		media, err := layerMediaType(l, kind)
		if err != nil {
			return nil, fmt.Errorf("read a layer's media type: %w", err)
		}
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: media, History: v1.History{Created: cf.Created}})
	}
	img, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, kind), manifest.Config.MediaType), cf)
	if err != nil {
		return nil, fmt.Errorf("set the image's config: %w", err)
	}
	if img, err = mutate.Append(img, adds...); err != nil {
		return nil, fmt.Errorf("put the app's layers on the run image: %w", err)
	}
	return img, nil
}
