package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/source"
)

// A Wanted is a buildpack argument that an index may be asked for.
type Wanted struct {
	Ref  index.Ref
	Arg  string
	From string // who names it: "project.toml:7", "--buildpack"
	// Named is an argument without the URN: a build takes the builder's buildpack of that id first. Image is one that
	// may be an image's name too.
	Named, Image bool
}

// A WantedIn is what builds of a source ask indexes for.
type WantedIn struct {
	Builder string // of the project descriptor
	All     []Wanted
	Lock    *index.Lock // nil where the source has none
}

// FindWanted reads, for the user whose source it is, what its builds ask indexes for: its project descriptor, or the file
// descriptor instead, and the arguments of the command line.
func FindWanted(ctx context.Context, at, descriptor string, args []string) (*WantedIn, error) {
	told, err := source.Tell(ctx, at, false)
	if err != nil {
		return nil, err
	}
	w := &WantedIn{}
	if told.Lock != nil {
		if w.Lock, err = index.ParseLock(filepath.Join(at, index.LockName), told.Lock); err != nil {
			return nil, err
		}
	}
	name, text := source.DescriptorName, told.Descriptor
	if descriptor != "" {
		name = descriptor
		dir, base := filepath.Split(filepath.Clean(descriptor))
		if text, err = cnb.ReadFile(filepath.Join(".", dir), base, cnb.MaxDescriptor); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("project descriptor %s: there is no such file", descriptor)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, arg := range args {
		w.add(at, arg, "--buildpack", true)
	}
	if text == nil {
		return w, nil
	}
	p, err := source.ParseDescriptor(name, text)
	if err != nil {
		return nil, err
	}
	w.Builder = p.Builder
	for _, l := range []struct {
		name string
		all  []cnb.ProjectBuildpack
	}{{"pre", p.Pre}, {"group", p.Buildpacks}, {"post", p.Post}} {
		for i, b := range l.all {
			if b.Script == nil {
				arg, isID := projectArg(b)
				w.add(at, arg, fmt.Sprintf("%s:%d", name, p.BuildpackLine(text, l.name, i)), !isID)
			}
		}
	}
	return w, nil
}

// projectArg is the argument that an entry of a descriptor is; isID tells one that is no path.
func projectArg(b cnb.ProjectBuildpack) (arg string, isID bool) {
	switch {
	case b.URI != "":
		return b.URI, false
	case b.Version != "":
		return string(b.ID) + "@" + b.Version, true
	}
	return string(b.ID), true
}

// add takes arg where an index may be asked for it.
func (w *WantedIn) add(at, arg, from string, path bool) {
	_, isURN := strings.CutPrefix(arg, prefixIndex)
	if from == "--buildpack" {
		at = "."
	}
	if !isURN && path && exists(filepath.Join(at, arg)) {
		return
	}
	ref, ok := indexRef(arg)
	if ok {
		w.All = append(w.All, Wanted{Ref: ref, Arg: arg, From: from, Named: !isURN, Image: !isURN && isImage(arg)})
	}
}

// HasBuildpack says whether an image, a builder, has the buildpack of an argument without the URN.
func HasBuildpack(name string, img *image.Image, arg string) (bool, error) {
	b := &builderImage{Image: img}
	if err := b.readLabels(name); err != nil {
		return false, err
	}
	ref, err := cnb.ParseRef(arg)
	if err != nil {
		return false, nil
	}
	_, _, ok := b.layers.Find(ref)
	return ok, nil
}
