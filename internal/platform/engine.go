package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
)

// DockerEngine makes the images of a Docker engine what package image works with.
func DockerEngine(r *docker.Runtime) image.Engine {
	return &dockerEngine{r: r, info: sync.OnceValues(func() (docker.Info, error) {
		// Asked once for all builds of this process, whichever of them is cancelled.
		return r.Info(context.Background())
	})}
}

type dockerEngine struct {
	r    *docker.Runtime
	info func() (docker.Info, error)
}

func notFound(err error) error {
	if errors.Is(err, container.ErrNoImage) {
		return fmt.Errorf("%w: %w", image.ErrNotFound, err)
	}
	return err
}

func (d *dockerEngine) Inspect(ctx context.Context, ref string) (image.EngineImage, error) {
	im, err := d.r.Inspect(ctx, ref)
	if err != nil {
		return image.EngineImage{}, notFound(err)
	}
	cf := v1.ConfigFile{OS: im.OS, Architecture: im.Architecture, Variant: im.Variant, Author: im.Author}
	cf.Config = v1.Config{
		Env: im.Env, Labels: im.Labels, User: im.User, WorkingDir: im.WorkingDir, Entrypoint: im.Entrypoint, Cmd: im.Cmd,
	}
	cf.RootFS.Type = "layers"
	for _, l := range im.DiffIDs {
		h, err := v1.NewHash(l)
		if err != nil {
			return image.EngineImage{}, fmt.Errorf("docker image %s: layer %q: %w", ref, l, err)
		}
		cf.RootFS.DiffIDs = append(cf.RootFS.DiffIDs, h)
	}
	return image.EngineImage{ID: im.ID, RepoTags: im.Tags, RepoDigests: im.RepoDigests, Config: cf, Size: im.Size}, nil
}

func (d *dockerEngine) Load(ctx context.Context, tar io.Reader) error { return d.r.Load(ctx, tar) }

func (d *dockerEngine) Save(ctx context.Context, refs []string, w io.Writer) error {
	return d.r.Save(ctx, refs, w)
}

func (d *dockerEngine) Tag(ctx context.Context, source, target string) error {
	return notFound(d.r.Tag(ctx, source, target))
}

func (d *dockerEngine) Remove(ctx context.Context, ref string) error {
	return notFound(d.r.Remove(ctx, ref))
}

func (d *dockerEngine) EngineInfo(context.Context) (image.EngineInfo, error) {
	in, err := d.info()
	if err != nil {
		return image.EngineInfo{}, err
	}
	return image.EngineInfo{Version: in.Version, OS: in.OS, Arch: in.Architecture, ContainerStore: in.ContainerdStore, Remote: !d.r.Local()}, nil
}
