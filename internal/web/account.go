package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

type user struct {
	ID        build.ID `json:"id"`
	Email     string   `json:"email"`
	Name      string   `json:"name"`
	Admin     bool     `json:"admin"`
	CreatedAt *stamp   `json:"created_at"`
}

func userOf(u build.User) user {
	return user{u.ID, u.Name, u.Name, u.Admin, when(u.CreatedAt)}
}

// A token is everything of a token but its text.
type token struct {
	ID          build.ID     `json:"id"`
	Description string       `json:"description"`
	Scope       []build.Verb `json:"scope"`
	App         *appRef      `json:"app"`
	CreatedAt   *stamp       `json:"created_at"`
	ExpiresAt   *stamp       `json:"expires_at"`
	LastUsedAt  *stamp       `json:"last_used_at"`
}

func (s *server) tokenOf(ctx context.Context, t build.Token) (token, error) {
	v := token{ID: t.ID, Description: t.Description, Scope: t.Verbs, CreatedAt: when(t.CreatedAt), ExpiresAt: when(t.ExpiresAt), LastUsedAt: when(t.LastUsedAt)}
	if t.App == "" {
		return v, nil
	}
	a, err := s.Store.AppByID(ctx, t.App)
	if errors.Is(err, build.ErrNotFound) {
		err = nil // the app is gone, and the token of no use
	}
	v.App = &appRef{t.App, a.Name}
	return v, err
}

type account struct {
	user
	Token token `json:"token"`
}

func (s *server) account(ctx context.Context, c *call) (account, error) {
	t, err := s.tokenOf(ctx, c.actor.Token)
	return account{userOf(c.actor.User), t}, err
}

func (s *server) tokens(ctx context.Context, c *call) ([]token, error) {
	all, err := s.Store.Tokens(ctx, c.actor.User.ID)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(t build.Token) bool { return !t.RevokedAt.IsZero() })
	all, err = listed(c, all, attribute[build.Token]{"id", func(t build.Token) string { return string(t.ID) }})
	if err != nil {
		return nil, err
	}
	out := make([]token, len(all))
	for i, t := range all {
		if out[i], err = s.tokenOf(ctx, t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type tokenRequest struct {
	Description string   `json:"description"`
	Scope       []string `json:"scope"`      // empty: that of the token that asks
	App         string   `json:"app"`        // id or name; empty: all apps
	ExpiresIn   int64    `json:"expires_in"` // seconds; 0: when the token that asks does
}

type newToken struct {
	token
	Text string `json:"token"` // shown once, and kept nowhere
}

const maxLife = 100 * 365 * 24 * time.Hour

func (s *server) createToken(ctx context.Context, c *call, in tokenRequest) (out newToken, err error) {
	t, err := s.tokenFor(ctx, c, in)
	if err != nil {
		return out, err
	}
	t, text, err := s.Store.CreateToken(ctx, t)
	if err != nil {
		return out, err
	}
	out.Text = text
	out.token, err = s.tokenOf(ctx, t)
	return out, err
}

// tokenFor is what somebody asks for, who may not be given more than they have.
func (s *server) tokenFor(ctx context.Context, c *call, in tokenRequest) (t build.Token, err error) {
	own := c.actor.Token
	t = build.Token{User: c.actor.User.ID, Description: in.Description, ExpiresAt: own.ExpiresAt}
	if err := line("description", in.Description, 200); err != nil {
		return t, err
	}
	if t.Verbs, err = scope(c.actor, in.Scope); err != nil {
		return t, err
	}
	if in.App != "" {
		a, err := s.Store.App(ctx, c.actor, in.App)
		if err != nil {
			return t, err
		}
		t.App = a.ID
	}
	if in.ExpiresIn < 0 || in.ExpiresIn > int64(maxLife/time.Second) {
		return t, invalid("expires_in", "it is a number of seconds, at most a hundred years")
	}
	if in.ExpiresIn > 0 {
		end := time.Now().Add(time.Duration(in.ExpiresIn) * time.Second)
		if !own.ExpiresAt.IsZero() && end.After(own.ExpiresAt) {
			return t, invalid("expires_in", "it would outlive the token that asks for it, which ends at "+own.ExpiresAt.UTC().Format(time.RFC3339))
		}
		t.ExpiresAt = end
	}
	return t, nil
}

// scope reads what a token may do: nothing that the one who asks may not.
func scope(who build.Actor, words []string) ([]build.Verb, error) {
	if len(words) == 0 {
		return who.Token.Verbs, nil
	}
	var verbs []build.Verb
	for _, w := range words {
		v, err := build.ParseVerb(w)
		if err != nil {
			return nil, invalid("scope", "it is a list of read, deploy, config, manage")
		}
		if !who.Can(v) {
			return nil, forbidden(fmt.Sprintf("scope: the token that asks lacks %s itself", v))
		}
		if !slices.Contains(verbs, v) {
			verbs = append(verbs, v)
		}
	}
	return verbs, nil
}

func (s *server) revokeToken(ctx context.Context, c *call) (out token, err error) {
	all, err := s.Store.Tokens(ctx, c.actor.User.ID)
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(all, func(t build.Token) bool { return string(t.ID) == c.PathValue("id") && t.RevokedAt.IsZero() })
	if i < 0 {
		return out, &problem{http.StatusNotFound, "not_found", "you have no such token"}
	}
	if err := s.Store.RevokeToken(ctx, c.actor.User.ID, all[i].ID); err != nil {
		return out, err
	}
	return s.tokenOf(ctx, all[i])
}

func (s *server) users(ctx context.Context, c *call) ([]user, error) {
	all, err := s.Store.Users(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]user, len(all))
	for i, u := range all {
		out[i] = userOf(u)
	}
	return listed(c, out, attribute[user]{"name", func(u user) string { return u.Name }}, attribute[user]{"id", func(u user) string { return string(u.ID) }})
}

func (s *server) user(ctx context.Context, c *call) (user, error) {
	u, err := s.Store.User(ctx, c.PathValue("name"))
	return userOf(u), err
}

// deleteUser removes a user; of their apps and builds nothing goes with them.
func (s *server) deleteUser(ctx context.Context, c *call) (user, error) {
	u, err := s.Store.User(ctx, c.PathValue("name"))
	if err == nil {
		err = s.Store.DeleteUser(ctx, u.ID)
	}
	for _, why := range []error{store.ErrLastAdmin, store.ErrOwner} {
		if errors.Is(err, why) {
			return user{}, conflict(fmt.Sprintf("user %s stays: %s", u.Name, why))
		}
	}
	return userOf(u), err
}

type userRequest struct {
	Name  string `json:"name"`
	Admin bool   `json:"admin"`
}

type newUser struct {
	user
	Text string `json:"token"` // shown once, and kept nowhere
}

// createUser makes a user and a token that may what the one who asks may, as long as that one may.
func (s *server) createUser(ctx context.Context, c *call, in userRequest) (out newUser, err error) {
	if _, isID := build.ParseID(in.Name); isID == nil || !userPattern().MatchString(in.Name) {
		return out, invalid("name", "it has letters, digits and . _ + @ -, like an e-mail address, and begins with a letter or digit")
	}
	u, err := s.Store.CreateUser(ctx, in.Name, in.Admin)
	if errors.Is(err, build.ErrConflict) {
		return out, conflict("name: there is a user " + in.Name + " already")
	}
	if err != nil {
		return out, err
	}
	out.user = userOf(u)
	_, out.Text, err = s.Store.CreateToken(ctx, build.Token{User: u.ID, Description: "the first", Verbs: c.actor.Token.Verbs, ExpiresAt: c.actor.Token.ExpiresAt})
	return out, err
}
