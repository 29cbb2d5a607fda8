package client

import (
	"context"
	"iter"
	"net/http"
)

// Hooks lists an app's hooks.
func (c *Client) Hooks(ctx context.Context, app string) iter.Seq2[Hook, error] {
	return pages[Hook](ctx, c, Range{}, "apps", app, "hooks")
}

// Hook finds a hook by id.
func (c *Client) Hook(ctx context.Context, app, hook string) (Hook, error) {
	return result[Hook](ctx, c, http.MethodGet, nil, "apps", app, "hooks", hook)
}

// CreateHook makes a hook.
func (c *Client) CreateHook(ctx context.Context, app string, change HookChange) (NewHook, error) {
	return result[NewHook](ctx, c, http.MethodPost, change, "apps", app, "hooks")
}

// UpdateHook changes what a hook builds.
func (c *Client) UpdateHook(ctx context.Context, app, hook string, change HookChange) (Hook, error) {
	return result[Hook](ctx, c, http.MethodPatch, change, "apps", app, "hooks", hook)
}

// RotateHook gives a hook another secret.
func (c *Client) RotateHook(ctx context.Context, app, hook string, r HookRotation) (NewHook, error) {
	return result[NewHook](ctx, c, http.MethodPost, r, "apps", app, "hooks", hook, "rotate")
}

// DeleteHook removes a hook with its journal.
func (c *Client) DeleteHook(ctx context.Context, app, hook string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, "apps", app, "hooks", hook)
}

// Deliveries lists a hook's journal, the newest first.
func (c *Client) Deliveries(ctx context.Context, app, hook string) iter.Seq2[Delivery, error] {
	return pages[Delivery](ctx, c, Range{Attribute: "number", Desc: true}, "apps", app, "hooks", hook, "deliveries")
}

// Redeliver has the service decide about a delivery again.
func (c *Client) Redeliver(ctx context.Context, app, hook, delivery string) (Delivery, error) {
	return result[Delivery](ctx, c, http.MethodPost, nil, "apps", app, "hooks", hook, "deliveries", delivery, "redeliver")
}
