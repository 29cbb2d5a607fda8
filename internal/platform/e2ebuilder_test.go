package platform_test

import (
	"context"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/platform/platformtest"
)

// makeBuilder puts the base images into the yard's store and makes the builder of them.
func (y *yard) makeBuilder() error {
	ctx := context.Background()
	if y.borrowed() {
		return y.borrowBuilder(ctx)
	}
	build, run, err := platformtest.BaseImages()
	if err != nil {
		return err
	}
	for kind, img := range map[string]v1.Image{"build": build, "run": run} {
		if _, err := y.put(ctx, "test/"+kind, img); err != nil {
			return err
		}
		if _, err := y.layout(ctx, kind, img); err != nil {
			return err
		}
	}
	config := filepath.Join(y.dir, "builder.toml")
	if err := os.WriteFile(config, []byte(builderConfig), 0o644); err != nil {
		return err
	}
	if _, err := platform.CreateBuilder(ctx, y.machine, platform.CreateOptions{Name: y.name, Config: config}); err != nil {
		return err
	}
	_, err = platform.CreateBuilder(ctx, y.machine, platform.CreateOptions{Name: y.name, Config: config, Output: platform.Output{OCI: filepath.Join(y.dir, "oci", "builder")}})
	return err
}

// borrowBuilder brings the images of the yard's owner into this user's own store.
func (y *yard) borrowBuilder(ctx context.Context) error {
	r := image.Resolver{}
	for from, to := range map[string]string{"run": "test/run", "builder": y.name} {
		img, err := r.Resolve(ctx, y.oci(from))
		if err != nil {
			return err
		}
		if _, err := y.put(ctx, to, img); err != nil {
			return err
		}
	}
	return nil
}

func (y *yard) put(ctx context.Context, name string, img v1.Image) (image.Written, error) {
	ref, err := image.ParseRef(name)
	if err != nil {
		return image.Written{}, err
	}
	return y.machine.Images.Put(ctx, []image.Ref{ref}, img, nil)
}

func (y *yard) layout(ctx context.Context, name string, img v1.Image) (image.Written, error) {
	ref, err := image.ParseRef(y.oci(name))
	if err != nil {
		return image.Written{}, err
	}
	return image.WriteLayout(ctx, ref, nil, img, nil)
}

// builderConfig is the yard's builder.toml.
const builderConfig = `
description = "tests"
[build]
image = "test/build"
[[build.env]]
name = "OF_OPERATOR"
value = "plain"
[[build.env]]
name = "OF_IMAGE_AND_OPERATOR"
value = "operator"
suffix = "override"
[run]
[[run.images]]
image = "test/run"
mirrors = ["localhost:1/test/run"]
[[buildpacks]]
uri = "buildpacks/noop"
[[buildpacks]]
uri = "buildpacks/one-layer"
[[buildpacks]]
uri = "buildpacks/composite"
[[order]]
[[order.group]]
id = "sample/composite"
`
