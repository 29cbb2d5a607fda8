package web

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
)

// A key is an SSH key as the Platform API has it, and what it may.
type key struct {
	ID          build.ID     `json:"id"`
	Comment     string       `json:"comment"`
	Email       string       `json:"email"`
	Fingerprint string       `json:"fingerprint"`
	PublicKey   string       `json:"public_key"`
	Scope       []build.Verb `json:"scope"`
	App         *appRef      `json:"app"`
	CreatedAt   *stamp       `json:"created_at"`
	UpdatedAt   *stamp       `json:"updated_at"`
	ExpiresAt   *stamp       `json:"expires_at"`
	LastUsedAt  *stamp       `json:"last_used_at"`
}

type keyRequest struct {
	PublicKey string   `json:"public_key"` // a line of authorized_keys
	Comment   string   `json:"comment"`    // empty: that of the line
	Scope     []string `json:"scope"`      // empty: read and deploy
	App       string   `json:"app"`        // id or name; empty: all apps
	ExpiresIn int64    `json:"expires_in"` // seconds; 0: when the token that asks does
}

func (s *server) keyOf(ctx context.Context, c *call, t build.Token) (key, error) {
	v, err := s.tokenOf(ctx, t)
	_, fingerprint, _, perr := gitserver.ParsePublicKey(t.PublicKey)
	return key{
		ID: t.ID, Comment: t.Description, Email: c.actor.User.Name, Fingerprint: fingerprint, PublicKey: t.PublicKey, Scope: t.Verbs, App: v.App,
		CreatedAt: v.CreatedAt, UpdatedAt: v.CreatedAt, ExpiresAt: v.ExpiresAt, LastUsedAt: v.LastUsedAt,
	}, errors.Join(err, perr)
}

func (s *server) keys(ctx context.Context, c *call) ([]key, error) {
	all, err := s.Store.Keys(ctx, c.actor.User.ID)
	if err != nil {
		return nil, err
	}
	all, err = listed(c, all, attribute[build.Token]{"id", func(t build.Token) string { return string(t.ID) }})
	if err != nil {
		return nil, err
	}
	out := make([]key, len(all))
	for i, t := range all {
		if out[i], err = s.keyOf(ctx, c, t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// key is a key of the user, by its id or fingerprint.
func (s *server) key(ctx context.Context, c *call) (key, error) {
	all, err := s.Store.Keys(ctx, c.actor.User.ID)
	if err != nil {
		return key{}, err
	}
	for _, t := range all {
		k, err := s.keyOf(ctx, c, t)
		if err != nil {
			return key{}, err
		}
		if id := c.PathValue("id"); string(k.ID) == id || k.Fingerprint == id {
			return k, nil
		}
	}
	return key{}, &problem{http.StatusNotFound, "not_found", "you have no such key"}
}

func (s *server) addKey(ctx context.Context, c *call, in keyRequest) (out key, err error) {
	public, fingerprint, comment, err := gitserver.ParsePublicKey(in.PublicKey)
	if err != nil {
		return out, invalid("public_key", err.Error())
	}
	if in.Comment == "" {
		in.Comment = oneLine(comment)
	}
	if len(in.Scope) == 0 {
		for _, v := range []build.Verb{build.VerbRead, build.VerbDeploy} {
			if slices.Contains(c.actor.Token.Verbs, v) {
				in.Scope = append(in.Scope, string(v))
			}
		}
	}
	t, err := s.tokenFor(ctx, c, tokenRequest{Description: in.Comment, Scope: in.Scope, App: in.App, ExpiresIn: in.ExpiresIn})
	if err != nil {
		return out, err
	}
	t.PublicKey = string(public)
	t, err = s.Store.AddKey(ctx, t)
	if errors.Is(err, build.ErrConflict) {
		return out, conflict("public_key: the key " + fingerprint + " is in use already")
	}
	if err != nil {
		return out, err
	}
	return s.keyOf(ctx, c, t)
}

func (s *server) removeKey(ctx context.Context, c *call) (key, error) {
	k, err := s.key(ctx, c)
	if err == nil {
		err = s.Store.RemoveKey(ctx, c.actor.User.ID, k.ID)
	}
	return k, err
}
