package web

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
)

// A webhookView is all of a webhook but its secret and its authorization.
type webhookView struct {
	ID        build.ID    `json:"id"`
	App       appRef      `json:"app"`
	URL       string      `json:"url"`
	Include   []string    `json:"include"`
	Level     build.Level `json:"level"`
	Signed    bool        `json:"signed"`   // it has a secret
	Disabled  *string     `json:"disabled"` // why nothing is sent any more; any change enables it
	CreatedAt *stamp      `json:"created_at"`
	UpdatedAt *stamp      `json:"updated_at"`
}

// A newWebhook is a webhook with its secret, which is told once; clients of the Platform API look for it in the header
// Heroku-Webhook-Secret.
type newWebhook struct {
	webhookView
	Secret string `json:"secret"`
}

func webhookOf(c *call, w build.Webhook) webhookView {
	return webhookView{w.ID, appRef{c.app.ID, c.app.Name}, w.URL, w.Include, w.Level, w.Secret != "", text(w.Disabled), when(w.CreatedAt), when(w.UpdatedAt)}
}

func (s *server) webhooks(ctx context.Context, c *call) ([]webhookView, error) {
	all, err := s.Store.Webhooks(ctx, c.app.ID)
	if err != nil {
		return nil, err
	}
	if all, err = listed(c, all, attribute[build.Webhook]{"id", func(w build.Webhook) string { return string(w.ID) }}); err != nil {
		return nil, err
	}
	out := make([]webhookView, len(all))
	for i, w := range all {
		out[i] = webhookOf(c, w)
	}
	return out, nil
}

func (s *server) webhook(ctx context.Context, c *call) (v webhookView, err error) {
	w, err := s.Store.Webhook(ctx, c.app.ID, c.PathValue("webhook"))
	if err != nil {
		return v, err
	}
	return webhookOf(c, w), nil
}

// A webhookRequest makes or changes a webhook. What is not there, or null, stays as it is.
type webhookRequest struct {
	URL           *string      `json:"url"`
	Include       *[]string    `json:"include"`
	Level         *build.Level `json:"level"`
	Secret        *string      `json:"secret"`        // a new webhook without one has one made
	Authorization *string      `json:"authorization"` // header that is sent; "" takes it away
}

// apply changes a webhook, which the caller records if all of it is right. Any change enables it.
func (in webhookRequest) apply(w *build.Webhook, plain bool) error {
	if in.URL != nil {
		if err := outwardURL("url", *in.URL, plain); err != nil {
			return err
		}
		if hostOf(*in.URL) != hostOf(w.URL) {
			w.Authorization = "" // which was meant for the host before
		}
		w.URL = *in.URL
	}
	if in.Include != nil {
		for i, name := range *in.Include {
			if !slices.Contains(build.Includes(), name) {
				return invalid(fmt.Sprintf("include[%d]", i), fmt.Sprintf("there are events of %s, not of %.40q", strings.Join(build.Includes(), " and "), name))
			}
		}
		all := slices.Clone(*in.Include)
		slices.Sort(all)
		if w.Include = slices.Compact(all); len(w.Include) == 0 {
			return invalid("include", "it names no events: there are those of "+strings.Join(build.Includes(), " and "))
		}
	}
	if in.Level != nil {
		if *in.Level != build.LevelNotify && *in.Level != build.LevelSync {
			return invalid("level", fmt.Sprintf("it is %s, which tries once, or %s, which tries until it is taken", build.LevelNotify, build.LevelSync))
		}
		w.Level = *in.Level
	}
	for _, f := range []struct {
		field string
		from  *string
		to    *string
		least int
	}{{"secret", in.Secret, &w.Secret, 8}, {"authorization", in.Authorization, &w.Authorization, 0}} {
		if f.from == nil {
			continue
		}
		if len(*f.from) < f.least || len(*f.from) > 1000 || strings.ContainsFunc(*f.from, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			return invalid(f.field, fmt.Sprintf("it has %d to 1000 letters, digits and signs of ASCII", f.least))
		}
		*f.to = *f.from
	}
	w.Disabled = ""
	return nil
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// outwardURL refuses a URL that the service should not send to. What is private is refused when it is connected to. The
// message does not have the URL: it may be secret.
func outwardURL(field, text string, plain bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || len(text) > 2000 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return invalid(field, "it is no URL of the form https://host/path")
	case u.Scheme == "http" && !plain:
		return invalid(field, "it begins with https://: the operator has not allowed http (fetch.http)")
	case u.Scheme != "https" && u.Scheme != "http":
		return invalid(field, "it begins with https://")
	case u.User != nil:
		return invalid(field, "a user or password in it is not used")
	case u.Fragment != "":
		return invalid(field, "it has no #")
	}
	return nil
}

func (s *server) createWebhook(ctx context.Context, c *call, in webhookRequest) (out newWebhook, err error) {
	if in.URL == nil || in.Include == nil || in.Level == nil {
		return out, invalid("webhook", "it needs url, include and level")
	}
	w, err := s.makeWebhook(ctx, c, in)
	if err != nil {
		return out, err
	}
	c.w.Header().Set("Heroku-Webhook-Secret", w.Secret)
	return newWebhook{webhookOf(c, w), w.Secret}, nil
}

// makeWebhook records a webhook, which is told of include besides what the request says.
func (s *server) makeWebhook(ctx context.Context, c *call, in webhookRequest, include ...string) (w build.Webhook, err error) {
	w = build.Webhook{App: c.app.ID, User: c.actor.User.ID, Include: include}
	if in.Secret == nil || *in.Secret == "" {
		secret, err := hookSecret("")
		if err != nil {
			return w, err
		}
		in.Secret = &secret
	}
	if err := in.apply(&w, s.PlainHTTP); err != nil {
		return w, err
	}
	w, err = s.Store.CreateWebhook(ctx, w)
	if errors.Is(err, build.ErrConflict) {
		err = conflict(fmt.Sprintf("the app has %d webhooks, the most: delete one first", build.MaxWebhooks))
	}
	return w, err
}

func (s *server) changeWebhook(ctx context.Context, c *call, in webhookRequest) (v webhookView, err error) {
	w, err := s.Store.UpdateWebhook(ctx, c.app.ID, build.ID(c.PathValue("webhook")), func(w *build.Webhook) error { return in.apply(w, s.PlainHTTP) })
	if err != nil {
		return v, err
	}
	return webhookOf(c, w), nil
}

func (s *server) deleteWebhook(ctx context.Context, c *call) (v webhookView, err error) {
	if v, err = s.webhook(ctx, c); err != nil {
		return v, err
	}
	return v, s.Store.DeleteWebhook(ctx, c.app.ID, v.ID)
}
