package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// result is the answer to a call.
func result[T any](ctx context.Context, c *Client, method string, in any, path ...string) (T, error) {
	var out T
	err := c.change(ctx, method, in, &out, path...)
	return out, err
}

func (c *Client) change(ctx context.Context, method string, in, out any, path ...string) error {
	_, _, err := c.do(ctx, call{method: method, path: path, in: in, out: out})
	return err
}

// Account is whose token this is.
func (c *Client) Account(ctx context.Context) (Account, error) {
	return result[Account](ctx, c, http.MethodGet, nil, "account")
}

// Status is how the service does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return result[Status](ctx, c, http.MethodGet, nil, "status")
}

// Tokens lists the user's tokens.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return pages[Token](ctx, c, Range{}, "account", "tokens")
}

// CreateToken makes a token that may not more than the client's own.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (NewToken, error) {
	return result[NewToken](ctx, c, http.MethodPost, r, "account", "tokens")
}

// RevokeToken ends a token for ever.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, "account", "tokens", id)
}

// Keys lists the user's SSH keys.
func (c *Client) Keys(ctx context.Context) iter.Seq2[Key, error] {
	return pages[Key](ctx, c, Range{}, "account", "keys")
}

// AddKey adds an SSH key.
func (c *Client) AddKey(ctx context.Context, r KeyRequest) (Key, error) {
	return result[Key](ctx, c, http.MethodPost, r, "account", "keys")
}

// RemoveKey forgets an SSH key, by id or fingerprint.
func (c *Client) RemoveKey(ctx context.Context, id string) (Key, error) {
	return result[Key](ctx, c, http.MethodDelete, nil, "account", "keys", id)
}

// Users lists all users.
func (c *Client) Users(ctx context.Context) iter.Seq2[User, error] {
	return pages[User](ctx, c, Range{}, "users")
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, name string, admin bool) (NewUser, error) {
	return result[NewUser](ctx, c, http.MethodPost, map[string]any{"name": name, "admin": admin}, "users")
}

// DeleteUser removes a user with their tokens.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, "users", name)
}

// Apps lists the apps that the token sees.
func (c *Client) Apps(ctx context.Context) iter.Seq2[App, error] {
	return pages[App](ctx, c, Range{}, "apps")
}

// App finds an app by name or id.
func (c *Client) App(ctx context.Context, app string) (App, error) {
	return result[App](ctx, c, http.MethodGet, nil, "apps", app)
}

// CreateApp makes an app.
func (c *Client) CreateApp(ctx context.Context, change AppChange) (App, error) {
	return result[App](ctx, c, http.MethodPost, change, "apps")
}

// UpdateApp changes an app.
func (c *Client) UpdateApp(ctx context.Context, app string, change AppChange) (App, error) {
	return result[App](ctx, c, http.MethodPatch, change, "apps", app)
}

// DeleteApp removes an app with all that belongs to it.
func (c *Client) DeleteApp(ctx context.Context, app string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, "apps", app)
}

// ConfigVars are an app's config vars.
func (c *Client) ConfigVars(ctx context.Context, app string) (map[string]string, error) {
	return result[map[string]string](ctx, c, http.MethodGet, nil, "apps", app, "config-vars")
}

// ChangeConfigVars sets config vars and removes those whose value is nil, all or none, and returns what there is then.
func (c *Client) ChangeConfigVars(ctx context.Context, app string, vars map[string]*string) (map[string]string, error) {
	return result[map[string]string](ctx, c, http.MethodPatch, vars, "apps", app, "config-vars")
}

// Bindings lists an app's service bindings.
func (c *Client) Bindings(ctx context.Context, app string) iter.Seq2[Binding, error] {
	return pages[Binding](ctx, c, Range{}, "apps", app, "bindings")
}

// PutBinding makes a service binding or replaces it.
func (c *Client) PutBinding(ctx context.Context, app, name string, r BindingRequest) error {
	return c.change(ctx, http.MethodPut, r, nil, "apps", app, "bindings", name)
}

// DeleteBinding removes a service binding.
func (c *Client) DeleteBinding(ctx context.Context, app, name string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, "apps", app, "bindings", name)
}

// Credentials lists the hosts that an app has credentials of, or with no app those of git hosts that the user has.
func (c *Client) Credentials(ctx context.Context, app string, kind CredentialKind) iter.Seq2[Credential, error] {
	return pages[Credential](ctx, c, Range{}, kind.of(app)...)
}

// of is the path of an app's credentials, or the user's.
func (k CredentialKind) of(app string, more ...string) []string {
	if app == "" {
		return append([]string{"account", string(k)}, more...)
	}
	return append([]string{"apps", app, string(k)}, more...)
}

// PutCredential gives an app, or the user, credentials of a host, or other ones.
func (c *Client) PutCredential(ctx context.Context, app string, kind CredentialKind, host string, cr Credential) error {
	cr.Host = ""
	return c.change(ctx, http.MethodPut, cr, nil, kind.of(app, host)...)
}

// DeleteCredential forgets an app's, or the user's, credentials of a host.
func (c *Client) DeleteCredential(ctx context.Context, app string, kind CredentialKind, host string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, kind.of(app, host)...)
}

// Builds lists an app's builds, the newest first.
func (c *Client) Builds(ctx context.Context, app string) iter.Seq2[Build, error] {
	return pages[Build](ctx, c, Range{Attribute: "number", Desc: true}, "apps", app, "builds")
}

// Build finds a build by id or number.
func (c *Client) Build(ctx context.Context, app, build string) (Build, error) {
	return result[Build](ctx, c, http.MethodGet, nil, "apps", app, "builds", build)
}

// CreateBuild asks for a build. When it returns the build is accepted, and will end one way or another.
func (c *Client) CreateBuild(ctx context.Context, app string, r BuildRequest) (Build, error) {
	return result[Build](ctx, c, http.MethodPost, r, "apps", app, "builds")
}

// CancelBuild asks for a build's end. One that runs takes some seconds.
func (c *Client) CancelBuild(ctx context.Context, app, build string) (Build, error) {
	return result[Build](ctx, c, http.MethodPost, nil, "apps", app, "builds", build, "cancel")
}

// RetryBuild makes a new build of the same source.
func (c *Client) RetryBuild(ctx context.Context, app, build string) (Build, error) {
	return result[Build](ctx, c, http.MethodPost, nil, "apps", app, "builds", build, "retry")
}

// PurgeCache has the next build of an app begin without anything that earlier ones kept.
func (c *Client) PurgeCache(ctx context.Context, app string) (at time.Time, err error) {
	var out struct {
		PurgedAt time.Time `json:"purged_at"`
	}
	err = c.change(ctx, http.MethodDelete, nil, &out, "apps", app, "build-cache")
	return out.PurgedAt, err
}

// Releases lists an app's releases, the newest first.
func (c *Client) Releases(ctx context.Context, app string) iter.Seq2[Release, error] {
	return func(yield func(Release, error) bool) {
		for r, err := range pages[Release](ctx, c, Range{Attribute: "version", Desc: true}, "apps", app, "releases") {
			initial := err == nil && r.Version == 0 // what an app is that was never built: no release of anything
			if !initial && !yield(r, err) {
				return
			}
		}
	}
}

// Release finds a release by id or version.
func (c *Client) Release(ctx context.Context, app, release string) (Release, error) {
	return result[Release](ctx, c, http.MethodGet, nil, "apps", app, "releases", release)
}

// Rollback makes a new release of an earlier one's image.
func (c *Client) Rollback(ctx context.Context, app, release string) (Release, error) {
	return result[Release](ctx, c, http.MethodPost, map[string]string{"release": release}, "apps", app, "releases")
}
