package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/store"
)

type release struct {
	ID           build.ID           `json:"id"`
	Version      int64              `json:"version"`
	App          appRef             `json:"app"`
	User         userRef            `json:"user"`
	Description  string             `json:"description"`
	Status       build.ReleaseState `json:"status"`
	Current      bool               `json:"current"`
	Slug         *string            `json:"slug"` // always null
	OCIImage     ociRef             `json:"oci_image"`
	Build        *buildRef          `json:"build"`
	Image        string             `json:"image"`             // repository@digest
	OutputStream *string            `json:"output_stream_url"` // of the release's command; null where it has none
	Failure      *string            `json:"failure"`
	CreatedAt    *stamp             `json:"created_at"`
	UpdatedAt    *stamp             `json:"updated_at"`
}

type ociRef struct {
	ID string `json:"id"` // the digest
}

type buildRef struct {
	ID     build.ID `json:"id"`
	Number int64    `json:"number"`
}

func (s *server) releaseOf(ctx context.Context, c *call, r build.Release, current int64) (release, error) {
	v := release{
		ID: r.ID, Version: r.Version, App: appRef{c.app.ID, c.app.Name}, Description: r.Description, Status: r.State, Current: r.Version == current,
		OCIImage: ociRef{r.Digest}, Image: r.Repository + "@" + r.Digest, Failure: text(r.Failure), CreatedAt: when(r.CreatedAt), UpdatedAt: when(r.UpdatedAt),
	}
	if _, err := s.Logs.Stat(r.ID); err == nil || r.State == build.ReleasePending {
		v.OutputStream = text(s.streamURL(c.Request, "releases", r.ID))
	}
	name, err := c.userName(ctx, r.User)
	if err != nil {
		return v, err
	}
	v.User = userRef{r.User, name}
	if r.Build != "" {
		b, err := s.Store.BuildByID(ctx, r.Build)
		if err != nil {
			return v, err
		}
		v.Build = &buildRef{b.ID, b.Number}
	}
	return v, nil
}

// current is the version of the release that the app's tag means, 0 where there is none.
func (s *server) current(ctx context.Context, c *call) (int64, error) {
	r, err := s.Store.Current(ctx, c.app.ID)
	if errors.Is(err, build.ErrNotFound) {
		err = nil
	}
	return r.Version, err
}

func (s *server) releases(ctx context.Context, c *call) ([]release, error) {
	all, err := numbered(c, sequence[build.Release]{
		attributes: []string{"version", "id", "created_at"},
		numberOf: func(id string) (int64, error) {
			r, err := s.Store.Release(ctx, c.app.ID, id)
			if errors.Is(err, build.ErrNotFound) {
				err = badRange(fmt.Sprintf("there is no release %.80q", id))
			}
			return r.Version, err
		},
		get: func(p store.Page) ([]build.Release, error) { return s.Store.Releases(ctx, c.app.ID, p) },
		key: func(r build.Release) (int64, string) { return r.Version, string(r.ID) },
	})
	if err != nil {
		return nil, err
	}
	current, err := s.current(ctx, c)
	if err != nil {
		return nil, err
	}
	out := make([]release, len(all))
	for i, r := range all {
		if out[i], err = s.releaseOf(ctx, c, r, current); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *server) release(ctx context.Context, c *call) (v release, err error) {
	r, err := s.Store.Release(ctx, c.app.ID, c.PathValue("release"))
	if errors.Is(err, build.ErrNotFound) {
		err = noRelease(c, c.PathValue("release"))
	}
	if err != nil {
		return v, err
	}
	current, err := s.current(ctx, c)
	if err != nil {
		return v, err
	}
	return s.releaseOf(ctx, c, r, current)
}

func noRelease(c *call, name string) error {
	return &problem{http.StatusNotFound, "not_found", fmt.Sprintf("app %s has no release %.80s", c.app.Name, name)}
}

type rollbackRequest struct {
	Release string `json:"release"` // id or version
}

func (s *server) rollback(ctx context.Context, c *call, in rollbackRequest) (v release, err error) {
	if in.Release == "" {
		return v, invalid("release", "name the release to go back to, by id or version")
	}
	to, err := s.Store.Release(ctx, c.app.ID, in.Release)
	if errors.Is(err, build.ErrNotFound) {
		return v, noRelease(c, in.Release)
	}
	if err != nil {
		return v, err
	}
	switch to.State {
	case build.ReleasePending:
		return v, conflict(fmt.Sprintf("release v%d is not there yet: its release command runs", to.Version))
	case build.ReleaseFailed:
		return v, conflict(fmt.Sprintf("release v%d never came to be: its release command failed", to.Version))
	}
	r, err := s.Service.Rollback(ctx, to, c.actor.User.ID)
	if errors.Is(err, service.ErrNoImage) {
		return v, conflict(fmt.Sprintf("the image of release v%d is not kept any more: push or build its source again", to.Version))
	}
	if err != nil {
		return v, err
	}
	return s.releaseOf(ctx, c, r, r.Version)
}

// An ociImage is what is known of an image that a build made.
type ociImage struct {
	ID           string            `json:"id"`
	Digest       string            `json:"digest"`
	BaseImage    string            `json:"base_image"` // name@digest
	Stack        string            `json:"stack"`
	ProcessTypes map[string]string `json:"process_types"` // type -> command
	Buildpacks   []build.Buildpack `json:"buildpacks"`
	CreatedAt    *stamp            `json:"created_at"`
	UpdatedAt    *stamp            `json:"updated_at"`
}

func (s *server) ociImage(ctx context.Context, c *call) (v ociImage, err error) {
	r, err := s.Store.ReleaseOfImage(ctx, c.app.ID, c.PathValue("digest"))
	if err != nil {
		return v, err
	}
	v = ociImage{
		ID: r.Digest, Digest: r.Digest, Stack: stack, ProcessTypes: map[string]string{}, Buildpacks: []build.Buildpack{},
		CreatedAt: when(r.CreatedAt), UpdatedAt: when(r.CreatedAt),
	}
	for _, p := range r.Processes {
		v.ProcessTypes[p.Type] = p.Command
	}
	if r.Build == "" {
		return v, nil
	}
	b, err := s.Store.BuildByID(ctx, r.Build)
	if err == nil && b.Result != nil {
		v.BaseImage = b.Result.RunImage
		v.Buildpacks = append(v.Buildpacks, b.Result.Buildpacks...)
	}
	return v, err
}
