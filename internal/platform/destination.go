package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// Where a result was written, as Result.Where says it. An OCI directory is "oci:" and its path.
const (
	WhereDocker   = "docker"
	WhereStore    = "store"
	WhereRegistry = "registry"
)

// A destination is where the image of a build or of a rebase goes, under one name or more.
type destination struct {
	m     *Machine
	where string
	oci   string      // the argument of an OCI layout directory, without "oci:"
	refs  []image.Ref // the image's name, then its tags

	byDigest bool          // the registry gets no tag
	upload   *image.Upload // has sent layers ahead; nil where nothing was
}

// destination reads the names of a result and chooses where it goes. It asks nobody.
func (m *Machine) destination(out Output, name string, tags []string) (destination, error) {
	d := destination{m: m, oci: out.OCI, byDigest: out.ByDigest}
	if out.ByDigest && !out.Publish {
		return d, errors.New("an image can be without a tag in a registry only: by digest goes with --publish")
	}
	if n := count(out.Publish, out.OCI != "", out.Store); n > 1 {
		return d, errors.New("more than one output given: choose one of --publish and --output")
	}
	switch {
	case out.Publish:
		d.where = WhereRegistry
	case out.OCI != "":
		d.where = "oci:" + out.OCI
	case out.Store || m.Engine == nil:
		d.where = WhereStore
	default:
		d.where = WhereDocker
	}
	return d, d.names(name, tags)
}

func (d *destination) names(name string, tags []string) error {
	target, err := image.ParseRef(name)
	if err != nil {
		return err
	}
	if !target.IsName() || target.Digest() != "" {
		return fmt.Errorf("image %q: want a name with or without a tag", name)
	}
	d.refs = []image.Ref{target}
	for _, t := range tags {
		r, err := image.ParseRef(t)
		if err != nil {
			return fmt.Errorf("tag: %w", err)
		}
		if !r.IsName() || r.Digest() != "" {
			return fmt.Errorf("tag %q: want a name with or without a tag", t)
		}
		if d.where == WhereRegistry && r.Host() != target.Host() {
			return fmt.Errorf("tag %s: is in registry %s, the image in %s: all names of a published image have to be in one registry", t, r.Host(), target.Host())
		}
		d.refs = append(d.refs, r)
	}
	return nil
}

// check finds out, before work is done, whether the destination can be written.
func (d destination) check(ctx context.Context) error {
	if d.where != WhereRegistry {
		return nil
	}
	for _, r := range d.refs {
		if err := d.m.Registry.CheckWrite(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// isNot refuses a result that would overwrite an image that it stands on.
func (d destination) isNot(ref image.Ref, what string) error {
	for _, out := range d.refs {
		if ref.SameImage(out) {
			return fmt.Errorf("image %s is the %s itself: give the result another name", out, what)
		}
	}
	return nil
}

func count(bs ...bool) (n int) {
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}

// find looks for an image where the result goes. One that is named for itself may lie elsewhere where the result
// goes to an OCI layout directory.
func (d destination) find(ctx context.Context, ref image.Ref, named bool) (*image.Image, error) {
	r := image.Resolver{Policy: image.PullIfNotPresent}
	switch {
	case ref.IsLayout():
	case d.where == WhereRegistry:
		r.Registry = d.m.Registry
		r.Policy = image.PullAlways
	case d.where == WhereDocker:
		r.Engine, r.Images, r.Policy = d.m.Engine, d.m.Images, image.PullNever
		return r.InEngine(ctx, ref)
	case d.where == WhereStore:
		r.Images = d.m.Images
	case named:
		r.Images, r.Engine, r.Registry = d.m.Images, d.m.Engine, d.m.Registry
	default:
		layout, err := image.ParseRef("oci:" + d.oci)
		if err != nil {
			return nil, err
		}
		ref = layout
	}
	return r.ResolveRef(ctx, ref)
}

// candidates is the order in which the names of a run image are tried (platform, "Run Image Resolution"): what lies
// in the registry that the result goes to, then as listed.
func (d destination) candidates(run cnb.RunImageName) []string {
	var near, far []string
	for _, name := range append([]string{run.Image}, run.Mirrors...) {
		if ref, err := image.ParseRef(name); err == nil && d.where == WhereRegistry && ref.IsName() && ref.Host() == d.refs[0].Host() {
			near = append(near, name)
		} else {
			far = append(far, name)
		}
	}
	return append(near, far...)
}

// write puts an image to its destination. From is images that it shares layers with, nil among them for none.
func (d destination) write(ctx context.Context, img v1.Image, from ...*image.Image) (image.Written, error) {
	switch d.where {
	case WhereRegistry:
		return d.m.Registry.Push(ctx, d.refs, img, image.PushOptions{From: from, ByDigest: d.byDigest, Upload: d.upload})
	case WhereStore:
		return d.m.Images.Put(ctx, d.refs, img, nil)
	case WhereDocker:
		var known []string
		for _, f := range from {
			if f != nil {
				known = append(known, f.ID.String())
			}
		}
		if err := d.agree(ctx, img); err != nil {
			return image.Written{}, err
		}
		return image.LoadEngine(ctx, d.m.Engine, d.refs, img, image.LoadOptions{Known: known, Store: d.m.Store})
	}
	layout, err := image.ParseRef("oci:" + d.oci)
	if err != nil {
		return image.Written{}, err
	}
	return image.WriteLayout(ctx, layout, d.refs, img, nil)
}

// agree makes names that the local store has too mean the new image: it is asked before Docker, and would
// answer with an older one.
func (d destination) agree(ctx context.Context, img v1.Image) error {
	var have []image.Ref
	for _, r := range d.refs {
		if _, err := d.m.Images.Get(ctx, r, v1.Platform{}); err == nil {
			have = append(have, r)
		}
	}
	if len(have) == 0 {
		return nil
	}
	_, err := d.m.Images.Put(ctx, have, img, nil)
	return err
}

// report writes report.toml to a directory, where one is given.
func (d destination) report(dir string, img v1.Image, written image.Written) error {
	if dir == "" {
		return nil
	}
	var names []string
	for _, r := range d.refs {
		if d.byDigest {
			r = r.WithDigest(written.Digest)
		}
		names = append(names, r.Familiar())
	}
	report, err := builder.MakeReport(img, names)
	if err != nil {
		return err
	}
	if d.where == WhereDocker {
		report.Image.Digest, report.Image.ManifestSize, report.Image.ImageID = "", 0, written.ID.String()
	}
	b, err := cnb.EncodeReport(report)
	if err != nil {
		return fmt.Errorf("encode report.toml: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report.toml"), b, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
