package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/builder/launch"
)

// buildOutput is what one bin/build left in its layers directory, read and checked.
type buildOutput struct {
	layers []BuiltLayer // sorted by name, ignored ones left out
	launch cnb.Launch
	build  cnb.BuildTOML
	store  *cnb.StoreTOML
	sboms  []BuiltSBOM
}

// Limits of a layers directory.
const (
	maxDirEntries = 100_000
	maxLayers     = 1024
)

// readOutput reads the layers directory of a buildpack that has just run. Every error is an *OutputError.
func readOutput(layers *os.Root, dirs Dirs, d *cnb.Descriptor) (buildOutput, error) {
	r := outputReader{dirs: dirs, d: d}
	fi, err := layers.Lstat(d.ID.Dir())
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("is a %s, not a directory", typeName(fi.Mode()))
	}
	if err == nil {
		r.root, err = layers.OpenRoot(d.ID.Dir())
	}
	if err != nil {
		return buildOutput{}, r.fault("", err)
	}
	defer r.root.Close()
	if r.names, err = listDir(r.root, "."); err != nil {
		return buildOutput{}, r.fault("", err)
	}
	return r.read()
}

// An outputReader reads one buildpack's layers directory.
type outputReader struct {
	root  *os.Root
	dirs  Dirs
	d     *cnb.Descriptor
	names []string // what the directory holds, sorted
}

func (r *outputReader) fault(name string, err error) error {
	return outputError(r.dirs, r.d, name, err)
}

func (r *outputReader) has(name string) bool {
	_, found := slices.BinarySearch(r.names, name)
	return found
}

func (r *outputReader) read() (out buildOutput, err error) {
	layers, err := r.readLayers()
	if err != nil {
		return out, err
	}
	if b, ok, err := r.file("launch.toml"); err != nil {
		return out, err
	} else if ok {
		if out.launch, err = cnb.DecodeLaunch(r.path("launch.toml"), b, r.d.API); err != nil {
			return out, r.fault("launch.toml", err)
		}
	}
	if b, ok, err := r.file("build.toml"); err != nil {
		return out, err
	} else if ok {
		if out.build, err = cnb.DecodeBuildTOML(r.path("build.toml"), b); err != nil {
			return out, r.fault("build.toml", err)
		}
	}
	if out.store, err = r.readStore(); err != nil {
		return out, err
	}
	if out.sboms, err = r.readSBOMs(layers); err != nil {
		return out, err
	}
	out.layers, err = r.setAside(layers)
	return out, err
}

// readStore reads store.toml; the result is nil where there is none.
func (r *outputReader) readStore() (*cnb.StoreTOML, error) {
	b, ok, err := r.file("store.toml")
	if err != nil || !ok {
		return nil, err
	}
	store, err := cnb.DecodeStore(r.path("store.toml"), b)
	if err != nil {
		return nil, r.fault("store.toml", err)
	}
	return &store, nil
}

// path is a file of the buildpack as executables see it.
func (r *outputReader) path(name string) string { return path.Join(r.dirs.LayersDir(r.d.ID), name) }

// file reads one of the small files of the spec; ok is false where there is none.
func (r *outputReader) file(name string) (b []byte, ok bool, err error) {
	if !r.has(name) {
		return nil, false, nil
	}
	fi, err := r.root.Lstat(name)
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("is a %s, not a regular file", typeName(fi.Mode()))
	}
	if err == nil {
		b, err = cnb.ReadFileIn(r.root, name, cnb.MaxBuildFile)
	}
	if err != nil {
		return nil, false, r.fault(name, trimName(err, name))
	}
	return b, true, nil
}

// trimName takes a file's name off an error that begins with it, because the caller puts the whole path there.
func trimName(err error, name string) error {
	return textError{strings.TrimPrefix(err.Error(), name+": "), err}
}

// readLayers reads each <layer>.toml. A layer is what has one; other directories are the buildpack's own.
func (r *outputReader) readLayers() ([]BuiltLayer, error) {
	var out []BuiltLayer
	for _, reserved := range []string{"build", "launch", "store"} {
		if r.has(reserved) && isDir(r.root, reserved) {
			_, err := cnb.ParseLayerName(reserved)
			return nil, r.fault(reserved, err)
		}
	}
	for _, file := range r.names {
		base, ok := strings.CutSuffix(file, ".toml")
		if !ok || base == "build" || base == "launch" || base == "store" || isDir(r.root, file) && !r.has(base) {
			continue // "x.toml" may be the name of a layer's directory
		}
		l, err := r.readLayer(base)
		if err != nil {
			return nil, err
		}
		if l.Contents && (l.Types.Launch || l.Types.Build) {
			if err := r.checkEnv(base); err != nil {
				return nil, r.fault(base, err)
			}
		}
		if len(out) == maxLayers {
			return nil, r.fault("", fmt.Errorf("more than %d layers", maxLayers))
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b BuiltLayer) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out, nil
}

func (r *outputReader) readLayer(base string) (BuiltLayer, error) {
	file := base + ".toml"
	name, err := cnb.ParseLayerName(base)
	if err != nil {
		return BuiltLayer{}, r.fault(file, err)
	}
	b, _, err := r.file(file)
	if err != nil {
		return BuiltLayer{}, err
	}
	t, err := cnb.DecodeLayer(r.path(file), b, r.d.API)
	if err != nil {
		return BuiltLayer{}, r.fault(file, err)
	}
	l := BuiltLayer{Name: name, Types: t.Types, Metadata: t.Metadata}
	fi, err := r.root.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err != nil:
		return l, r.fault(base, err)
	case !fi.IsDir() && t.Types != (cnb.LayerTypes{}):
		return l, r.fault(base, fmt.Errorf("is a %s, but a layer is a directory", typeName(fi.Mode())))
	}
	l.Contents = true
	return l, nil
}

// checkEnv looks at every env directory of a layer, so that a file that no environment can hold is found now and not
// when the image starts.
func (r *outputReader) checkEnv(layer string) error {
	dirs := []string{"env", "env.build", "env.launch"}
	byProcess, err := listDir(r.root, path.Join(layer, "env.launch"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	for _, name := range byProcess {
		if isDir(r.root, path.Join(layer, "env.launch", name)) {
			dirs = append(dirs, path.Join("env.launch", name))
		}
	}
	for _, dir := range dirs {
		files, err := launch.ReadEnvDirIn(r.root, path.Join(layer, dir))
		if err == nil {
			err = launch.NewEnv(nil).ApplyLayer(launch.Override, files)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

// setAside renames every layer that is for nothing, so that no later buildpack comes to depend on it (buildpack,
// "Ignored Layers"), and returns the others.
func (r *outputReader) setAside(layers []BuiltLayer) ([]BuiltLayer, error) {
	var out []BuiltLayer
	for _, l := range layers {
		if l.Types != (cnb.LayerTypes{}) {
			out = append(out, l)
			continue
		}
		if !l.Contents {
			continue
		}
		from, to := string(l.Name), string(l.Name)+".ignore"
		if r.has(to + ".toml") {
			return nil, r.fault(to, fmt.Errorf("a layer of this name is in the way of layer %s, which is for nothing and is renamed to it", l.Name))
		}
		if err := r.root.RemoveAll(to); err != nil {
			return nil, r.fault(to, err)
		}
		if err := r.root.Rename(from, to); err != nil {
			return nil, r.fault(from, err)
		}
	}
	return out, nil
}

// readSBOMs finds the SBOM files of layers, of the launch image and of the build. A file for no layer means
// nothing; one of a format that buildpack.toml does not declare is an error.
func (r *outputReader) readSBOMs(layers []BuiltLayer) ([]BuiltSBOM, error) {
	var out []BuiltSBOM
	for _, file := range r.names {
		name, extension, ok := cnb.SBOMName(file)
		if !ok || !strings.HasSuffix(extension, ".json") {
			continue
		}
		s := BuiltSBOM{Buildpack: r.d.Ref, Path: r.path(file), Extension: extension}
		switch name {
		case "launch":
			s.Launch = true
		case "build":
			s.Build = true
		default:
			i := slices.IndexFunc(layers, func(l BuiltLayer) bool { return string(l.Name) == name })
			if i < 0 {
				continue
			}
			l := layers[i]
			s.Layer, s.Launch, s.Build, s.Cache = l.Name, l.Types.Launch, !l.Types.Launch, l.Types.Cache
		}
		if err := r.checkSBOM(file, extension); err != nil {
			return nil, r.fault(file, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (r *outputReader) checkSBOM(file, extension string) error {
	if err := r.d.DeclaresSBOM(file, extension); err != nil {
		text := strings.TrimPrefix(err.Error(), "buildpack "+r.d.String()+": ")
		return textError{strings.TrimPrefix(text, fmt.Sprintf("SBOM file %q: ", file)), err}
	}
	fi, err := r.root.Lstat(file)
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("is a %s, not a regular file", typeName(fi.Mode()))
	case fi.Size() > cnb.MaxSBOM:
		return fmt.Errorf("has %d bytes, the limit for an SBOM is %d", fi.Size(), cnb.MaxSBOM)
	}
	return nil
}

// isDir does not follow links.
func isDir(root *os.Root, name string) bool {
	fi, err := root.Lstat(name)
	return err == nil && fi.IsDir()
}

// listDir is the sorted names in a directory below root. What is not a directory is an error and does not block.
func listDir(root *os.Root, dir string) ([]string, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(maxDirEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > maxDirEntries {
		return nil, fmt.Errorf("has more than %d entries", maxDirEntries)
	}
	slices.Sort(names)
	return names, nil
}
