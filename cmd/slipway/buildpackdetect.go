package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) detectBuildpackCommand() *cobra.Command {
	var f workshopFlags
	var explain bool
	cmd := &cobra.Command{
		Use: "detect [DIR...]", Short: "Run the detects of buildpacks over an app, and nothing else",
		Long: `Run the detects of buildpacks over an app and tell of every group what each buildpack
said, whether its plan works and why not, and which group a build takes. Groups after that
one are tried too.

` + workshopArgs + `

Exit codes are the lifecycle's: 20 where no group detected, 21 where besides a detect went
wrong.`,
		Example: `  slipway buildpack detect ./my-buildpack --app ./my-app
  slipway buildpack detect ./jdk ./maven --app ./my-app --explain
  slipway buildpack detect --builder slipway/builder --app ./my-app --watch`,
		Args: wants("[DIR...]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.workshop(cmd.Context(), &f, args, func(ctx context.Context, m *platform.Machine, o platform.Options) error {
				return a.detectBuildpacks(ctx, m, o, explain || a.verbose)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&explain, "explain", false, "show every trial: build plans, alternatives, the output of every detect")
	a.registryFlags(cmd)
	return cmd
}

// detectedResult is a detection as JSON has it.
type detectedResult struct {
	*platform.Detection
	Chosen int    `json:"chosen"` // number of the trial, from 1; 0 for none
	Error  string `json:"error,omitempty"`
	Code   int    `json:"code"`
}

func (a *app) detectBuildpacks(ctx context.Context, m *platform.Machine, o platform.Options, explain bool) error {
	d, err := platform.Detect(ctx, m, o, &quietView{out: io.Discard, warn: a.warn})
	if d == nil {
		return adviseBuilder(o, err)
	}
	r := detectedResult{Detection: d}
	for i, g := range d.Trials {
		if g.Chosen {
			r.Chosen = i + 1
		}
	}
	if err != nil {
		r.Code, r.Error = builder.ExitCode(err), oneLine(err)
	}
	perr := a.print(r, func(w io.Writer) { detectionText{w, a.paint(w), explain, a.quiet}.write(d) })
	switch {
	case perr != nil:
		return perr
	case err == nil:
		return nil
	}
	text := "no group of buildpacks detected"
	if r.Code == 21 {
		text += ", and detect went wrong"
	}
	return &statusError{code: r.Code, text: text, quiet: a.data()}
}

// detectionText writes a detection for people.
type detectionText struct {
	w       io.Writer
	paint   paint
	explain bool
	quiet   bool // the chosen group alone
}

func (t detectionText) line(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

func (t detectionText) write(d *platform.Detection) {
	if t.quiet {
		if g := d.Chosen(); g != nil {
			t.line("%s", clean(shortRefs(g.Kept)))
		}
		return
	}
	for i, g := range d.Trials {
		head := fmt.Sprintf("Group %d of %d", i+1, len(d.Trials))
		t.line("%s %s", t.paint.head.Render(head), t.verdict(d, g))
		t.buildpacks(g)
		if t.explain {
			t.trials(g)
		}
		t.plan(g)
	}
	t.outputs(d)
	if g := d.Chosen(); g != nil {
		t.line("%s %s", t.paint.good.Render("A build takes"), clean(shortRefs(g.Kept)))
	}
}

func (t detectionText) verdict(d *platform.Detection, g builder.GroupVerdict) string {
	switch {
	case g.Chosen:
		return t.paint.good.Render("chosen")
	case g.Plan != nil:
		return "would do, but an earlier group is chosen"
	}
	return t.paint.bad.Render("no") + ": " + clean(g.Reason)
}

// buildpacks is the table of a group.
func (t detectionText) buildpacks(g builder.GroupVerdict) {
	var lines [][]string
	for _, v := range g.Buildpacks {
		code, took := "", ""
		if v.Duration > 0 {
			code, took = fmt.Sprint(v.Code), transcript.Duration(v.Duration)
		}
		lines = append(lines, []string{v.Buildpack.String(), said(v), code, took, reason(g, v)})
	}
	indented(t.w, "BUILDPACK RESULT EXIT TIME REASON", lines)
}

// said is the answer of one buildpack as the lifecycle calls it: an optional one that said no is skipped.
func said(v builder.Verdict) string {
	switch {
	case v.Kind == builder.EventDetectPass:
		return "pass"
	case v.Kind == builder.EventDetectError:
		return "error"
	case v.Optional || v.Kind == builder.EventDetectSkip:
		return "skip"
	}
	return "fail"
}

func reason(g builder.GroupVerdict, v builder.Verdict) string {
	out := v.Reason
	if v.Kind == builder.EventDetectPass && g.Plan != nil && !slices.Contains(g.Kept, v.Buildpack) {
		out = "optional: its part of the plan is not met or not needed, so it is left out"
	}
	if v.Optional && v.Kind != builder.EventDetectPass {
		out = "optional: " + out
	}
	return out
}

// plan shows what a plan came to.
func (t detectionText) plan(g builder.GroupVerdict) {
	if g.Plan == nil {
		return
	}
	for _, e := range g.Plan.Entries {
		if len(e.Requires) == 0 {
			continue
		}
		var by []string
		for _, p := range e.Providers {
			by = append(by, p.Ref.String())
		}
		t.line("  plan: %s, provided by %s, required %s", clean(e.Requires[0].Name), clean(strings.Join(by, ", ")), times(len(e.Requires)))
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// trials shows what each buildpack wrote and how the alternatives fared.
func (t detectionText) trials(g builder.GroupVerdict) {
	for _, v := range g.Buildpacks {
		if v.Plan == nil {
			continue
		}
		for k := range 1 + len(v.Plan.Or) {
			s := v.Plan.PlanSections
			if k > 0 {
				s = v.Plan.Or[k-1]
			}
			if text := sectionsText(s); text != "" || len(v.Plan.Or) > 0 {
				t.line("  %s%s: %s", clean(v.Buildpack.String()), alternative(k), clean(orText(text, "nothing")))
			}
		}
	}
	for _, p := range g.Plans {
		var names []string
		for _, c := range p.Choices {
			name := c.Buildpack.String() + alternative(c.Alternative)
			if c.LeftOut {
				name += " (left out)"
			}
			names = append(names, name)
		}
		t.line("  tried %s: %s", clean(strings.Join(names, ", ")), clean(orText(p.Why, "works")))
	}
}

func alternative(k int) string {
	if k == 0 {
		return ""
	}
	return fmt.Sprintf(" [[or]] %d", k)
}

func sectionsText(s cnb.PlanSections) string {
	var parts []string
	for _, p := range s.Provides {
		parts = append(parts, "provides "+p.Name)
	}
	for _, r := range s.Requires {
		parts = append(parts, "requires "+r.Name)
	}
	return strings.Join(parts, ", ")
}

// outputs shows what detects printed: of those that did not pass, or of all.
func (t detectionText) outputs(d *platform.Detection) {
	shown := map[cnb.Ref]bool{}
	for _, g := range d.Trials {
		for _, v := range g.Buildpacks {
			text := d.Output[v.Buildpack.String()]
			if shown[v.Buildpack] || text == "" || v.Kind == builder.EventDetectPass && !t.explain {
				continue
			}
			shown[v.Buildpack] = true
			for line := range strings.Lines(text) {
				t.line("%s %s", t.paint.name.Render("["+string(v.Buildpack.ID)+"]"), transcript.Clean(strings.TrimRight(line, "\r\n"), t.paint.on))
			}
		}
	}
}

func clean(s string) string { return transcript.Clean(s, false) }
