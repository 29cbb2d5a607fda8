package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// outlook is what a rebase would do now.
type outlook struct {
	*platform.RebasePlan
	Unknown string `json:"unknown,omitempty"` // why nobody can say
}

// outlookTime bounds how long a run image is looked for, of which the page only tells by the way.
const outlookTime = 5 * time.Second

// outlook looks for the newest run image of a built image, where pull lets it.
func (a *app) outlook(ctx context.Context, m *platform.Machine, img *image.Image, pull string) *outlook {
	if img.Label(cnb.LabelLifecycleMetadata) == "" {
		return nil
	}
	s, err := a.config()
	if err != nil {
		return &outlook{Unknown: oneLine(err)}
	}
	o := platform.RebaseOptions{RunImageMirrors: s.RunImageMirrors}
	if o.Pull, err = a.pullPolicy(pull, s); err == nil {
		if img.Kind == image.KindRegistry && pull == "" {
			o.Pull = image.PullAlways
		}
		ctx, cancel := context.WithTimeout(ctx, outlookTime)
		defer cancel()
		var p platform.RebasePlan
		if p, err = platform.PlanRebase(ctx, m, img, o); err == nil {
			return &outlook{RebasePlan: &p}
		}
	}
	return &outlook{Unknown: oneLine(err)}
}

func (o *outlook) text() string {
	switch {
	case o == nil:
		return ""
	case o.Unknown != "":
		return "unknown: " + o.Unknown
	case o.Refused != "":
		return "refused: " + o.Refused
	case o.Current:
		return "nothing to do: it stands on what " + o.RunImageName + " is now"
	}
	return "would put it on " + o.RunImage
}

// elsewhere is what the name of a registry's image means on this machine.
type elsewhere struct {
	Where  image.Kind `json:"where"`
	Digest string     `json:"digest,omitempty"`
	ID     string     `json:"imageID"`
	Same   bool       `json:"same"`
}

func here(ctx context.Context, m *platform.Machine, img *image.Image) *elsewhere {
	local, err := (&image.Resolver{Images: m.Images, Engine: m.Engine, Policy: image.PullNever, Platform: img.Platform()}).ResolveRef(ctx, img.Ref)
	if err != nil {
		return nil
	}
	e := &elsewhere{Where: local.Kind, ID: local.ID.String(), Same: local.ID == img.ID}
	if local.EngineID != "" {
		e.Where = image.KindEngine
	}
	if local.Kind != image.KindEngine {
		e.Digest = local.ManifestDigest.String()
	}
	return e
}

func (e *elsewhere) text() string {
	switch {
	case e == nil:
		return ""
	case e.Same:
		return "the same image, in " + string(e.Where)
	}
	return fmt.Sprintf("another image, in %s: %s", e.Where, orText(e.Digest, e.ID))
}

// human writes the page for people. All of it is what an image says of itself, whoever made it.
func (d inspected) human(w io.Writer, verbose bool) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s %s\n", name, transcript.Clean(value, false))
		}
	}
	row("Image", d.Image)
	row("Found in", string(d.Where))
	row("Digest", d.Digest)
	row("Image ID", d.ID)
	row("Platform", d.Platform)
	row("User", d.User)
	row("Directory", d.WorkingDir)
	row("Exec env", d.ExecEnv)
	if d.RunImage != nil {
		row("Run image", orText(d.RunImage.Image, d.RunImage.Reference))
		if d.RunImage.Image != "" {
			row("", d.RunImage.Reference)
		}
		if len(d.RunImage.Mirrors) > 0 {
			row("Mirrors", strings.Join(d.RunImage.Mirrors, ", "))
		}
		row("Base", d.Base)
		row("Rebasable", map[bool]string{true: "yes", false: "no"}[d.Rebasable])
	}
	row("Rebase", d.Rebase.text())
	if d.Built {
		row("SBOM", map[bool]string{true: "yes (slipway sbom download)", false: "no"}[d.SBOM != ""])
	}
	row("Here", d.Here.text())
	if !d.Built {
		fmt.Fprintln(w, "\nThis image was not built with buildpacks.")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(d.Buildpacks) > 0 {
		fmt.Fprintln(t, "\nBUILDPACK\tVERSION\tHOMEPAGE")
		for _, b := range d.Buildpacks {
			fmt.Fprintln(t, cells(string(b.ID), b.Version, orText(b.Homepage, "-")))
		}
	}
	if len(d.Extensions) > 0 {
		fmt.Fprintln(t, "\nEXTENSION\tVERSION\tHOMEPAGE")
		for _, e := range d.Extensions {
			fmt.Fprintln(t, cells(string(e.ID), e.Version, orText(e.Homepage, "-")))
		}
	}
	if len(d.Processes) > 0 {
		fmt.Fprintln(t, "\nPROCESS\tCOMMAND\tDIRECTORY")
		for _, p := range d.Processes {
			name := p.Type
			if p.Default {
				name += " (default)"
			}
			fmt.Fprintln(t, cells(name, strings.Join(append(slices.Clone(p.Command), p.Args...), " "), orText(p.WorkingDir, d.WorkingDir)))
		}
	}
	fmt.Fprintln(t, "\nLAYER\tSIZE\tDIFF ID")
	for _, l := range d.Layers {
		size := "-"
		if l.Size > 0 {
			size = transcript.Bytes(l.Size)
		}
		fmt.Fprintln(t, cells(l.What, size, shortDigest(l.DiffID)))
	}
	_ = t.Flush()
	labels(w, d.Labels, verbose)
}

// labels lists labels, long ones in part.
func labels(w io.Writer, all map[string]string, verbose bool) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, "\nLABELS")
	for _, k := range sortedKeys(all) {
		v := transcript.Clean(all[k], false)
		if r := []rune(v); len(r) > 100 && !verbose {
			v = string(r[:100]) + "…"
		}
		fmt.Fprintf(w, "%s=%s\n", transcript.Clean(k, false), v)
	}
}
