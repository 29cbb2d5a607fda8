package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/builder/cnb"
)

// GenerateInput is what Generate works on. Group and Plan come from Detect, Analyzed from Analyze.
type GenerateInput struct {
	PlatformAPI cnb.API
	Dirs        Dirs      // Generated has to be set
	Group       cnb.Group // its buildpacks play no part
	Plan        cnb.Plan
	Analyzed    cnb.Analyzed
	RunImages   []cnb.RunImageName // of run.toml
	Target      cnb.Target         // of the run image that was analyzed
	StackID     string
	ExecEnv     string
	Env         []string
	Catalog     ExtensionCatalog
	Runner      Runner
	Emit        func(Event)
	Stdio       func(cnb.Ref) (stdout, stderr io.Writer)
}

// The images that an extension may extend.
const (
	DockerfileBuild = "build"
	DockerfileRun   = "run"
)

// A Dockerfile is one that an extension left, found in order.
type Dockerfile struct {
	Extension cnb.Ref `json:"extension"`
	Kind      string  `json:"kind"`           // DockerfileBuild or DockerfileRun
	Base      string  `json:"base,omitempty"` // the run image that it switches to, "" for none
	Extend    bool    `json:"extend,omitempty"`
	// Ignored is set where a later run.Dockerfile switches the run image, so that nothing of this one is left.
	Ignored bool `json:"ignored,omitempty"`
}

// Generated is the outcome of Generate.
type Generated struct {
	// Analyzed has the run image that the extensions chose. A new one is known by name only: Reference is that
	// name and Target is nil until somebody has looked at it.
	Analyzed cnb.Analyzed `json:"analyzed"`
	Plan     cnb.Plan     `json:"plan"` // without what extensions provide
	// Dockerfiles are all that were found, each extension's in group order. They lie in <generated>, where an
	// extender finds them: from Platform API 0.13 on at <id>/{build,run}.Dockerfile with extend-config.toml and the
	// contexts beside them, before that at {build,run}/<id>/Dockerfile; an ignored one has ".ignore" behind it.
	Dockerfiles []Dockerfile `json:"dockerfiles"`
}

// Generate runs bin/generate of every extension of the group in order, or takes what the extension has in its
// place, and writes what an extender needs to <generated> (image_extension, "Phase: Generation"). An extension that
// fails is an *ExitError or *StartError, a file of its that the spec does not allow an *OutputError.
//
// Where the reference lifecycle does otherwise: from Platform API 0.13 on it leaves generate/ of an extension without
// bin/generate where it is, so that its extender does not find it, and renames an ignored Dockerfile there. It
// takes any word behind FROM for a run image, and does not pass CNB_EXEC_ENV.
func Generate(ctx context.Context, in GenerateInput) (*Generated, error) {
	out, err := generate(ctx, in)
	return out, inPhase(PhaseGenerate, err)
}

func generate(ctx context.Context, in GenerateInput) (*Generated, error) {
	if !in.PlatformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return nil, &APIError{API: in.PlatformAPI}
	}
	extensions := slices.DeleteFunc(slices.Clone(in.Group.Elements), func(e cnb.GroupElement) bool { return !e.Extension })
	if err := ownDirs(extensions); err != nil {
		return nil, err
	}
	e, err := newExecution(in.Dirs, in.PlatformAPI, in.Env, in.StackID, in.ExecEnv, in.Target)
	if err != nil {
		return nil, err
	}
	g := &generation{in: in, emit: emitter(in.Emit), env: e, plan: in.Plan}
	if g.generated, err = openGenerated(in.Dirs); err != nil {
		return nil, err
	}
	defer g.generated.Close()
	if g.scratch, err = os.OpenRoot(in.Dirs.Host(in.Dirs.scratch())); err != nil {
		return nil, fmt.Errorf("open the directory for buildpack plans: %w", err)
	}
	defer g.scratch.Close()
	for _, el := range extensions {
		if err := g.step(ctx, el.Ref); err != nil {
			return nil, err
		}
	}
	base, extend := g.runImage()
	for _, o := range g.outputs {
		if err := g.place(o); err != nil {
			return nil, fmt.Errorf("write the Dockerfiles of extension %s: %w", o.d.Ref, err)
		}
	}
	out := &Generated{Analyzed: g.analyzed(base, extend), Plan: g.plan}
	for _, o := range g.outputs {
		for _, f := range o.files {
			out.Dockerfiles = append(out.Dockerfiles, f.Dockerfile)
		}
	}
	return out, nil
}

// ownDirs makes sure that no two extensions share a directory: "a/b" and "a_b" would.
func ownDirs(extensions []cnb.GroupElement) error {
	seen := map[string]cnb.Ref{}
	for _, e := range extensions {
		if other, ok := seen[e.ID.Dir()]; ok {
			return fmt.Errorf("extensions %s and %s would share the directory %s: leave one out", other, e.Ref, e.ID.Dir())
		}
		seen[e.ID.Dir()] = e.Ref
	}
	return nil
}

// openGenerated makes <generated> where it is not there. A link in its place is refused: a bin/detect may have
// put it there.
func openGenerated(dirs Dirs) (*os.Root, error) {
	if dirs.Generated == "" {
		return nil, errors.New("generate: no directory for Dockerfiles is given")
	}
	parent := dirs.Host(path.Dir(dirs.Generated))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory for Dockerfiles: %w", err)
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return nil, fmt.Errorf("open the directory for Dockerfiles: %w", err)
	}
	defer root.Close()
	if err := dirs.ownDir(root, path.Base(dirs.Generated)); err != nil {
		return nil, fmt.Errorf("make the directory for Dockerfiles: %w", err)
	}
	return root.OpenRoot(path.Base(dirs.Generated))
}

// runImage decides on the run image (platform, "detector"): the last run.Dockerfile that names one wins, and those
// before it count for nothing.
func (g *generation) runImage() (base string, extend bool) {
	for i := len(g.outputs) - 1; i >= 0; i-- {
		for j := range g.outputs[i].files {
			f := &g.outputs[i].files[j]
			switch {
			case f.Kind != DockerfileRun:
			case base != "":
				f.Ignored = true
			default:
				base, extend = f.Base, extend || f.Extend
			}
		}
	}
	return base, extend
}

// analyzed is what is known of the run image now. Before Platform API 0.12 naming the same image is a change too.
func (g *generation) analyzed(base string, extend bool) cnb.Analyzed {
	out := g.in.Analyzed
	var run cnb.RunImage
	if out.RunImage != nil {
		run = *out.RunImage
	}
	if base != "" && (base != run.Image || !g.in.PlatformAPI.AtLeast(0, 12)) {
		if !slices.ContainsFunc(g.in.RunImages, func(n cnb.RunImageName) bool { return NamesRunImage(n, base) }) {
			g.emit(Event{Kind: EventWarning, Text: fmt.Sprintf("new runtime base image '%s' not found in run metadata", base)})
		}
		out.RunImage = &cnb.RunImage{Reference: base, Image: base, Extend: extend}
		return out
	}
	if extend && out.RunImage != nil {
		run.Extend = true
		out.RunImage = &run
	}
	return out
}

// NamesRunImage tells whether ref is the run image n or one of its mirrors, whatever ref's digest (platform, "run.toml").
func NamesRunImage(n cnb.RunImageName, ref string) bool {
	ref = tagged(ref)
	return slices.ContainsFunc(append([]string{n.Image}, n.Mirrors...), func(s string) bool { return tagged(s) == ref })
}

// tagged is the whole name with its tag, without a digest. What is no name stays as it is.
func tagged(ref string) string {
	plain, _, _ := strings.Cut(ref, "@sha256:")
	r, err := name.ParseReference(plain, name.WeakValidation)
	if err != nil {
		return ref
	}
	return r.Name()
}
