package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) inspectBuildpackCommand() *cobra.Command {
	var l platform.Lookup
	var pull string
	depth := -1
	cmd := &cobra.Command{
		Use: "inspect BUILDPACK", Short: "Show a buildpack: what it is, what it is composed of, what it weighs",
		Long: `Show a buildpack: what it is, where it runs, what it is composed of and in which order,
and what its layers weigh. BUILDPACK is a directory, a .cnb file or an archive, a URL of
one, an image, or NS/NAME[@VERSION] of an index. No layer is fetched.`,
		Example: `  slipway buildpack inspect ./java
  slipway buildpack inspect paketo-buildpacks/java@^20 --depth 1
  slipway buildpack inspect registry.example.com/acme/java:1 --target linux/arm64 --output json`,
		Args: wants("BUILDPACK"), Annotations: map[string]string{moreFormats: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			l.Arg = args[0]
			return a.withLookup(cmd.Context(), &l, pull, func(ctx context.Context, m *platform.Machine) error {
				info, err := platform.InspectBuildpack(ctx, m, l)
				if err != nil {
					return err
				}
				a.warnYanked(info.Index)
				d := inspectedOf(l.Arg, info, depth)
				return a.print(d, d.human)
			})
		},
	}
	f := cmd.Flags()
	f.IntVarP(&depth, "depth", "d", -1, "how many levels of its order are shown (default all)")
	f.StringVarP(&l.Target, "target", "t", "", "`OS/ARCH[/VARIANT]` of a package for several (default this machine's)")
	f.StringVar(&pull, "pull-policy", "", "always, if-not-present or never")
	f.StringVar(&a.format, "output", "human", "the same as --output-format: human, json, yaml or toml")
	a.registryFlags(cmd)
	return cmd
}

// withLookup runs do with the machine and with what is asked of registries.
func (a *app) withLookup(ctx context.Context, l *platform.Lookup, pull string, do func(context.Context, *platform.Machine) error) error {
	s, err := a.config()
	if err != nil {
		return err
	}
	if l.Pull, err = a.pullPolicy(pull, s); err != nil {
		return err
	}
	return a.withMachine(ctx, do)
}

func (a *app) warnYanked(r *index.Resolution) {
	if r != nil && r.Yanked {
		a.note("buildpack %s@%s is yanked in index %s: its author wants nobody to use it", r.Buildpack, r.Version, r.Index)
	}
}

// inspectedBuildpack is a buildpack as it is shown.
type inspectedBuildpack struct {
	Buildpack string `json:"buildpack"` // as it was asked for
	Where     string `json:"where"`
	Image     string `json:"image,omitempty"`
	Platform  string `json:"platform,omitempty"`
	// Platforms are all of an image that is for several.
	Platforms []string          `json:"platforms,omitempty"`
	Index     *index.Resolution `json:"index,omitempty"`
	cnb.ModuleInfo
	API        string                `json:"api"`
	Stacks     []cnb.Stack           `json:"stacks"`
	Targets    []cnb.Target          `json:"targets"`
	Order      []platform.OrderGroup `json:"order"`
	Buildpacks []packagedBuildpack   `json:"buildpacks"`
	Layers     []packageLayer        `json:"layers"`
	Size       int64                 `json:"size"`
}

// packagedBuildpack is one buildpack of a package.
type packagedBuildpack struct {
	ID       cnb.ID       `json:"id"`
	Version  string       `json:"version"`
	Name     string       `json:"name,omitempty"`
	API      string       `json:"api"`
	Homepage string       `json:"homepage,omitempty"`
	Stacks   []cnb.Stack  `json:"stacks,omitempty"`
	Targets  []cnb.Target `json:"targets,omitempty"`
	Layer    string       `json:"layer,omitempty"` // diffID
}

type packageLayer struct {
	DiffID     string   `json:"diffID"`
	Digest     string   `json:"digest,omitempty"`
	Size       int64    `json:"size"`
	Buildpacks []string `json:"buildpacks"`
}

func inspectedOf(arg string, i *platform.PackageInfo, depth int) *inspectedBuildpack {
	d := &inspectedBuildpack{
		Buildpack: arg, Where: i.Where, Image: i.Image, Platform: i.Platform, Platforms: i.Platforms, Index: i.Index, ModuleInfo: i.Main.ModuleInfo,
		Stacks: i.Main.Stacks, Order: i.Order(depth), Buildpacks: []packagedBuildpack{}, Layers: []packageLayer{}, Targets: []cnb.Target{},
	}
	if d.Where == string(image.KindLayout) {
		d.Where = "file"
	}
	for id, versions := range i.Buildpacks {
		for version, b := range versions {
			d.Buildpacks = append(d.Buildpacks, packagedBuildpack{id, version, b.Name, b.API.String(), b.Homepage, b.Stacks, b.Targets, b.LayerDiffID})
			if id == i.Main.ID && version == i.Main.Version {
				d.API, d.Targets = b.API.String(), append(d.Targets, b.Targets...)
			}
		}
	}
	slices.SortFunc(d.Buildpacks, func(a, b packagedBuildpack) int {
		return strings.Compare(string(a.ID)+"@"+a.Version, string(b.ID)+"@"+b.Version)
	})
	for _, l := range i.Layers {
		p := packageLayer{DiffID: l.DiffID, Digest: l.Digest, Size: l.Size, Buildpacks: []string{}}
		for _, r := range l.Buildpacks {
			p.Buildpacks = append(p.Buildpacks, r.String())
		}
		d.Size += l.Size
		d.Layers = append(d.Layers, p)
	}
	return d
}

func (d *inspectedBuildpack) human(w io.Writer) {
	row := rows(w)
	row("Buildpack", string(d.ID)+"@"+d.Version)
	row("Name", d.Name)
	row("Description", d.Description)
	row("Homepage", d.Homepage)
	row("Licenses", licenceText(d.Licenses))
	row("API", d.API)
	row("Where", d.Where)
	row("Image", d.Image)
	if d.Index != nil {
		row("Index", strings.TrimSpace(fmt.Sprintf("%s %.12s", d.Index.Index, d.Index.Revision)))
	}
	row("Platform", strings.Join(append([]string{d.Platform}, without(d.Platforms, []string{d.Platform})...), ", "))
	var stacks, targets []string
	for _, s := range d.Stacks {
		stacks = append(stacks, s.ID)
	}
	for _, t := range d.Targets {
		targets = append(targets, t.String())
	}
	row("Stacks", strings.Join(stacks, ", "))
	row("Targets", strings.Join(targets, ", "))
	if len(d.Order) > 0 {
		fmt.Fprintln(w, "\nOrder")
		showOrder(w, d.Order, "  ")
	}
	var lines [][]string
	for _, b := range d.Buildpacks {
		lines = append(lines, []string{string(b.ID) + "@" + b.Version, b.API, orText(b.Name, "-"), orText(b.Homepage, "-")})
	}
	fmt.Fprintln(w)
	table(w, "BUILDPACK API NAME HOMEPAGE", lines)
	if len(d.Layers) == 0 {
		return
	}
	lines = nil
	for _, l := range d.Layers {
		lines = append(lines, []string{fmt.Sprintf("%.19s", l.DiffID), transcript.Bytes(l.Size), orText(strings.Join(l.Buildpacks, ", "), "-")})
	}
	fmt.Fprintln(w)
	table(w, "LAYER SIZE BUILDPACKS", append(lines, []string{"", transcript.Bytes(d.Size), fmt.Sprintf("%d in %d layers", len(d.Buildpacks), len(d.Layers))}))
}

func licenceText(all []cnb.License) string {
	var out []string
	for _, l := range all {
		out = append(out, orText(l.Type, l.URI))
	}
	return strings.Join(out, ", ")
}

// showOrder draws what an order is composed of as a tree.
func showOrder(w io.Writer, order []platform.OrderGroup, indent string) {
	for i, g := range order {
		if len(order) > 1 {
			fmt.Fprintf(w, "%sgroup %d\n", indent, i+1)
		}
		for j, p := range g {
			branch, below := "├ ", "│ "
			if j == len(g)-1 {
				branch, below = "└ ", "  "
			}
			text := string(p.ID)
			if p.Version != "" {
				text += "@" + p.Version
			}
			if p.Optional {
				text += " (optional)"
			}
			if p.Note != "" {
				text = strings.TrimSpace(text + " [" + p.Note + "]")
			}
			fmt.Fprintf(w, "%s%s%s\n", indent, branch, transcript.Clean(text, false))
			showOrder(w, p.Order, indent+below)
		}
	}
}
