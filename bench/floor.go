package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
)

// floor is what this machine takes to move the files of tree at all: read as one stream, hashed, compressed.
func floor(tree string) []*row {
	var rows []*row
	for _, through := range [][]string{{"cat"}, {"sha256sum"}, {"gzip", "-1"}, {"zstd", "-q", "-1"}} {
		name := through[0]
		if last := through[len(through)-1]; last != name {
			name += " " + last
		}
		rows = append(rows, &row{
			name: "the same bytes, tar | " + name,
			run:  func(ctx context.Context, _ int) error { return tarInto(ctx, tree, through...) },
		})
	}
	return rows
}

// tarInto runs tar of tree into a program whose output is thrown away.
func tarInto(ctx context.Context, tree string, args ...string) error {
	from := exec.CommandContext(ctx, "tar", "-cf", "-", "-C", tree, ".")
	to := exec.CommandContext(ctx, args[0], args[1:]...)
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	from.Stdout, to.Stdin = w, r
	err = errors.Join(from.Start(), to.Start(), w.Close(), r.Close())
	if err != nil {
		return err
	}
	return errors.Join(from.Wait(), to.Wait())
}

// newLayers are those that a build put on its run image, of an image in the registry.
func (y *yard) newLayers(ctx context.Context, name string) ([]v1.Layer, error) {
	r := image.Resolver{Registry: y.machine.Registry, Policy: image.PullAlways}
	var layers, base []v1.Layer
	for n, to := range map[string]*[]v1.Layer{name: &layers, y.published: &base} {
		img, err := r.Resolve(ctx, n)
		if err != nil {
			return nil, err
		}
		if *to, err = img.Layers(); err != nil {
			return nil, err
		}
	}
	if len(layers) < len(base) {
		return nil, fmt.Errorf("image %s has %d layers, and its run image has %d", name, len(layers), len(base))
	}
	return layers[len(base):], nil
}

// unpackNew unpacks the layers that a build put on its run image into dir.
func (y *yard) unpackNew(ctx context.Context, name, dir string) error {
	layers, err := y.newLayers(ctx, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, l := range layers {
		if err := unpackLayer(ctx, l, dir); err != nil {
			return err
		}
	}
	return nil
}

func unpackLayer(ctx context.Context, l v1.Layer, dir string) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, "tar", "-xf", "-", "-C", dir, "--no-same-owner")
	cmd.Stdin = r
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return nil
}
