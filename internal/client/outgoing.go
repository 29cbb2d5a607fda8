package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A Webhook is a URL that is told of an app's events.
type Webhook struct {
	ID        string      `json:"id"`
	App       Name        `json:"app"`
	URL       string      `json:"url"`
	Include   []string    `json:"include"`
	Level     build.Level `json:"level"`
	Signed    bool        `json:"signed"`
	Disabled  string      `json:"disabled,omitempty"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
}

// A NewWebhook is a webhook with its secret, which nobody is told again.
type NewWebhook struct {
	Webhook
	Secret string `json:"secret"`
}

// A WebhookChange makes or changes a webhook: what is nil stays as it is.
type WebhookChange struct {
	URL           *string      `json:"url,omitempty"`
	Include       *[]string    `json:"include,omitempty"`
	Level         *build.Level `json:"level,omitempty"`
	Secret        *string      `json:"secret,omitempty"`
	Authorization *string      `json:"authorization,omitempty"`
}

// An Outgoing is a delivery to a webhook.
type Outgoing struct {
	ID     string `json:"id"`
	Number int64  `json:"number"`
	Event  struct {
		ID      string `json:"id"`
		Include string `json:"include"`
	} `json:"event"`
	Webhook struct {
		ID    string      `json:"id"`
		Level build.Level `json:"level"`
	} `json:"webhook"`
	Status      string     `json:"status"`
	Attempts    int        `json:"num_attempts"`
	NextAttempt *time.Time `json:"next_attempt_at"`
	LastAttempt *Attempt   `json:"last_attempt"`
	Build       *BuildName `json:"build"`
	Error       string     `json:"error,omitempty"`
	Answer      string     `json:"answer,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
}

// An Attempt is one of those to deliver something.
type Attempt struct {
	ID        string    `json:"id"`
	Code      int       `json:"code,omitempty"` // of HTTP; 0: no answer
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
}

// A WebhookEvent is something that webhooks are told.
type WebhookEvent struct {
	ID        string          `json:"id"`
	Include   string          `json:"include"`
	Payload   json.RawMessage `json:"payload"`
	CreatedAt time.Time       `json:"created_at"`
}

// A Forge is where the commits of an app's builds get statuses.
type Forge struct {
	App        Name            `json:"app"`
	Forge      build.ForgeKind `json:"forge"`
	Repository string          `json:"repository"`
	API        string          `json:"api_url"`
	Context    string          `json:"context"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

// A ForgeRequest says which: what is empty the service finds out, but for the token.
type ForgeRequest struct {
	Forge      string `json:"forge,omitempty"`
	Repository string `json:"repository,omitempty"`
	API        string `json:"api_url,omitempty"`
	Context    string `json:"context,omitempty"`
	Token      string `json:"token"`
}

// A CommitStatus is what the forge was told of a commit, or is to be told.
type CommitStatus struct {
	ID          string             `json:"id"`
	Number      int64              `json:"number"`
	Build       *BuildName         `json:"build"`
	Commit      string             `json:"commit"`
	State       build.StatusState  `json:"state"`
	Description string             `json:"description"`
	Result      build.MessageState `json:"result"`
	Attempts    int                `json:"num_attempts"`
	NextAttempt *time.Time         `json:"next_attempt_at"`
	Code        int                `json:"code,omitempty"`
	Error       string             `json:"error,omitempty"`
	Answer      string             `json:"answer,omitempty"`
	AttemptedAt *time.Time         `json:"attempted_at"`
	CreatedAt   time.Time          `json:"created_at"`
	UpdatedAt   time.Time          `json:"updated_at"`
}

// Webhooks lists an app's webhooks.
func (c *Client) Webhooks(ctx context.Context, app string) iter.Seq2[Webhook, error] {
	return pages[Webhook](ctx, c, Range{}, "apps", app, "webhooks")
}

// Webhook finds a webhook by id.
func (c *Client) Webhook(ctx context.Context, app, webhook string) (Webhook, error) {
	return result[Webhook](ctx, c, http.MethodGet, nil, "apps", app, "webhooks", webhook)
}

// AddWebhook makes a webhook.
func (c *Client) AddWebhook(ctx context.Context, app string, change WebhookChange) (NewWebhook, error) {
	return result[NewWebhook](ctx, c, http.MethodPost, change, "apps", app, "webhooks")
}

// UpdateWebhook changes a webhook, and enables it.
func (c *Client) UpdateWebhook(ctx context.Context, app, webhook string, change WebhookChange) (Webhook, error) {
	return result[Webhook](ctx, c, http.MethodPatch, change, "apps", app, "webhooks", webhook)
}

// RemoveWebhook deletes a webhook with its deliveries.
func (c *Client) RemoveWebhook(ctx context.Context, app, webhook string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, "apps", app, "webhooks", webhook)
}

// Outgoing lists the deliveries to an app's webhooks, the newest first.
func (c *Client) Outgoing(ctx context.Context, app string) iter.Seq2[Outgoing, error] {
	return pages[Outgoing](ctx, c, Range{Attribute: "number", Desc: true}, "apps", app, "webhook-deliveries")
}

// OutgoingOne finds a delivery by number or id.
func (c *Client) OutgoingOne(ctx context.Context, app, delivery string) (Outgoing, error) {
	return result[Outgoing](ctx, c, http.MethodGet, nil, "apps", app, "webhook-deliveries", delivery)
}

// SendAgain has a delivery sent once more.
func (c *Client) SendAgain(ctx context.Context, app, delivery string) (Outgoing, error) {
	return result[Outgoing](ctx, c, http.MethodPost, nil, "apps", app, "webhook-deliveries", delivery, "actions", "redeliver")
}

// WebhookEvent finds an event by id.
func (c *Client) WebhookEvent(ctx context.Context, app, event string) (WebhookEvent, error) {
	return result[WebhookEvent](ctx, c, http.MethodGet, nil, "apps", app, "webhook-events", event)
}

// Forge tells where statuses go.
func (c *Client) Forge(ctx context.Context, app string) (Forge, error) {
	return result[Forge](ctx, c, http.MethodGet, nil, "apps", app, "forge")
}

// PutForge sets where statuses go.
func (c *Client) PutForge(ctx context.Context, app string, r ForgeRequest) (Forge, error) {
	return result[Forge](ctx, c, http.MethodPut, r, "apps", app, "forge")
}

// DeleteForge ends the statuses.
func (c *Client) DeleteForge(ctx context.Context, app string) error {
	return c.change(ctx, http.MethodDelete, nil, nil, "apps", app, "forge")
}

// Statuses lists what the forge was told, or is to be told, the newest first.
func (c *Client) Statuses(ctx context.Context, app string) iter.Seq2[CommitStatus, error] {
	return pages[CommitStatus](ctx, c, Range{Attribute: "number", Desc: true}, "apps", app, "statuses")
}

// TellAgain has the forge told a status once more.
func (c *Client) TellAgain(ctx context.Context, app, status string) (CommitStatus, error) {
	return result[CommitStatus](ctx, c, http.MethodPost, nil, "apps", app, "statuses", status, "actions", "redeliver")
}
