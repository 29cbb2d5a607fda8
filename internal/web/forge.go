package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/outbox"
)

// A forgeView is where commits get statuses, without the token.
type forgeView struct {
	App        appRef          `json:"app"`
	Forge      build.ForgeKind `json:"forge"`
	Repository string          `json:"repository"`
	API        string          `json:"api_url"`
	Context    string          `json:"context"`
	CreatedAt  *stamp          `json:"created_at"`
	UpdatedAt  *stamp          `json:"updated_at"`
}

func forgeOf(c *call, f build.Forge) forgeView {
	return forgeView{appRef{c.app.ID, c.app.Name}, f.Kind, f.Repository, f.API, f.Context, when(f.CreatedAt), when(f.UpdatedAt)}
}

func (s *server) forge(ctx context.Context, c *call) (v forgeView, err error) {
	f, err := s.Store.Forge(ctx, c.app.ID)
	if err != nil {
		return v, noForge(c, err)
	}
	return forgeOf(c, f), nil
}

func noForge(c *call, err error) error {
	if errors.Is(err, build.ErrNotFound) {
		return &problem{http.StatusNotFound, "not_found", fmt.Sprintf("no forge is told of the builds of %s", c.app.Name)}
	}
	return err
}

// A forgeRequest says which forge is told of an app's builds. All but the token has a default: the repository is that of
// the app's hooks, the forge follows from its host where that is a well-known one, and the URL of the API from both.
type forgeRequest struct {
	Forge      build.ForgeKind `json:"forge"`
	Repository string          `json:"repository"`
	API        string          `json:"api_url"`
	Context    string          `json:"context"`
	Token      string          `json:"token"`
}

// maxContext is what all forges take: the key of a status of Bitbucket is the shortest.
const maxContext = 40

func (s *server) putForge(ctx context.Context, c *call, in forgeRequest) (v forgeView, err error) {
	f := build.Forge{App: c.app.ID, Kind: in.Forge, Repository: in.Repository, API: strings.TrimRight(in.API, "/"), Context: in.Context, Token: in.Token}
	if f.Repository == "" {
		if f.Repository, err = s.hookedRepository(ctx, c); err != nil {
			return v, err
		}
	}
	if _, err := fetch.ParseGitURL(f.Repository); err != nil {
		return v, invalid("repository", err.Error())
	}
	if err := noPassword("repository", f.Repository, "the token is a field of its own"); err != nil {
		return v, err
	}
	if f.Kind == "" {
		f.Kind = outbox.KindOf(f.Repository)
	}
	if !slices.Contains(build.ForgeKinds(), f.Kind) {
		return v, invalid("forge", "the host of the repository does not tell what it is: it is one of github, gitlab, gitea (Forgejo too), bitbucket, bitbucket-server")
	}
	if err := outbox.CheckRepository(f.Kind, f.Repository); err != nil {
		return v, invalid("repository", err.Error())
	}
	if f.API == "" {
		f.API = outbox.APIOf(f.Kind, f.Repository)
	}
	if err := outwardURL("api_url", f.API, s.PlainHTTP); err != nil {
		return v, err
	}
	if strings.Contains(f.API, "?") {
		return v, invalid("api_url", "it has no query")
	}
	if f.Context == "" {
		f.Context = "slipway/" + string(c.app.Name)
	}
	if err := line("context", f.Context, maxContext); err != nil {
		return v, err
	}
	if n := utf8.RuneCountInString(f.Token); n < 8 || n > 1000 || strings.ContainsFunc(f.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return v, invalid("token", "it has 8 to 1000 letters, digits and signs of ASCII: one that may set the statuses of commits")
	}
	if f, err = s.Store.PutForge(ctx, f); err != nil {
		return v, err
	}
	return forgeOf(c, f), nil
}

// hookedRepository is the one that the app's hooks are for.
func (s *server) hookedRepository(ctx context.Context, c *call) (string, error) {
	hooks, err := s.Store.Hooks(ctx, c.app.ID)
	if err != nil {
		return "", err
	}
	found := ""
	for _, h := range hooks {
		if found != "" && !build.SameRepository(found, h.Repository) {
			return "", invalid("repository", "name it: the app has hooks of several")
		}
		found = h.Repository
	}
	if found == "" {
		return "", invalid("repository", "name it: the app has no hook that would tell")
	}
	return found, nil
}

func (s *server) deleteForge(ctx context.Context, c *call) (v forgeView, err error) {
	if v, err = s.forge(ctx, c); err != nil {
		return v, err
	}
	return v, s.Store.DeleteForge(ctx, c.app.ID)
}
