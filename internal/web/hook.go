package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/webhook"
)

// A hookView is all of a hook but its URL and its secret.
type hookView struct {
	ID            build.ID `json:"id"`
	App           appRef   `json:"app"`
	User          userRef  `json:"user"` // whose its builds are
	Repository    string   `json:"repository"`
	Branches      []string `json:"branches"` // none: the app's branch
	Tags          []string `json:"tags"`     // none: no tag
	Paths         []string `json:"paths"`    // none: whatever is changed
	Submodules    bool     `json:"submodules"`
	CreatedAt     *stamp   `json:"created_at"`
	UpdatedAt     *stamp   `json:"updated_at"`
	PreviousUntil *stamp   `json:"previous_secret_until"` // how long the secret before the one there is now is taken too
}

// A newHook is a hook with what is told once: its secret, and its URL where that is new.
type newHook struct {
	hookView
	URL    *string `json:"url"`
	Secret string  `json:"secret"`
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (s *server) hookOf(ctx context.Context, c *call, h build.Hook) (hookView, error) {
	name, err := c.userName(ctx, h.User)
	v := hookView{
		ID: h.ID, App: appRef{c.app.ID, c.app.Name}, User: userRef{h.User, name}, Repository: h.Repository, Branches: list(h.Branches), Tags: list(h.Tags),
		Paths: list(h.Paths), Submodules: h.Submodules, CreatedAt: when(h.CreatedAt), UpdatedAt: when(h.UpdatedAt),
	}
	if time.Now().Before(h.PreviousUntil) {
		v.PreviousUntil = when(h.PreviousUntil)
	}
	return v, err
}

// newHookOf is a hook as it is told once.
func (s *server) newHookOf(ctx context.Context, c *call, h build.Hook, token, secret string) (newHook, error) {
	v, err := s.hookOf(ctx, c, h)
	out := newHook{hookView: v, Secret: secret}
	if token != "" {
		out.URL = text(s.at(c.Request, "/hooks/"+token).String())
	}
	return out, err
}

func (s *server) hooks(ctx context.Context, c *call) ([]hookView, error) {
	all, err := s.Store.Hooks(ctx, c.app.ID)
	if err != nil {
		return nil, err
	}
	if all, err = listed(c, all, attribute[build.Hook]{"id", func(h build.Hook) string { return string(h.ID) }}); err != nil {
		return nil, err
	}
	out := make([]hookView, len(all))
	for i, h := range all {
		if out[i], err = s.hookOf(ctx, c, h); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *server) hook(ctx context.Context, c *call) (v hookView, err error) {
	h, err := s.Store.Hook(ctx, c.app.ID, c.PathValue("hook"))
	if err != nil {
		return v, err
	}
	return s.hookOf(ctx, c, h)
}

// A hookRequest makes or changes a hook. What is not there stays as it is.
type hookRequest struct {
	Repository *string   `json:"repository"`
	Branches   *[]string `json:"branches"`
	Tags       *[]string `json:"tags"`
	Paths      *[]string `json:"paths"`
	Submodules *bool     `json:"submodules"`
}

// apply changes a hook, which the caller records if all of it is right.
func (in hookRequest) apply(h *build.Hook) error {
	if in.Repository != nil {
		if _, err := fetch.ParseGitURL(*in.Repository); err != nil {
			return invalid("repository", err.Error())
		}
		if err := noPassword("repository", *in.Repository, "keep it with PUT /apps/{app}/git-credentials/{host}"); err != nil {
			return err
		}
		h.Repository = *in.Repository
	}
	for _, p := range []struct {
		field string
		from  *[]string
		to    *[]string
	}{{"branches", in.Branches, &h.Branches}, {"tags", in.Tags, &h.Tags}, {"paths", in.Paths, &h.Paths}} {
		if p.from == nil {
			continue
		}
		if len(*p.from) > build.MaxPatterns {
			return invalid(p.field, fmt.Sprintf("there are more than %d", build.MaxPatterns))
		}
		for i, pattern := range *p.from {
			if err := webhook.CheckPattern(pattern); err != nil {
				return invalid(fmt.Sprintf("%s[%d]", p.field, i), oneLine(err.Error()))
			}
		}
		*p.to = *p.from
	}
	if in.Submodules != nil {
		h.Submodules = *in.Submodules
	}
	return nil
}

// newHookRequest is a hookRequest with a secret; without one it is made up.
type newHookRequest struct {
	hookRequest
	Secret string `json:"secret"`
}

// hookSecret is the secret that a request names, or a new one: in the form of Standard Webhooks, which every forge takes.
func hookSecret(s string) (string, error) {
	if s == "" {
		var random [32]byte
		rand.Read(random[:])
		return "whsec_" + base64.StdEncoding.EncodeToString(random[:]), nil
	}
	if len(s) < webhook.MinSecret || len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", invalid("secret", fmt.Sprintf("it has %d to 256 letters, digits and signs of ASCII, and no space; leave it out to have one made", webhook.MinSecret))
	}
	return s, nil
}

// mayHook refuses a token that could not build itself what a hook builds.
func (c *call) mayHook() error {
	if !c.actor.Can(build.VerbDeploy) {
		return forbidden("the token lacks the scope deploy, which is what a hook does")
	}
	return nil
}

func (s *server) createHook(ctx context.Context, c *call, in newHookRequest) (out newHook, err error) {
	if err := c.mayHook(); err != nil {
		return out, err
	}
	h := build.Hook{App: c.app.ID, User: c.actor.User.ID}
	if in.Repository == nil || *in.Repository == "" {
		return out, invalid("repository", "there is none: it is the URL that git clones from")
	}
	if err := in.apply(&h); err != nil {
		return out, err
	}
	secret, err := hookSecret(in.Secret)
	if err != nil {
		return out, err
	}
	h, token, err := s.Store.CreateHook(ctx, h, secret)
	if errors.Is(err, build.ErrConflict) {
		return out, conflict(fmt.Sprintf("the app has %d hooks, the most: delete one first", build.MaxHooks))
	}
	if err != nil {
		return out, err
	}
	return s.newHookOf(ctx, c, h, token, secret)
}

func (s *server) changeHook(ctx context.Context, c *call, in hookRequest) (v hookView, err error) {
	if err := c.mayHook(); err != nil {
		return v, err
	}
	h, err := s.Store.UpdateHook(ctx, c.app.ID, build.ID(c.PathValue("hook")), in.apply)
	if err != nil {
		return v, err
	}
	return s.hookOf(ctx, c, h)
}

func (s *server) deleteHook(ctx context.Context, c *call) (v hookView, err error) {
	if v, err = s.hook(ctx, c); err != nil {
		return v, err
	}
	return v, s.Store.DeleteHook(ctx, c.app.ID, v.ID)
}

// How long the secret before is taken after a hook got another.
const (
	defaultKeep = 7 * 24 * time.Hour
	maxKeep     = 90 * 24 * time.Hour
)

type rotateRequest struct {
	Secret string `json:"secret"`
	Keep   *int64 `json:"keep"` // seconds that the old one is taken too; 0: it ends at once
	URL    bool   `json:"url"`  // another URL too; the old one ends at once
}

func (s *server) rotateHook(ctx context.Context, c *call, in rotateRequest) (out newHook, err error) {
	if err := c.mayHook(); err != nil {
		return out, err
	}
	secret, err := hookSecret(in.Secret)
	if err != nil {
		return out, err
	}
	keep := defaultKeep
	if in.Keep != nil {
		if *in.Keep < 0 || *in.Keep > int64(maxKeep/time.Second) {
			return out, invalid("keep", "it is a number of seconds, at most 90 days")
		}
		keep = time.Duration(*in.Keep) * time.Second
	}
	h, token, err := s.Store.RotateHook(ctx, c.app.ID, build.ID(c.PathValue("hook")), secret, keep, in.URL)
	if err != nil {
		return out, err
	}
	return s.newHookOf(ctx, c, h, token, secret)
}
