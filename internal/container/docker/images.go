package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
)

// Images makes the engine's images what package image works with.
func (r *Runtime) Images() image.Engine {
	return &engine{r: r, info: sync.OnceValues(func() (Info, error) {
		// Asked once for all builds of this process, whichever of them is cancelled.
		return r.Info(context.Background())
	})}
}

type engine struct {
	r    *Runtime
	info func() (Info, error)
}

// History is image.Historian's.
func (d *engine) History(ctx context.Context, ref string) ([]v1.History, error) {
	steps, err := d.r.History(ctx, ref)
	if err != nil {
		return nil, notFound(err)
	}
	out := make([]v1.History, len(steps))
	for i, s := range steps {
		out[i] = v1.History{CreatedBy: s.CreatedBy, Comment: s.Comment, Created: v1.Time{Time: s.Created}}
	}
	return out, nil
}

func notFound(err error) error {
	if errors.Is(err, container.ErrNoImage) {
		return fmt.Errorf("%w: %w", image.ErrNotFound, err)
	}
	return err
}

func (d *engine) Inspect(ctx context.Context, ref string) (image.EngineImage, error) {
	im, err := d.r.Inspect(ctx, ref)
	if err != nil {
		return image.EngineImage{}, notFound(err)
	}
	cf := v1.ConfigFile{OS: im.OS, Architecture: im.Architecture, Variant: im.Variant, Author: im.Author}
	cf.Config = v1.Config{
		Env: im.Env, Labels: im.Labels, User: im.User, WorkingDir: im.WorkingDir, Entrypoint: im.Entrypoint, Cmd: im.Cmd,
		ExposedPorts: set(im.ExposedPorts), Volumes: set(im.Volumes), StopSignal: im.StopSignal,
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

func (d *engine) Load(ctx context.Context, tar io.Reader) error { return d.r.Load(ctx, tar) }

func (d *engine) Save(ctx context.Context, refs []string, w io.Writer) error {
	return d.r.Save(ctx, refs, w)
}

func (d *engine) Tag(ctx context.Context, source, target string) error {
	return notFound(d.r.Tag(ctx, source, target))
}

func (d *engine) Remove(ctx context.Context, ref string) error {
	return notFound(d.r.Remove(ctx, ref))
}

func (d *engine) EngineInfo(context.Context) (image.EngineInfo, error) {
	in, err := d.info()
	if err != nil {
		return image.EngineInfo{}, err
	}
	return image.EngineInfo{Version: in.Version, OS: in.OS, Arch: in.Architecture, ContainerStore: in.ContainerdStore, Remote: !d.r.Local()}, nil
}

// set is names as an image's config has them; none is nil.
func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	m := map[string]struct{}{}
	for _, n := range names {
		m[n] = struct{}{}
	}
	return m
}
