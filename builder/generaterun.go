package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A generation is one Generate: what it works on, and what has come together so far.
type generation struct {
	in        GenerateInput
	emit      func(Event)
	env       execution
	plan      cnb.Plan // entries that no extension has met
	generated *os.Root
	scratch   *os.Root
	outputs   []generateOutput
}

// A generateOutput is what one extension left, in memory as far as it was judged.
type generateOutput struct {
	d        *cnb.Descriptor
	prepared bool // it lies in the extension and not in an output directory
	files    []generatedFile
	config   []byte   // extend-config.toml, nil where there is none
	contexts []string // names of directories
}

type generatedFile struct {
	Dockerfile
	text []byte
}

// ownOutput tells whether extensions write to <generated> itself.
func (g *generation) ownOutput() bool { return g.in.PlatformAPI.AtLeast(0, 13) }

// step runs one extension and takes in what it leaves.
func (g *generation) step(ctx context.Context, ref cnb.Ref) error {
	d, err := g.in.Catalog.Extension(ref)
	if err != nil {
		return err
	}
	if err := checkAPI(d); err != nil {
		return err
	}
	g.emit(Event{Kind: EventGenerateStart, Buildpack: d.Ref, Extension: true})
	required := entriesOf(g.plan, cnb.Provider{Ref: d.Ref, Extension: true})
	out, err := g.output(ctx, d, required)
	if err != nil {
		return err
	}
	g.outputs = append(g.outputs, out)
	g.plan = withoutMet(g.plan, namesOf(required))
	g.emit(Event{Kind: EventGenerateDone, Buildpack: d.Ref, Extension: true})
	return nil
}

// output is what an extension leaves in its output directory, or has in generate/.
func (g *generation) output(ctx context.Context, d *cnb.Descriptor, required []cnb.Require) (generateOutput, error) {
	if g.ownOutput() { // nothing of an earlier run is left
		if err := g.generated.RemoveAll(d.ID.Dir()); err != nil {
			return generateOutput{}, fmt.Errorf("empty the output directory of extension %s: %w", d.Ref, err)
		}
		if err := g.in.Dirs.ownDir(g.generated, d.ID.Dir()); err != nil {
			return generateOutput{}, fmt.Errorf("make the output directory of extension %s: %w", d.Ref, err)
		}
	}
	if !d.HasGenerate {
		dir := path.Join(d.Path, "generate")
		root, err := os.OpenRoot(g.in.Dirs.Host(dir))
		if errors.Is(err, fs.ErrNotExist) {
			return generateOutput{d: d, prepared: true}, nil
		}
		if err != nil {
			return generateOutput{}, fmt.Errorf("open the output of extension %s: %w", d.Ref, err)
		}
		defer root.Close()
		out, err := g.read(d, root, dir)
		out.prepared = true
		return out, err
	}
	dir, err := newScratchDir(g.in.Dirs, g.scratch, PhaseGenerate)
	if err != nil {
		return generateOutput{}, fmt.Errorf("make the plan of extension %s: %w", d.Ref, err)
	}
	defer dir.Close()
	defer g.scratch.RemoveAll(path.Base(dir.Name()))
	if err := writePlan(g.in.Dirs, dir, required); err != nil {
		return generateOutput{}, fmt.Errorf("write the plan of extension %s: %w", d.Ref, err)
	}
	seen := path.Join(g.in.Dirs.scratch(), path.Base(dir.Name()))
	parent, name, at := dir, "output", path.Join(seen, "output")
	if g.ownOutput() {
		parent, name, at = g.generated, d.ID.Dir(), path.Join(g.in.Dirs.Generated, d.ID.Dir())
	} else if err := g.in.Dirs.ownDir(dir, name); err != nil {
		return generateOutput{}, fmt.Errorf("make the output directory of extension %s: %w", d.Ref, err)
	}
	root, err := parent.OpenRoot(name)
	if err != nil {
		return generateOutput{}, fmt.Errorf("open the output directory of extension %s: %w", d.Ref, err)
	}
	defer root.Close()
	if err := g.run(ctx, d, at, path.Join(seen, planFile)); err != nil {
		return generateOutput{}, err
	}
	if !sameDir(parent, name, root) {
		return generateOutput{}, generateFault(d, at, errors.New("the output directory is not the one that was there when bin/generate started"))
	}
	return g.read(d, root, at)
}

// sameDir tells whether name below parent is still the directory that was opened.
func sameDir(parent *os.Root, name string, opened *os.Root) bool {
	now, err := parent.Lstat(name)
	if err != nil {
		return false
	}
	before, err := opened.Stat(".")
	return err == nil && os.SameFile(now, before)
}

// run runs bin/generate; as in build, paths go both ways.
func (g *generation) run(ctx context.Context, d *cnb.Descriptor, output, plan string) error {
	platform := g.in.Dirs.Platform
	env, err := g.env.environ(d, map[string]string{
		"CNB_OUTPUT_DIR": output, "CNB_PLATFORM_DIR": platform, "CNB_BP_PLAN_PATH": plan,
	})
	if err != nil {
		return err
	}
	cmd := Cmd{
		Phase: PhaseGenerate, Buildpack: d.Ref,
		Path: path.Join(d.Path, "bin", "generate"),
		Args: []string{output, platform, plan},
		Env:  env,
		Dir:  g.in.Dirs.App,
	}
	if g.in.Stdio != nil {
		cmd.Stdout, cmd.Stderr = g.in.Stdio(d.Ref)
	}
	err = g.in.Runner.Run(ctx, cmd)
	_, exited := errors.AsType[*ExitError](err)
	_, unstarted := errors.AsType[*StartError](err)
	if err == nil || exited || unstarted {
		return err
	}
	return fmt.Errorf("run generate of extension %s: %w", d.Ref, err)
}

const extendConfig = "extend-config.toml"

// read judges an extension's output (image_extension, "Generation"). at is the directory for messages.
func (g *generation) read(d *cnb.Descriptor, root *os.Root, at string) (generateOutput, error) {
	out := generateOutput{d: d}
	fault := func(name string, err error) (generateOutput, error) {
		return out, generateFault(d, path.Join(at, name), err)
	}
	config, err := readOptional(root, extendConfig, cnb.MaxBuildFile)
	if err == nil && config != nil {
		_, err = cnb.DecodeExtendConfig(extendConfig, config)
	}
	if err != nil {
		return fault(extendConfig, err)
	}
	out.config = config
	for _, kind := range []string{DockerfileRun, DockerfileBuild} {
		text, err := readOptional(root, kind+".Dockerfile", cnb.MaxDescriptor)
		if err == nil && text == nil {
			continue
		}
		f := generatedFile{Dockerfile{Extension: d.Ref, Kind: kind}, text}
		if err == nil {
			err = g.judge(&f)
		}
		if err != nil {
			return fault(kind+".Dockerfile", err)
		}
		out.files = append(out.files, f)
	}
	for _, name := range []string{"context", "context.build", "context.run"} {
		fi, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fault(name, err)
		case fi.Mode().IsRegular():
			continue // no context: the app's directory is the context
		case !fi.IsDir():
			return fault(name, fmt.Errorf("a build context is a directory, not a %s", typeName(fi.Mode())))
		case len(out.contexts) > 0 && out.contexts[0] == "context":
			return fault(name, errors.New("context stands beside it: write either context, or context.build and context.run"))
		}
		out.contexts = append(out.contexts, name)
	}
	return out, nil
}

// readOptional reads a file of an extension; nil where there is none.
func readOptional(root *os.Root, name string, limit int64) ([]byte, error) {
	b, err := cnb.ReadFileIn(root, name, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, errors.New(strings.TrimPrefix(err.Error(), name+": "))
	case b == nil:
		b = []byte{}
	}
	return b, nil
}

func generateFault(d *cnb.Descriptor, file string, err error) error {
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, path.Base(file)); ok {
		file += locationOf(&rest)
		text = strings.TrimPrefix(rest, ": ")
	}
	return &OutputError{Phase: PhaseGenerate, Buildpack: d.Ref, Extension: true, File: file, Err: textError{text, err}}
}

// baseImage is how a Dockerfile names the image that it is given.
const baseImage = "${base_image}"

// recommended are the instructions that a Dockerfile of an extension should keep to (image_extension, "Dockerfile
// Requirements").
var recommended = [...]string{"ADD", "ARG", "COPY", "ENV", "LABEL", "RUN", "SHELL", "USER", "WORKDIR"}

// judge reads a Dockerfile and says what it does; what the spec only advises against is a warning.
func (g *generation) judge(f *generatedFile) error {
	parsed, err := parseDockerfile(f.text)
	switch {
	case err != nil:
		return err
	case len(parsed.stages) > 1:
		return errors.New("it has more than one FROM: a Dockerfile of an extension has one stage")
	case f.Kind == DockerfileBuild && (len(parsed.args) != 1 || parsed.args[0] != "base_image"):
		return errors.New("it has to begin with ARG base_image")
	case len(parsed.stages) == 0:
		return errors.New("it has no FROM")
	case f.Kind == DockerfileBuild && parsed.stages[0].base != baseImage:
		return errors.New("it has to say FROM ${base_image}")
	}
	stage := parsed.stages[0]
	for _, i := range stage.instructions {
		if !slices.Contains(recommended[:], i.name) {
			g.emit(Event{Kind: EventWarning, Buildpack: f.Extension, Extension: true,
				Text: fmt.Sprintf("%s.Dockerfile command %s on line %d is not recommended", f.Kind, i.name, i.line)})
		}
	}
	f.Extend = f.Kind == DockerfileBuild || len(stage.instructions) > 0
	if f.Kind == DockerfileRun && stage.base != baseImage {
		if _, err := name.ParseReference(stage.base, name.WeakValidation); err != nil {
			return fmt.Errorf("FROM %s: write ${base_image} or the name of a run image", clipped(stage.base))
		}
		f.Base = stage.base
	}
	return nil
}
