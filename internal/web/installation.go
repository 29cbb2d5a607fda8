package web

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
)

// An installation is a buildpack that an app has chosen, where the builder's own order does not count. The Platform API
// names one by URL; here that is the URN which its clients show without its prefix.
type installation struct {
	Ordinal   int          `json:"ordinal"`
	Buildpack buildpackURL `json:"buildpack"`
}

type buildpackURL struct {
	URL  string `json:"url"`
	Name string `json:"name"`
}

// buildpackURN stands before the name of a buildpack that no URL leads to.
const buildpackURN = "urn:buildpack:"

func installationsOf(a build.App) []installation {
	all := []installation{}
	for i, name := range a.Buildpacks {
		all = append(all, installation{i, buildpackURL{buildpackURN + name, name}})
	}
	return all
}

func (s *server) installations(_ context.Context, c *call) ([]installation, error) {
	return installationsOf(c.app), nil
}

// An installationsRequest names all buildpacks of an app from now on; none are the builder's own order.
type installationsRequest struct {
	Updates *[]installationRequest `json:"updates"`
}

type installationRequest struct {
	Buildpack string `json:"buildpack"`
}

func (s *server) putInstallations(ctx context.Context, c *call, in installationsRequest) ([]installation, error) {
	if in.Updates == nil {
		return nil, invalid("updates", "there is none: it is the list of all buildpacks that the app shall have")
	}
	names := []string{}
	for i, u := range *in.Updates {
		name := strings.TrimPrefix(u.Buildpack, buildpackURN)
		if strings.Contains(name, "://") && !strings.HasPrefix(name, "docker://") {
			return nil, invalid(fmt.Sprintf("updates[%d].buildpack", i), "a buildpack by URL is none that this service can run: name the id of a Cloud Native Buildpack in the builder, or an image")
		}
		if name == "" {
			return nil, invalid(fmt.Sprintf("updates[%d].buildpack", i), "it names none: no buildpack of that name is in the builder")
		}
		names = append(names, name)
	}
	if err := buildpackNames(names); err != nil {
		return nil, err
	}
	a, err := s.Store.UpdateApp(ctx, c.app.ID, func(a *build.App) error {
		a.Buildpacks = names
		return nil
	})
	return installationsOf(a), err
}
