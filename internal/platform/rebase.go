package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// RebaseOptions say which image to rebase on what, and where the result goes.
type RebaseOptions struct {
	Image string   // names the result
	Tags  []string // further names
	// App is the image to rebase where it is not Image.
	App string
	// RunImage is the new run image; empty means what the app image says its run image is called. RunImageMirrors are
	// further places of run images, by name.
	RunImage        string
	RunImageMirrors map[string][]string
	Output          Output       // Image is looked for where the result goes
	Pull            image.Policy // of the run image
	Force           bool
	ReportDir       string
}

// Rebased is an image that was rebased.
type Rebased struct {
	Image   string   `json:"image"`
	Tags    []string `json:"tags,omitempty"`
	Where   string   `json:"where"` // "docker", "store", "registry", "oci:DIR"
	Digest  string   `json:"digest"`
	ImageID string   `json:"imageID"`
	Size    int64    `json:"manifestSize"`
	// RunImage is the run image exactly, RunImageName what it is called.
	RunImage     string `json:"runImage"`
	RunImageName string `json:"runImageName"`
	// Current tells that the app stood on this run image already.
	Current bool `json:"current"`
	// Warnings is what Force let pass.
	Warnings []string `json:"warnings,omitempty"`
}

// Rebase puts the layers of an app image on another run image. In a registry no layer is read, and those of the run
// image are mounted where it lies in the same one.
func Rebase(ctx context.Context, m *Machine, o RebaseOptions) (*Rebased, error) {
	d, err := m.destination(o.Output, o.Image, o.Tags)
	if err != nil {
		return nil, err
	}
	app, err := d.app(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := d.check(ctx); err != nil {
		return nil, err
	}
	b, err := d.newBase(ctx, app, o)
	if err != nil {
		return nil, err
	}
	reference, err := b.exact()
	if err != nil {
		return nil, err
	}
	res := &Rebased{Image: o.Image, Tags: o.Tags, Where: d.where, RunImage: reference, RunImageName: b.name, Current: standsOn(app, b.Image)}
	in := builder.RebaseInput{
		PlatformAPI: platformAPI, App: app, Run: b.Image, RunReference: reference, RunName: b.name, Force: o.Force,
		Emit: func(e builder.Event) { res.Warnings = append(res.Warnings, e.Text) },
	}
	img, err := builder.Rebase(in)
	if err != nil {
		return nil, fmt.Errorf("rebase image %s: %w", app.Ref.Familiar(), err)
	}
	written, err := d.write(ctx, img, b.Image, app)
	if err != nil {
		return nil, err
	}
	if res.Digest, res.ImageID, res.Size, err = identity(img); err != nil {
		return nil, err
	}
	return res, d.report(o.ReportDir, img, written)
}

// identity is what an image is called exactly, wherever it is.
func identity(img v1.Image) (digest, id string, size int64, err error) {
	d, err1 := img.Digest()
	i, err2 := img.ConfigName()
	size, err3 := img.Size()
	return d.String(), i.String(), size, errors.Join(err1, err2, err3)
}

// app finds the image to rebase. Where nothing says where it is, it may be in the local store instead of Docker.
func (d *destination) app(ctx context.Context, o RebaseOptions) (*image.Image, error) {
	if o.App != "" {
		ref, err := image.ParseRef(o.App)
		if err != nil {
			return nil, fmt.Errorf("previous image: %w", err)
		}
		if d.where == WhereRegistry {
			return d.find(ctx, ref, true)
		}
		policy := o.Pull
		if policy == image.PullAlways { // what is asked for anew is the run image
			policy = image.PullIfNotPresent
		}
		return d.m.resolver(v1.Platform{}, policy).ResolveRef(ctx, ref)
	}
	img, err := d.find(ctx, d.refs[0], false)
	if d.where != WhereDocker || !missing(err) {
		return img, err
	}
	there := *d
	there.where = WhereStore
	if img, serr := there.find(ctx, d.refs[0], false); serr == nil {
		*d = there
		return img, nil
	}
	return nil, fmt.Errorf("image %q is neither in Docker nor in the local store (--publish rebases it in its registry): %w", d.refs[0].Familiar(), image.ErrNotFound)
}

// A newBase is a run image that an app image may come to stand on.
type newBase struct {
	*image.Image
	name string
}

// newBase finds the run image: the one that is named, else the app's own, by any of its names.
func (d destination) newBase(ctx context.Context, app *image.Image, o RebaseOptions) (b newBase, err error) {
	run := cnb.RunImageName{Image: o.RunImage}
	if run.Image == "" {
		if run, err = ownRunImage(app); err != nil {
			return b, &builder.PhaseError{Phase: "rebase", Err: err}
		}
		run.Mirrors = append(slices.Clone(o.RunImageMirrors[run.Image]), run.Mirrors...)
	}
	names := d.candidates(run)
	for _, n := range names {
		ref, err := image.ParseRef(n)
		if err != nil {
			return b, fmt.Errorf("run image: %w", err)
		}
		if err := d.isNot(ref, "run image"); err != nil {
			return b, err
		}
	}
	b.name = run.Image
	if b.Image, err = d.m.resolver(app.Platform(), o.Pull).ResolveAny(ctx, names); err != nil {
		return b, fmt.Errorf("run image: %w", err)
	}
	return b, nil
}

// ownRunImage is what an app image calls its run image.
func ownRunImage(app *image.Image) (cnb.RunImageName, error) {
	label := app.Label(cnb.LabelLifecycleMetadata)
	if label == "" {
		return cnb.RunImageName{}, fmt.Errorf("image %s was not made by buildpacks: it has no label %s", app.Ref.Familiar(), cnb.LabelLifecycleMetadata)
	}
	md, err := cnb.DecodeRunImage(label)
	if err != nil {
		return cnb.RunImageName{}, fmt.Errorf("image %s: %w", app.Ref.Familiar(), err)
	}
	if md.Image == "" {
		return md, fmt.Errorf("image %s does not say what its run image is called: use --run-image", app.Ref.Familiar())
	}
	return md, nil
}

// exact is what the rebased image says it stands on: with the manifest's digest, wherever the run image was found.
func (b newBase) exact() (string, error) {
	if b.Kind != image.KindEngine || !b.Ref.IsName() {
		return b.Reference, nil
	}
	h, err := b.Digest()
	if err != nil {
		return "", fmt.Errorf("run image: %w", err)
	}
	return b.Ref.WithDigest(h).Name(), nil
}

// standsOn says whether an app's lowest layers are those of a run image.
func standsOn(app, run *image.Image) bool {
	have, want := app.Config.RootFS.DiffIDs, run.Config.RootFS.DiffIDs
	return len(have) >= len(want) && slices.Equal(have[:len(want)], want)
}

// A RebasePlan is what a rebase of an image would do now.
type RebasePlan struct {
	RunImage     string `json:"runImage"`
	RunImageName string `json:"runImageName"`
	Current      bool   `json:"current"`           // it stands on this run image already
	Refused      string `json:"refused,omitempty"` // why it would not be done
}

// PlanRebase says what Rebase would do with an image that was found, without a look at any layer.
func PlanRebase(ctx context.Context, m *Machine, app *image.Image, o RebaseOptions) (RebasePlan, error) {
	d := destination{m: m}
	if app.Kind == image.KindRegistry && app.Ref.IsName() {
		d.where, d.refs = WhereRegistry, []image.Ref{app.Ref}
	}
	b, err := d.newBase(ctx, app, o)
	if err != nil {
		return RebasePlan{}, err
	}
	p := RebasePlan{RunImage: b.Reference, RunImageName: b.name, Current: standsOn(app, b.Image)}
	err = builder.CheckRebase(builder.RebaseInput{
		PlatformAPI: platformAPI, App: inspected{app}, Run: inspected{b.Image}, RunReference: b.Reference, RunName: b.name, Force: o.Force,
	})
	if err != nil {
		p.Refused = err.Error()
		if e, ok := errors.AsType[*builder.RebaseError](err); ok {
			p.Refused = e.Reason
		}
	}
	return p, nil
}
