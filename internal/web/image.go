package web

import (
	"context"

	"github.com/slipway-build/slipway/internal/build"
)

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
	return s.ociImageOf(ctx, r)
}

// ociImages are the images of the app in the order of the releases that first had them.
func (s *server) ociImages(ctx context.Context, c *call) ([]ociImage, error) {
	all, err := s.listReleases(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []ociImage{}
	for _, r := range all {
		first, err := s.Store.ReleaseOfImage(ctx, c.app.ID, r.Digest)
		if err != nil {
			return nil, err
		}
		if first.ID != r.ID {
			continue
		}
		v, err := s.ociImageOf(ctx, r)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (s *server) ociImageOf(ctx context.Context, r build.Release) (v ociImage, err error) {
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
