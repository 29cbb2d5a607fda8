package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) inspectCommand() *cobra.Command {
	var pull string
	var remote bool
	cmd := &cobra.Command{
		Use: "inspect IMAGE", Aliases: []string{"inspect-image"}, Short: "Show what a built image is made of",
		Long: `Show what a built image is made of, where a name means it first: the local
store, Docker, its registry. With --remote it is the registry's, and what the
name means on this machine is compared with it.`,
		Example: `  slipway inspect my-app
  slipway inspect registry.example.com/team/app:1 --remote
  slipway inspect oci:./my-app.oci --output-format json`,
		Args:        wants("IMAGE"),
		Annotations: map[string]string{moreFormats: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFound(cmd.Context(), args[0], pull, remote, func(ctx context.Context, m *platform.Machine, img *image.Image) error {
				d := inspect(ctx, m, args[0], img)
				d.Rebase = a.outlook(ctx, m, img, pull)
				if remote {
					d.Here = here(ctx, m, img)
				}
				return a.print(d, func(w io.Writer) { d.human(w, a.verbose) })
			})
		},
	}
	cmd.Flags().StringVar(&pull, "pull-policy", "", "always, if-not-present or never")
	cmd.Flags().BoolVar(&remote, "remote", false, "show the image of the registry")
	cmd.Flags().StringVar(&a.format, "output", "human", "the same as --output-format: human, json, yaml or toml")
	a.registryFlags(cmd)
	return cmd
}

// withImage finds one image for a command that reads it.
func (a *app) withImage(ctx context.Context, arg, pull string, do func(context.Context, *platform.Machine, *image.Image) error) error {
	return a.withFound(ctx, arg, pull, false, do)
}

// withFound is withImage, or looks into the image's registry only.
func (a *app) withFound(ctx context.Context, arg, pull string, remote bool, do func(context.Context, *platform.Machine, *image.Image) error) error {
	s, err := a.config()
	if err != nil {
		return err
	}
	policy, err := a.pullPolicy(pull, s)
	if err != nil {
		return err
	}
	ref, err := image.ParseRef(arg)
	if err != nil {
		return &usageError{err}
	}
	if remote && !ref.IsName() {
		return usagef("image %s: --remote is for names in a registry", arg)
	}
	return a.withMachine(ctx, func(ctx context.Context, m *platform.Machine) error {
		r := resolver(m, policy)
		if remote {
			r = &image.Resolver{Registry: m.Registry, Policy: image.PullAlways}
		}
		img, err := r.ResolveRef(ctx, ref)
		if err != nil {
			return err
		}
		return do(ctx, m, img)
	})
}

// inspected is what inspect tells of an image.
type inspected struct {
	Image      string            `json:"image"`
	Where      image.Kind        `json:"where"`
	Digest     string            `json:"digest,omitempty"`
	ID         string            `json:"imageID"`
	Platform   string            `json:"platform"`
	Created    time.Time         `json:"created"`
	User       string            `json:"user,omitempty"`
	WorkingDir string            `json:"workingDir,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Built      bool              `json:"builtByBuildpacks"`
	ExecEnv    string            `json:"execEnv,omitempty"`
	Base       string            `json:"base,omitempty"` // distribution of the run image
	Rebasable  bool              `json:"rebasable"`
	RunImage   *runImage         `json:"runImage,omitempty"`
	Rebase     *outlook          `json:"rebase,omitempty"`
	SBOM       string            `json:"sbomLayer,omitempty"` // diffID
	Here       *elsewhere        `json:"here,omitempty"`
	Buildpacks []buildpackRef    `json:"buildpacks"`
	Extensions []buildpackRef    `json:"extensions,omitempty"`
	Processes  []process         `json:"processes"`
	Layers     []inspectedLayer  `json:"layers"`
	Labels     map[string]string `json:"labels"`
}

type runImage struct {
	Image     string   `json:"image,omitempty"`
	Reference string   `json:"reference"`
	Mirrors   []string `json:"mirrors,omitempty"`
}

type buildpackRef struct {
	ID       cnb.ID `json:"id"`
	Version  string `json:"version"`
	Homepage string `json:"homepage,omitempty"`
}

type process struct {
	Type       string   `json:"type"`
	Default    bool     `json:"default,omitempty"`
	Command    []string `json:"command"`
	Args       []string `json:"args,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	Buildpack  cnb.ID   `json:"buildpack,omitempty"`
}

type inspectedLayer struct {
	What   string `json:"what"`
	DiffID string `json:"diffID"`
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"` // compressed; uncompressed for an image in Docker
}

// inspect reads what an image's config and labels say. A label that cannot be read is as good as none.
func inspect(ctx context.Context, m *platform.Machine, arg string, img *image.Image) inspected {
	cf := img.Config
	d := inspected{
		Image: arg, Where: img.Kind, ID: img.ID.String(), Platform: img.Platform().String(), Created: cf.Created.Time,
		User: cf.Config.User, WorkingDir: cf.Config.WorkingDir, Entrypoint: cf.Config.Entrypoint,
		Labels: cf.Config.Labels, ExecEnv: img.Label(cnb.LabelExecEnv), Rebasable: img.Label(cnb.LabelRebasable) != "false",
		Buildpacks: []buildpackRef{}, Processes: []process{},
	}
	if img.EngineID != "" {
		d.Where = image.KindEngine // the store only has its bytes
	}
	if img.ManifestDigest != (v1.Hash{}) {
		d.Digest = img.ManifestDigest.String()
	}
	if b, ok := buildMetadata(img); ok {
		d.Built = true
		for _, e := range b.Buildpacks {
			d.Buildpacks = append(d.Buildpacks, buildpackRef{e.ID, e.Version, e.Homepage})
		}
		for _, e := range b.Extensions {
			d.Extensions = append(d.Extensions, buildpackRef{e.ID, e.Version, e.Homepage})
		}
		d.Processes = describeProcesses(b, cf.Config.Entrypoint)
	}
	d.Base = strings.TrimSpace(img.Label(cnb.LabelDistroName) + " " + img.Label(cnb.LabelDistroVersion))
	layers, err := cnb.DecodeLayersMetadata(img.Label(cnb.LabelLifecycleMetadata))
	if r := layers.RunImage; err == nil && r.Reference != "" {
		d.RunImage = &runImage{r.Image, r.Reference, r.Mirrors}
	}
	if d.RunImage != nil && d.RunImage.Image == "" && layers.Stack != nil { // made before Platform API 0.12
		d.RunImage.Image, d.RunImage.Mirrors = layers.Stack.RunImage.Image, layers.Stack.RunImage.Mirrors
	}
	if err == nil && layers.BOM != nil {
		d.SBOM = layers.BOM.SHA
	}
	d.Layers = inspectLayers(ctx, m, img, layers)
	return d
}

func buildMetadata(img *image.Image) (b cnb.BuildMetadata, ok bool) {
	text := img.Label(cnb.LabelBuildMetadata)
	return b, text != "" && json.Unmarshal([]byte(text), &b) == nil
}

// imageProcesses is the process types that an image has.
func imageProcesses(img *image.Image) (names []string) {
	b, _ := buildMetadata(img)
	for _, p := range b.Processes {
		names = append(names, string(p.Type))
	}
	return names
}

func describeProcesses(b cnb.BuildMetadata, entrypoint []string) []process {
	out := []process{}
	for _, p := range b.Processes {
		one := process{
			Type: string(p.Type), Command: p.Command, Args: p.Args, WorkingDir: p.WorkingDir, Buildpack: p.BuildpackID,
			Default: len(entrypoint) == 1 && strings.TrimSuffix(entrypoint[0][strings.LastIndexByte(entrypoint[0], '/')+1:], ".exe") == string(p.Type),
		}
		out = append(out, one)
	}
	return out
}

// inspectLayers lists the layers from the base up, with what each one is for.
func inspectLayers(ctx context.Context, m *platform.Machine, img *image.Image, meta cnb.LayersMetadata) []inspectedLayer {
	names := layerNames(meta)
	sizes := layerSizes(ctx, m, img)
	base := meta.RunImage.TopLayer != ""
	out := []inspectedLayer{}
	for i, h := range img.Config.RootFS.DiffIDs {
		l := inspectedLayer{What: names[h.String()], DiffID: h.String()}
		switch {
		case base:
			l.What = "run image"
		case l.What == "":
			l.What = "-"
		}
		if l.DiffID == meta.RunImage.TopLayer {
			base = false
		}
		if i < len(sizes) {
			l.Digest, l.Size = sizes[i].Digest, sizes[i].Size
		}
		out = append(out, l)
	}
	return out
}

// layerNames says by diffID what a layer of an app image is.
func layerNames(meta cnb.LayersMetadata) map[string]string {
	out := map[string]string{
		meta.Config.SHA: "build configuration", meta.Launcher.SHA: "launcher", meta.ProcessTypes.SHA: "process types",
	}
	if meta.BOM != nil {
		out[meta.BOM.SHA] = "bill of materials"
	}
	for _, s := range meta.App {
		out[s.SHA] = "app"
	}
	for _, b := range meta.Buildpacks {
		for name, l := range b.Layers {
			out[l.SHA] = string(b.ID) + ":" + name
		}
	}
	delete(out, "")
	return out
}

// layerSizes is digest and size of each layer: from the manifest, or for an image in Docker, which knows no
// manifest, the sizes that Docker tells.
func layerSizes(ctx context.Context, m *platform.Machine, img *image.Image) (out []inspectedLayer) {
	if img.Kind != image.KindEngine {
		manifest, err := img.Manifest()
		if err != nil {
			return nil
		}
		for _, l := range manifest.Layers {
			out = append(out, inspectedLayer{Digest: l.Digest.String(), Size: l.Size})
		}
		return out
	}
	if m.Docker == nil {
		return nil
	}
	steps, err := m.Docker.History(ctx, img.EngineID)
	if err != nil {
		return nil
	}
	n := len(img.Config.RootFS.DiffIDs)
	if len(steps) != n {
		// Steps that made no layer are listed too, without a size.
		steps = slices.DeleteFunc(steps, func(s docker.Step) bool { return s.Size == 0 })
	}
	if len(steps) != n {
		return nil
	}
	for _, s := range steps {
		out = append(out, inspectedLayer{Size: s.Size})
	}
	return out
}
