package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) builderCommand() *cobra.Command {
	return group("builder", "Make and inspect builder images", a.createBuilderCommand(), a.inspectBuilderCommand())
}

func (a *app) createBuilderCommand() *cobra.Command {
	var o platform.CreateOptions
	var out, pull string
	var publish bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a builder image from builder.toml",
		Example: `  slipway builder create slipway/builder --config builder.toml
  slipway builder create registry.example.com/builder -c builder.toml --publish`,
		Args: wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Name, o.Output, err = output(args[0], out, publish); err != nil {
				return err
			}
			s, err := a.config()
			if err != nil {
				return err
			}
			if o.Pull, err = a.pullPolicy(pull, s); err != nil {
				return err
			}
			return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error { return a.createBuilder(ctx, m, o) })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Config, "config", "c", "builder.toml", "recipe of the builder")
	f.StringSliceVar(&o.Tags, "tag", nil, "further name of the builder; repeatable")
	f.BoolVar(&publish, "publish", false, "write it to the registry in its name")
	f.StringVar(&out, "output", "", "where it goes: docker, store, registry or oci:DIR (default the store and Docker)")
	f.StringVar(&pull, "pull-policy", "", "always, if-not-present or never")
	a.registryFlags(cmd)
	return cmd
}

func (a *app) createBuilder(ctx context.Context, m *platform.Machine, o platform.CreateOptions) error {
	started := time.Now()
	w, err := platform.CreateBuilder(ctx, m, o)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"name": o.Name, "digest": w.Digest.String(), "imageID": w.ID.String()}, func(out io.Writer) {
		if a.quiet {
			fmt.Fprintf(out, "%s@%s\n", o.Name, w.Digest)
			return
		}
		paint := a.paint(out)
		fmt.Fprintf(out, "%s\n  digest    %s\n  where     %s\n  time      %s\n", paint.good.Render(fmt.Sprintf("Successfully created builder image '%s'", o.Name)), w.Digest, builderPlace(o, m.Engine != nil), transcript.Duration(time.Since(started)))
	})
}

// builderPlace says where a new builder is.
func builderPlace(o platform.CreateOptions, docker bool) string {
	switch {
	case o.Output.Publish:
		return "the registry, as " + o.Name
	case o.Output.OCI != "":
		return "the OCI layout directory " + o.Output.OCI
	case docker && !o.Output.Store:
		return "the local image store and Docker, as " + o.Name
	}
	return "the local image store, as " + o.Name
}

func (a *app) inspectBuilderCommand() *cobra.Command {
	var pull string
	cmd := &cobra.Command{
		Use: "inspect [NAME]", Short: "Show a builder: its buildpacks, their order, its run images",
		Long: "Show a builder: its buildpacks, their order, its run images. Without NAME, the default one.",
		Args: wants("[NAME]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.config()
			if err != nil {
				return err
			}
			name := a.defaultBuilder(s)
			if len(args) > 0 {
				name = args[0]
			}
			return a.withImage(cmd.Context(), name, pull, func(_ context.Context, _ *platform.Machine, img *image.Image) error {
				b, err := inspectBuilder(name, img)
				if err != nil {
					return err
				}
				return a.print(b, b.human)
			})
		},
	}
	cmd.Flags().StringVar(&pull, "pull-policy", "", "always, if-not-present or never")
	a.registryFlags(cmd)
	return cmd
}

// inspectedBuilder is what builder inspect tells.
type inspectedBuilder struct {
	Name        string                `json:"name"`
	Where       image.Kind            `json:"where"`
	Reference   string                `json:"reference"`
	ID          string                `json:"imageID"`
	Platform    string                `json:"platform"`
	Created     time.Time             `json:"created"`
	Description string                `json:"description,omitempty"`
	CreatedBy   cnb.Creator           `json:"createdBy"`
	StackID     string                `json:"stackID,omitempty"`
	Lifecycle   cnb.BuilderLifecycle  `json:"lifecycle"`
	RunImages   []cnb.BuilderRunImage `json:"runImages"`
	Buildpacks  []cnb.ModuleInfo      `json:"buildpacks"`
	Order       cnb.Order             `json:"order"`
	System      cnb.SystemLabel       `json:"system,omitzero"`

	layers cnb.BuildpackLayersLabel // for the own orders of composite buildpacks
	shown  map[cnb.Ref]bool         // whose own order has been written
}

func inspectBuilder(name string, img *image.Image) (*inspectedBuilder, error) {
	var meta cnb.BuilderMetadata
	b := &inspectedBuilder{
		Name: name, Where: img.Kind, Reference: img.Reference, ID: img.ID.String(), Platform: img.Platform().String(),
		Created: img.Config.Created.Time, StackID: img.Label(cnb.LabelStackID), shown: map[cnb.Ref]bool{},
	}
	if img.Label(cnb.LabelBuilderMetadata) == "" {
		return nil, fmt.Errorf("image %s is not a builder: it has no label %s", name, cnb.LabelBuilderMetadata)
	}
	for _, l := range []struct {
		key string
		v   any
	}{
		{cnb.LabelBuilderMetadata, &meta},
		{cnb.LabelBuildpackOrder, &b.Order},
		{cnb.LabelBuildpackLayers, &b.layers},
		{cnb.LabelBuildpackSystem, &b.System},
	} {
		text := img.Label(l.key)
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), l.v); err != nil {
			return nil, fmt.Errorf("builder %s: label %s: %w", name, l.key, err)
		}
	}
	b.Description, b.CreatedBy, b.Lifecycle = meta.Description, meta.CreatedBy, meta.Lifecycle
	b.RunImages, b.Buildpacks = meta.RunImages, meta.Buildpacks
	if len(b.RunImages) == 0 && meta.Stack.RunImage.Image != "" {
		b.RunImages = []cnb.BuilderRunImage{meta.Stack.RunImage}
	}
	return b, nil
}

func (b *inspectedBuilder) human(w io.Writer) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s %s\n", name, transcript.Clean(value, false))
		}
	}
	row("Builder", b.Name)
	row("Found in", string(b.Where))
	row("Description", b.Description)
	row("Reference", b.Reference)
	row("Platform", b.Platform)
	row("Stack", b.StackID)
	row("Created by", strings.TrimSpace(b.CreatedBy.Name+" "+b.CreatedBy.Version))
	row("Lifecycle", orText(b.Lifecycle.Version, "brought by slipway"))
	for i, r := range b.RunImages {
		row(map[bool]string{true: "Run image", false: ""}[i == 0], strings.Join(append([]string{r.Image}, r.Mirrors...), ", "))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nBUILDPACK\tVERSION\tNAME\tHOMEPAGE")
	for _, m := range b.Buildpacks {
		fmt.Fprintln(t, cells(string(m.ID), m.Version, orText(m.Name, "-"), orText(m.Homepage, "-")))
	}
	_ = t.Flush()
	fmt.Fprintln(w, "\nDETECTION ORDER")
	for i, g := range b.Order {
		fmt.Fprintf(w, " group %d\n", i+1)
		b.group(w, g, 2)
	}
	for _, s := range []struct {
		name string
		list []cnb.GroupElement
	}{{"before every group", b.System.Pre.Buildpacks}, {"after every group", b.System.Post.Buildpacks}} {
		if len(s.list) > 0 {
			fmt.Fprintf(w, " %s\n", s.name)
			b.group(w, cnb.Group{Elements: s.list}, 2)
		}
	}
}

// group writes one group. The own order of a composite buildpack is written where it is first met: a label may
// go in circles.
func (b *inspectedBuilder) group(w io.Writer, g cnb.Group, depth int) {
	for _, e := range g.Elements {
		optional := ""
		if e.Optional {
			optional = " (optional)"
		}
		fmt.Fprintf(w, "%s%s%s\n", strings.Repeat("  ", depth), transcript.Clean(e.Ref.String(), false), optional)
		ref, info, ok := b.layers.Find(e.Ref)
		if !ok || b.shown[ref] {
			continue
		}
		b.shown[ref] = true
		for i, inner := range info.Order {
			fmt.Fprintf(w, "%sgroup %d\n", strings.Repeat("  ", depth+1), i+1)
			b.group(w, inner, depth+2)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
