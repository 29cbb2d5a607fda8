package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
)

// An addedBuildpack is brought into one build: dir is mounted read-only where the builder has its buildpacks.
type addedBuildpack struct {
	ref  cnb.Ref
	dir  string
	from string // "name@digest" of the image that has it; "" for a directory
	own  bool   // the user named the directory: its files can be spoken of
}

// Prefixes of buildpack arguments, as pack has them.
const (
	fromBuilder   = "from=builder"
	prefixBuilder = "urn:cnb:builder:"
	prefixIndex   = index.Prefix
	prefixDocker  = "docker://"
	// prefixNamed stands before what a project descriptor says that is no path: no file of the directory in which
	// slipway happens to run is meant by it.
	prefixNamed = "named:"
)

// Named makes a buildpack argument that somebody else gave, who is no user of this machine, mean no file of it: the
// builder's buildpack of that id, an image, or a file of a URL.
func Named(arg string) string {
	for _, prefix := range []string{prefixBuilder, prefixIndex, prefixDocker, "https://"} {
		if strings.HasPrefix(arg, prefix) {
			return arg
		}
	}
	if arg == fromBuilder {
		return arg
	}
	return prefixNamed + arg
}

// A BuildpackError is an argument that leads to no buildpack.
type BuildpackError struct {
	Buildpack string // the argument
	Err       error
}

func (e *BuildpackError) Error() string { return fmt.Sprintf("buildpack %s: %v", e.Buildpack, e.Err) }
func (e *BuildpackError) Unwrap() error { return e.Err }

// maxPackaged is how many buildpacks one package may bring: each is a mount of the build container.
const maxPackaged = 500

// addBuildpacks resolves the buildpack arguments and composes the order.
func (j *job) addBuildpacks(ctx context.Context) error {
	var lists [3][]entry
	for i, args := range [][]string{j.o.Buildpacks, j.o.Pre, j.o.Post} {
		for _, arg := range args {
			e, err := j.buildpack(ctx, arg)
			if err != nil {
				return &BuildpackError{strings.TrimPrefix(arg, prefixNamed), err}
			}
			lists[i] = append(lists[i], e)
			j.packages.of(arg)
		}
	}
	// All of them are there: before that, no layer is fetched.
	if err := j.unpackPackages(ctx); err != nil {
		return err
	}
	j.order = composeOrder(j.builder.order, lists[0], lists[1], lists[2])
	if !j.o.NoSystemBuildpacks {
		j.system = j.builder.system
	}
	if len(j.order) == 0 {
		return fmt.Errorf("builder %s has no order: name buildpacks with --buildpack", j.o.Builder)
	}
	return nil
}

// buildpack resolves one argument in pack's order: a path, an id in the builder, a buildpack of an index, an image.
func (j *job) buildpack(ctx context.Context, arg string) (entry, error) {
	switch {
	case arg == fromBuilder:
		return entry{fromBuilder: true}, nil
	case strings.HasPrefix(arg, prefixBuilder):
		return j.builderBuildpack(strings.TrimPrefix(arg, prefixBuilder))
	case strings.HasPrefix(arg, prefixIndex):
		return j.indexBuildpack(ctx, arg)
	case isURL(strings.TrimPrefix(arg, prefixNamed)):
		return j.locatedBuildpack(j.m.locateURL(ctx, j.place(), strings.TrimPrefix(arg, prefixNamed)))
	}
	for _, prefix := range []string{prefixDocker, prefixNamed} {
		name, ok := strings.CutPrefix(arg, prefix)
		if ref, err := image.ParseRef(name); ok && err == nil && ref.IsLayout() {
			return entry{}, fmt.Errorf("behind %s stands the name of an image, no directory", prefix)
		}
		if ok && prefix == prefixDocker {
			return j.imageBuildpack(ctx, name)
		}
		if ok {
			return j.namedBuildpack(ctx, name, "it is not")
		}
	}
	path := strings.TrimPrefix(arg, "file://")
	fi, err := os.Stat(path)
	switch {
	case err == nil && fi.IsDir():
		return j.ownDirectory(ctx, path)
	case err == nil:
		return j.locatedBuildpack(j.place().file(ctx, path, originOf(path, false)))
	case strings.HasPrefix(arg, "file://") || strings.HasPrefix(arg, ".") || filepath.IsAbs(arg):
		return entry{}, errors.New("there is no such directory or file")
	}
	return j.namedBuildpack(ctx, arg, "it is neither a path nor")
}

// namedBuildpack resolves what is no path: an id in the builder, a buildpack of an index, an image. not begins the sentence of what it is not.
func (j *job) namedBuildpack(ctx context.Context, arg, not string) (entry, error) {
	if ref, ok := indexRef(arg); ok {
		// What was an index's when the lock file was made stays so, whatever the builder has learned since.
		if e, ok, err := j.lockedBuildpack(ctx, ref, exactly); ok || err != nil {
			return e, err
		}
	}
	e, idErr := j.builderBuildpack(arg)
	if idErr == nil {
		return e, nil
	}
	if e, ok, err := j.namedIndexBuildpack(ctx, arg); ok {
		if err != nil {
			err = fmt.Errorf("%s %w; %w", not, idErr, err)
		}
		return e, err
	}
	if !isImage(arg) {
		return entry{}, fmt.Errorf("%s %w", not, idErr)
	}
	e, err := j.imageBuildpack(ctx, arg)
	if err != nil {
		return entry{}, fmt.Errorf("%s %w; %w", not, idErr, err)
	}
	return e, nil
}

func (j *job) builderBuildpack(arg string) (entry, error) {
	ref, err := cnb.ParseRef(arg)
	if err != nil {
		return entry{}, err
	}
	found, _, ok := j.builder.layers.Find(ref)
	if ok {
		return entry{ref: found}, nil
	}
	if versions := j.builder.layers[ref.ID]; len(versions) > 0 {
		var have []string
		for v := range versions {
			have = append(have, v)
		}
		slices.Sort(have)
		return entry{}, fmt.Errorf("in builder %s, which has it in version %s", j.o.Builder, strings.Join(have, ", "))
	}
	return entry{}, fmt.Errorf("in builder %s", j.o.Builder)
}

// directoryBuildpack mounts a buildpack's own directory: what an author edits is what runs. The directory of one target
// that lacks the buildpack.toml is copied, to have it.
func (j *job) directoryBuildpack(path string, own bool) (entry, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return entry{}, err
	}
	b, err := readBuildpackFor(dir, builderTarget(j.builder.Image))
	if _, isAPI := errors.AsType[*builder.APIError](err); isAPI && own {
		return entry{}, pointAt(dir, "api", "", err, `^\s*api\s*=`)
	}
	if err != nil {
		return entry{}, err
	}
	if b.TOML != nil {
		to, err := os.MkdirTemp(j.dir.path, "target-")
		if err != nil {
			return entry{}, err
		}
		err = errors.Join(os.Chmod(to, 0o755), os.CopyFS(to, os.DirFS(b.Dir)), os.WriteFile(filepath.Join(to, "buildpack.toml"), b.TOML, 0o644))
		if err != nil {
			return entry{}, fmt.Errorf("copy %s: %w", b.Dir, err)
		}
		b.Dir = to
	}
	if a := (addedBuildpack{ref: b.Ref, dir: b.Dir, own: own}); !slices.Contains(j.added, a) {
		j.added = append(j.added, a)
	}
	return entry{ref: b.Ref}, nil
}

// ownDirectory brings in a directory, and what it is composed of where it is the user who named it.
func (j *job) ownDirectory(ctx context.Context, path string) (entry, error) {
	own := !j.foreign[path]
	at, err := j.m.modern(located{dir: path, from: originOf(path, false)}, j.dir.path)
	if err != nil {
		return entry{}, err
	}
	e, err := j.directoryBuildpack(at.dir, own)
	if err == nil && own && at.dir == path {
		err = j.addComponents(ctx, path)
	}
	return e, err
}

// addComponents brings in what the recipe of a composite buildpack names, from wherever it says: the directory is the
// user's own. What another in the build brings already is not brought again.
func (j *job) addComponents(ctx context.Context, dir string) error {
	parts, err := components(dir)
	if err != nil {
		return err
	}
	for _, arg := range parts {
		if j.composed[arg] {
			continue
		}
		if j.composed == nil {
			j.composed = map[string]bool{}
		}
		j.composed[arg] = true
		if _, err := j.buildpack(ctx, arg); err != nil {
			return fmt.Errorf("%s: %s: %w", filepath.Join(dir, packageConfig), arg, err)
		}
		j.packages.of(arg)
	}
	return nil
}

var errNoBuild = errors.New("it has no bin/build")

// executable says what would keep the container's user, who is nobody on this host, from running a file.
func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errNoBuild
	case err != nil:
		return err
	case fi.Mode()&0o005 != 0o005:
		return fmt.Errorf("bin/build has mode %v: everyone has to be able to read and run it (chmod 755)", fi.Mode().Perm())
	}
	return nil
}

// imageBuildpack brings the buildpacks of a package image into the build.
func (j *job) imageBuildpack(ctx context.Context, arg string) (entry, error) {
	img, err := j.resolver.Resolve(ctx, arg)
	if err != nil {
		return entry{}, err
	}
	return j.packageBuildpacks(img)
}

func (j *job) place() place { return place{Resolver: j.resolver, tmp: j.dir.path} }

// locatedBuildpack brings in what a path or a URL led to.
func (j *job) locatedBuildpack(at located, err error) (entry, error) {
	if err != nil {
		return entry{}, err
	}
	if at.pkg != nil {
		return j.packageBuildpacks(at.pkg)
	}
	if at, err = j.m.modern(at, j.dir.path); err != nil {
		return entry{}, err
	}
	return j.directoryBuildpack(at.dir, false)
}

// checkPackage makes sure that ids and versions of a package are such, for they become paths.
func checkPackage(layers cnb.BuildpackLayersLabel) error {
	n := 0
	for id, versions := range layers {
		if n += len(versions); n > maxPackaged {
			return fmt.Errorf("more than %d buildpacks", maxPackaged)
		}
		if _, err := cnb.ParseID(string(id)); err != nil {
			return err
		}
		for version := range versions {
			if _, err := cnb.ParseVersion(version); err != nil {
				return fmt.Errorf("buildpack %s: %w", id, err)
			}
		}
	}
	return nil
}

// plainDir is the directory that names lead to from dir. A link among them is an error: the engine would follow it,
// and mount whatever directory of this machine it points to into the build.
func plainDir(dir string, names ...string) (string, error) {
	for _, name := range names {
		dir = filepath.Join(dir, name)
		fi, err := os.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", errors.New("its layer has no directory for it")
		case err != nil:
			return "", err
		case !fi.IsDir():
			return "", errors.New("its layer has a link or a file where its directory should be")
		}
	}
	return dir, nil
}
