package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/image"
)

// slipwayAny is slipway where no container runs, so that its runtime is nothing to it.
const slipwayAny = "slipway"

// rebase puts the image of case C, built once and under a name for each tool, on another run image in every round. Its
// run image has a name of its own, because it changes.
func rebase(ctx context.Context, y *yard) ([]*row, error) {
	app, err := y.librariesApp("libs", "rebuild")
	if err != nil {
		return nil, err
	}
	base := y.registry.host + "/" + prefix + "/rebase-run:latest"
	run, err := y.runImages(ctx, base)
	if err != nil {
		return nil, err
	}
	ours, theirs := y.registry.host+"/rebase-slipway", y.registry.host+"/rebase-pack"
	if err := y.command(ctx, y.slipway, "build", ours, "--tag", theirs, "--publish", "--quiet", "--path", app, "--builder", y.builder,
		"--run-image", base, "--pull-policy", "never"); err != nil {
		return nil, err
	}
	rows := []*row{{key: slipwayAny, name: "slipway rebase --publish", ours: true, run: func(ctx context.Context, _ int) error {
		return y.command(ctx, y.slipway, "rebase", ours, "--publish")
	}}}
	if y.withPack {
		rows = append(rows, &row{key: packs, name: "pack rebase --publish", run: func(ctx context.Context, _ int) error {
			return y.command(ctx, y.pack, "rebase", theirs, "--publish", "--quiet")
		}})
	}
	return rows, y.alternate(ctx, rows, func(round int) error { return y.push(ctx, base, run[round%2]) })
}

// runImages puts the run image into the registry and the local store under another name, and gives it and a newer one.
func (y *yard) runImages(ctx context.Context, name string) ([2]v1.Image, error) {
	var run [2]v1.Image
	ref, err := image.ParseRef(name)
	if err != nil {
		return run, err
	}
	r := image.Resolver{Images: y.machine.Images, Policy: image.PullNever}
	img, err := r.Resolve(ctx, y.published)
	if err != nil {
		return run, err
	}
	if _, err := y.machine.Images.Put(ctx, []image.Ref{ref}, img, nil); err != nil {
		return run, err
	}
	newer, err := withFile(img, "etc/newer", "a newer run image\n")
	if err != nil {
		return run, err
	}
	run = [2]v1.Image{img, newer}
	for _, i := range []v1.Image{newer, img} { // both are there, and the name means the older one
		if err := y.push(ctx, name, i); err != nil {
			return run, err
		}
	}
	return run, nil
}

// withFile is an image with a layer of one file on top.
func withFile(img v1.Image, name, text string) (v1.Image, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, l)
}

func (y *yard) push(ctx context.Context, name string, img v1.Image) error {
	ref, err := image.ParseRef(name)
	if err != nil {
		return err
	}
	_, err = y.machine.Registry.Push(ctx, []image.Ref{ref}, img, image.PushOptions{})
	return err
}
