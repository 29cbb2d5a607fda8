package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) tryBuildpackCommand() *cobra.Command {
	var f workshopFlags
	var diff, files bool
	cmd := &cobra.Command{
		Use: "build [DIR...]", Short: "Build an app with buildpacks, and tell what they left instead of making an image",
		Long: `Build an app with buildpacks and tell what they left: plan, layers with their flags and
variables, processes, labels, SBOM files, sizes. No image is made. What is cached and what an
image would keep is there for the next run over the same app, which tells of each layer
whether it was reused: untouched (restored, and nothing was written to it), same (made again,
with the same files), kept (the image's would be taken), changed or new.

` + workshopArgs,
		Example: `  slipway buildpack build ./my-buildpack --app ./my-app
  slipway buildpack build ./my-buildpack --app ./my-app --diff --watch
  slipway buildpack build ./jdk ./maven --app ./my-app --files --output-format json`,
		Args: wants("[DIR...]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.workshop(cmd.Context(), &f, args, func(ctx context.Context, m *platform.Machine, o platform.Options) error {
				return a.tryBuildpacks(ctx, m, o, diff, files)
			})
		},
	}
	f.add(cmd)
	s := cmd.Flags()
	s.BoolVar(&diff, "diff", false, "show what is other than in the run before")
	s.BoolVar(&files, "files", false, "show the files of layers")
	s.BoolVar(&f.clearCache, "clear-cache", false, "forget what earlier runs kept")
	a.registryFlags(cmd)
	return cmd
}

// triedResult is a run as JSON has it.
type triedResult struct {
	*platform.Tried
	Diff *platform.TriedDiff `json:"diff,omitempty"`
}

func (a *app) tryBuildpacks(ctx context.Context, m *platform.Machine, o platform.Options, diff, files bool) error {
	v := view(&quietView{out: io.Discard, warn: a.warn})
	if !a.data() {
		v = a.view()
	}
	defer v.close()
	t, err := platform.Try(ctx, m, o, v)
	v.close()
	if err != nil {
		return adviseBuilder(o, err)
	}
	r := triedResult{Tried: t}
	if diff && t.Last != nil {
		d := t.Since(t.Last)
		r.Diff = &d
	}
	if !files {
		r.Tried = withoutFiles(t)
	}
	return a.print(r, func(w io.Writer) {
		text := triedText{w, a.paint(w), files}
		text.write(t)
		switch {
		case diff && t.Last == nil:
			text.line("%s", text.paint.faint.Render("The first run: there is none to compare with."))
		case diff:
			text.diff(*r.Diff)
		}
	})
}

// withoutFiles leaves the files of layers out, which may be many.
func withoutFiles(t *platform.Tried) *platform.Tried {
	short := *t
	short.Buildpacks = slices.Clone(t.Buildpacks)
	for i, b := range short.Buildpacks {
		short.Buildpacks[i].Layers = slices.Clone(b.Layers)
		for k := range b.Layers {
			short.Buildpacks[i].Layers[k].Files = nil
		}
	}
	return &short
}

// triedText writes what buildpacks left for people.
type triedText struct {
	w     io.Writer
	paint paint
	files bool
}

func (t triedText) line(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

func (t triedText) head(format string, args ...any) {
	t.line("%s", t.paint.head.Render(fmt.Sprintf(format, args...)))
}

func (t triedText) write(r *platform.Tried) {
	t.head("Plan")
	if len(r.Plan.Entries) == 0 {
		t.line("  nothing is required")
	}
	detectionText{w: t.w, paint: t.paint}.plan(builder.GroupVerdict{Plan: &r.Plan})
	for _, b := range r.Buildpacks {
		t.head("%s, %s", clean(b.Buildpack.String()), transcript.Duration(b.Took))
		t.layers(b)
	}
	if len(r.Processes) > 0 {
		t.head("Processes")
	}
	for _, p := range r.Processes {
		name := string(p.Type)
		if p.Default {
			name += " (default)"
		}
		t.line("  %s: %s", clean(name), clean(strings.Join(slices.Concat(p.Command, p.Args), " ")))
	}
	if len(r.Labels) > 0 {
		t.head("Labels")
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		t.line("  %s=%s", clean(k), clean(r.Labels[k]))
	}
	if len(r.SBOMs) > 0 {
		t.head("SBOM files")
	}
	for _, s := range r.SBOMs {
		of := "the build"
		switch {
		case s.Layer != "":
			of = "layer " + string(s.Layer)
		case s.Launch:
			of = "the launch image"
		}
		t.line("  %s of %s, by %s", s.Format, clean(of), clean(s.Buildpack.String()))
	}
}

func (t triedText) layers(b platform.TriedBuildpack) {
	var rows [][]string
	for _, l := range b.Layers {
		rows = append(rows, []string{string(l.Name), flagsText(l), l.How, fmt.Sprint(l.Count), transcript.Bytes(l.Bytes)})
	}
	if len(rows) == 0 {
		t.line("  no layers")
		return
	}
	indented(t.w, "LAYER FOR REUSE FILES SIZE", rows)
	for _, l := range b.Layers {
		for _, at := range slices.Sorted(maps.Keys(l.Env)) {
			t.line("  %s: %s=%s", clean(string(l.Name)), clean(at), clean(oneText(l.Env[at])))
		}
		for _, k := range slices.Sorted(maps.Keys(l.Metadata)) {
			t.line("  %s: metadata %s = %s", clean(string(l.Name)), clean(k), clean(oneText(fmt.Sprint(l.Metadata[k]))))
		}
		if !t.files {
			continue
		}
		for _, f := range l.Files {
			t.line("  %s %8s %s", f.Mode, transcript.Bytes(f.Size), clean(string(l.Name)+"/"+f.Path+arrow(f.Link)))
		}
	}
}

func arrow(link string) string {
	if link == "" {
		return ""
	}
	return " -> " + link
}

// flagsText is what a layer is for.
func flagsText(l platform.TriedLayer) string {
	var parts []string
	for _, f := range []struct {
		on   bool
		name string
	}{{l.Launch, "launch"}, {l.Build, "build"}, {l.Cache, "cache"}} {
		if f.on {
			parts = append(parts, f.name)
		}
	}
	return strings.Join(parts, ",")
}

// oneText is a value in one line that is not too long.
func oneText(s string) string {
	s = strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\\n")
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "..."
	}
	return s
}

// diff shows what is other than before.
func (t triedText) diff(d platform.TriedDiff) {
	t.head("Since the run before")
	if d.Empty() {
		t.line("  nothing changed")
		return
	}
	for _, c := range d.Changes {
		t.line("  %s", t.change(c))
	}
	if d.BytesBefore != d.Bytes {
		t.line("  size of all layers: %s -> %s", transcript.Bytes(d.BytesBefore), transcript.Bytes(d.Bytes))
	}
}

func (t triedText) change(c platform.TriedChange) string {
	text := clean(c.What)
	switch {
	case c.Before == "" && c.After == "":
	case c.Before == "":
		text += ": " + clean(oneText(c.After))
	case c.After == "":
		text += ": was " + clean(oneText(c.Before))
	default:
		text += ": " + clean(oneText(c.Before)) + " -> " + clean(oneText(c.After))
	}
	switch c.Kind {
	case platform.ChangeAdded:
		return t.paint.good.UnsetBold().Render("+ " + text)
	case platform.ChangeRemoved:
		return t.paint.bad.UnsetBold().Render("- " + text)
	}
	return t.paint.warn.Render("~ " + text)
}
