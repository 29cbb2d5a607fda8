package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// buildsShown is how many builds a page of an app has.
const buildsShown = 20

type appData struct {
	App       build.App
	Owner     string
	Remote    string
	Image     string // repository
	Builds    []build.Build
	Older     int64 // number to begin with for older builds, 0 for none
	Paged     bool
	Current   *build.Release
	Made      *build.Build // that made the current image, with what it was made of
	Config    []string     // names
	Bindings  []string
	Hooks     []hookView
	Webhooks  []webhookView
	Outgoing  []build.Message
	Tokens    []build.Token
	Cache     *Cache
	Builder   string
	MayConfig bool
	Badge     string // URL
	Page      string // URL of this page
}

type hookView struct {
	build.Hook
	Deliveries []build.Delivery
}

// A webhookView is without the URL's path, which may be a password.
type webhookView struct {
	build.Webhook
	Host string
}

const deliveriesShown = 5

func (c *Console) appPage(ctx context.Context, v *visit) error {
	a, err := v.app(ctx)
	if err != nil {
		return err
	}
	d := appData{App: a, Image: c.repository(a), Builder: a.Builder, Remote: c.at(v.Request, "/"+string(a.Name)+".git").String(), MayConfig: v.actor.Can(build.VerbConfig)}
	if d.Builder == "" {
		d.Builder = c.Builder
	}
	d.Badge, d.Page = c.badgeURL(v.Request, a), c.at(v.Request, "/console/apps/"+string(a.Name)).String()
	for _, fill := range []func(context.Context, *visit, *appData) error{c.fillBuilds, c.fillImage, c.fillConfig, c.fillHooks, c.fillTokens} {
		if err := fill(ctx, v, &d); err != nil {
			return err
		}
	}
	return v.page(http.StatusOK, "app", string(a.Name), d)
}

func (c *Console) repository(a build.App) string {
	if a.Image != "" {
		return a.Image
	}
	return c.Registry + "/" + string(a.Name)
}

func (c *Console) fillBuilds(ctx context.Context, v *visit, d *appData) (err error) {
	p := store.Page{Max: buildsShown + 1, Desc: true}
	if text := v.URL.Query().Get("to"); text != "" {
		if p.To, err = strconv.ParseInt(text, 10, 64); err != nil || p.To < 1 {
			return nowhere("There are no such builds.")
		}
		d.Paged = true
	}
	if d.Builds, err = c.Store.PlainBuilds(ctx, d.App.ID, p); err != nil {
		return err
	}
	if len(d.Builds) > buildsShown {
		d.Older = d.Builds[buildsShown].Number
		d.Builds = d.Builds[:buildsShown]
	}
	d.Owner, err = c.userName(ctx, d.App.Owner)
	return err
}

func (c *Console) fillImage(ctx context.Context, _ *visit, d *appData) error {
	r, err := c.Store.Current(ctx, d.App.ID)
	if errors.Is(err, build.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d.Current = &r
	if r.Build == "" {
		return nil
	}
	b, err := c.Store.BuildByID(ctx, r.Build)
	if err == nil {
		d.Made = &b
	} else if errors.Is(err, build.ErrNotFound) {
		err = nil
	}
	return err
}

// fillConfig tells names, and only to whom the API would tell the values too.
func (c *Console) fillConfig(ctx context.Context, _ *visit, d *appData) error {
	if c.Cache != nil {
		if k, ok := c.Cache(d.App); ok {
			d.Cache = &k
		}
	}
	if !d.MayConfig {
		return nil
	}
	for kind, into := range map[store.SecretKind]*[]string{store.SecretVar: &d.Config, store.SecretBinding: &d.Bindings} {
		names, err := c.Store.SecretNames(ctx, d.App.ID, kind)
		if err != nil {
			return err
		}
		*into = names
	}
	return nil
}

func (c *Console) fillHooks(ctx context.Context, _ *visit, d *appData) error {
	hooks, err := c.Store.Hooks(ctx, d.App.ID)
	if err != nil {
		return err
	}
	for _, h := range hooks {
		all, err := c.Store.Deliveries(ctx, h.ID, store.Page{Max: deliveriesShown, Desc: true})
		if err != nil {
			return err
		}
		d.Hooks = append(d.Hooks, hookView{h, all})
	}
	if !d.MayConfig {
		return nil
	}
	webhooks, err := c.Store.Webhooks(ctx, d.App.ID)
	if err != nil {
		return err
	}
	for _, w := range webhooks {
		host, _ := build.RepositoryPath(w.URL)
		d.Webhooks = append(d.Webhooks, webhookView{w, host})
	}
	d.Outgoing, err = c.Store.Messages(ctx, d.App.ID, build.MessageWebhook, store.Page{Max: 2 * deliveriesShown, Desc: true})
	return err
}

// fillTokens lists the visitor's tokens that are for this app.
func (c *Console) fillTokens(ctx context.Context, v *visit, d *appData) error {
	if !v.actor.Can(build.VerbManage) {
		return nil
	}
	all, err := c.Store.Tokens(ctx, v.actor.User.ID)
	d.Tokens = slices.DeleteFunc(all, func(t build.Token) bool { return t.App != d.App.ID || !t.RevokedAt.IsZero() })
	return err
}

func (c *Console) purgeCache(ctx context.Context, v *visit) error {
	a, err := v.app(ctx)
	if err == nil {
		err = v.may(build.VerbConfig)
	}
	if err == nil {
		err = c.Store.PurgeCache(ctx, a.ID)
	}
	if err != nil {
		return err
	}
	return v.say(done, "The build cache is dropped: the next build begins without one.", "/console/apps/"+string(a.Name))
}

// buildpacksOf is what an app's builds choose from, as links to their pages.
func buildpacksOf(a build.App) (all []string) {
	for _, b := range a.Buildpacks {
		all = append(all, strings.TrimPrefix(b, "urn:cnb:registry:"))
	}
	return all
}

// targetsOf are what a buildpack says it works on.
func targetsOf(all []build.BuildpackTarget) (out []string) {
	for _, t := range all {
		parts := []string{}
		for _, p := range []string{t.OS, t.Arch, t.Variant} {
			if p != "" {
				parts = append(parts, p)
			}
		}
		name := strings.Join(parts, "/")
		for _, d := range t.Distros {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", name, d.Name, d.Version)))
		}
		if len(t.Distros) == 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
