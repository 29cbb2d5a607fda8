package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

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
	Slug         *string            `json:"slug"`      // always null
	OCIImage     *ociRef            `json:"oci_image"` // null in the initial release
	Artifacts    []artifact         `json:"artifacts"`
	Eligible     bool               `json:"eligible_for_rollback"`
	Addons       []string           `json:"addon_plan_names"` // there are none
	Build        *buildRef          `json:"build"`
	Image        string             `json:"image"`             // repository@digest
	OutputStream *string            `json:"output_stream_url"` // of the release's command; null where it has none
	Failure      *string            `json:"failure"`
	Deployment   *deploymentView    `json:"deployment"` // the last one of it
	CreatedAt    *stamp             `json:"created_at"`
	UpdatedAt    *stamp             `json:"updated_at"`
}

type ociRef struct {
	ID string `json:"id"` // the digest
}

type artifact struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type buildRef struct {
	ID     build.ID `json:"id"`
	Number int64    `json:"number"`
}

func (s *server) releaseOf(ctx context.Context, c *call, r build.Release, current int64) (release, error) {
	v := release{
		ID: r.ID, Version: r.Version, App: appRef{c.app.ID, c.app.Name}, Description: r.Description, Status: r.State, Current: r.Version == current,
		OCIImage: &ociRef{r.Digest}, Artifacts: []artifact{{"oci-image", r.Digest}}, Eligible: r.State == build.ReleaseSucceeded, Addons: []string{}, Image: r.Repository + "@" + r.Digest, Failure: text(r.Failure), CreatedAt: when(r.CreatedAt), UpdatedAt: when(r.UpdatedAt),
	}
	if _, err := s.Logs.Stat(r.ID); err == nil || r.State == build.ReleasePending {
		v.OutputStream = text(s.streamURL(c.Request, "releases", r.ID))
	}
	name, err := c.userName(ctx, r.User)
	if err != nil {
		return v, err
	}
	v.User = userRef{r.User, name}
	d, err := s.Store.DeploymentOf(ctx, r.ID)
	if err == nil {
		dv := deploymentOf(c.app, d)
		v.Deployment = &dv
	} else if !errors.Is(err, build.ErrNotFound) {
		return v, err
	}
	if r.Build != "" {
		b, err := s.Store.BuildByID(ctx, r.Build)
		if err != nil {
			return v, err
		}
		v.Build = &buildRef{b.ID, b.Number}
	}
	return v, nil
}

// initial is what an app is before its first build: a release of nothing, version 0, which is in no record. Clients of the
// Platform API take the newest release of an app for granted, as there is one there from the beginning.
func (s *server) initial(ctx context.Context, c *call) (v release, err error) {
	name, err := c.userName(ctx, c.app.Owner)
	return release{
		ID: c.app.ID, App: appRef{c.app.ID, c.app.Name}, User: userRef{c.app.Owner, name}, Description: "Initial release", Status: build.ReleaseSucceeded, Current: true,
		Artifacts: []artifact{}, Addons: []string{}, CreatedAt: when(c.app.CreatedAt), UpdatedAt: when(c.app.CreatedAt),
	}, err
}

// current is the version of the release that the app's tag means, 0 where there is none.
func (s *server) current(ctx context.Context, c *call) (int64, error) {
	r, err := s.Store.Current(ctx, c.app.ID)
	if errors.Is(err, build.ErrNotFound) {
		err = nil
	}
	return r.Version, err
}

// listReleases is the part of the app's releases that is asked for.
func (s *server) listReleases(ctx context.Context, c *call) ([]build.Release, error) {
	return numbered(c, sequence[build.Release]{
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
}

func (s *server) releases(ctx context.Context, c *call) ([]release, error) {
	all, err := s.listReleases(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		if _, err := s.Store.Latest(ctx, c.app.ID); errors.Is(err, build.ErrNotFound) {
			v, err := s.initial(ctx, c)
			return []release{v}, err
		}
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
	name := c.PathValue("release")
	r, err := s.Store.Release(ctx, c.app.ID, name)
	if errors.Is(err, build.ErrNotFound) {
		_, none := s.Store.Latest(ctx, c.app.ID)
		if errors.Is(none, build.ErrNotFound) && (name == "0" || name == "v0" || name == string(c.app.ID)) {
			return s.initial(ctx, c)
		}
		err = noRelease(c, name)
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

// releaseVars are the app's config vars: releases keep none, and a rollback changes none.
func (s *server) releaseVars(ctx context.Context, c *call) (vars, error) {
	if _, err := s.release(ctx, c); err != nil {
		return nil, err
	}
	return s.configVars(ctx, c)
}

type rollbackRequest struct {
	Release releaseName `json:"release"`
}

// A releaseName is the id or version of a release; a version may be a number.
type releaseName string

// UnmarshalJSON is encoding/json's.
func (n *releaseName) UnmarshalJSON(text []byte) error {
	var version int64
	if json.Unmarshal(text, &version) == nil {
		*n = releaseName(strconv.FormatInt(version, 10))
		return nil
	}
	return json.Unmarshal(text, (*string)(n))
}

func (s *server) rollback(ctx context.Context, c *call, in rollbackRequest) (v release, err error) {
	if in.Release == "" {
		return v, invalid("release", "name the release to go back to, by id or version")
	}
	to, err := s.Store.Release(ctx, c.app.ID, string(in.Release))
	if errors.Is(err, build.ErrNotFound) {
		return v, noRelease(c, string(in.Release))
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
