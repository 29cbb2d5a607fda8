package client

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A Deployer is what happens after a release of an app.
type Deployer struct {
	Kind      build.DeployerKind `json:"kind"`
	Command   []string           `json:"command"`
	Time      int64              `json:"time"` // seconds
	Path      string             `json:"path,omitempty"`
	Port      *int               `json:"port"`
	Webhook   *string            `json:"webhook"`
	Secret    string             `json:"secret,omitempty"` // of a webhook, when it is set
	UpdatedAt *time.Time         `json:"updated_at"`
}

// A DeployerRequest sets one as a whole.
type DeployerRequest struct {
	Kind    build.DeployerKind `json:"kind"`
	Command []string           `json:"command,omitempty"`
	Time    int64              `json:"time,omitempty"`
	Path    string             `json:"path,omitempty"`
	URL     *string            `json:"url,omitempty"`
	Secret  *string            `json:"secret,omitempty"`
}

// A Deployment is what became of a release at the hands of the app's deployer.
type Deployment struct {
	ID        string                 `json:"id"`
	Number    int64                  `json:"number"`
	App       Name                   `json:"app"`
	Release   ReleaseName            `json:"release"`
	Kind      build.DeployerKind     `json:"kind"`
	Reason    build.DeploymentReason `json:"reason"`
	State     build.DeploymentState  `json:"state"`
	URL       string                 `json:"url,omitempty"`
	Failure   string                 `json:"failure,omitempty"`
	Restarts  int                    `json:"restarts"`
	CreatedAt time.Time              `json:"created_at"`
	UpdatedAt time.Time              `json:"updated_at"`
}

// A Run is a command that runs once in the image of a release.
type Run struct {
	ID      string      `json:"id"`
	State   build.State `json:"state"`
	Exit    *int        `json:"exit"`
	Failure string      `json:"failure,omitempty"`
}

// A RunRequest asks for one: Command is executed as it is, Script is for the image's shell.
type RunRequest struct {
	Command []string `json:"command,omitempty"`
	Script  string   `json:"script,omitempty"`
	Release string   `json:"release,omitempty"`
	Time    int64    `json:"time,omitempty"` // seconds
}

// DeploymentLog is what a deployer's command has printed, or a process until it answered.
func DeploymentLog(app, deployment string) LogOf {
	return logOf("apps", app, "deployments", deployment)
}

// RunLog is what a run has printed.
func RunLog(app, run string) LogOf { return logOf("apps", app, "runs", run) }

// Deployer is what happens after a release of an app.
func (c *Client) Deployer(ctx context.Context, app string) (Deployer, error) {
	return result[Deployer](ctx, c, http.MethodGet, nil, "apps", app, "deployer")
}

// SetDeployer sets it.
func (c *Client) SetDeployer(ctx context.Context, app string, r DeployerRequest) (Deployer, error) {
	return result[Deployer](ctx, c, http.MethodPut, r, "apps", app, "deployer")
}

// Deployments lists the deployments of an app, the newest first.
func (c *Client) Deployments(ctx context.Context, app string) iter.Seq2[Deployment, error] {
	return pages[Deployment](ctx, c, Range{Attribute: "number", Desc: true}, "apps", app, "deployments")
}

// Deployment finds a deployment by number or id.
func (c *Client) Deployment(ctx context.Context, app, deployment string) (Deployment, error) {
	return result[Deployment](ctx, c, http.MethodGet, nil, "apps", app, "deployments", deployment)
}

// Deploy has the current release deployed once more.
func (c *Client) Deploy(ctx context.Context, app string) (Deployment, error) {
	return result[Deployment](ctx, c, http.MethodPost, nil, "apps", app, "deployments")
}

// StartRun starts a command, RunOf is how it stands, and CancelRun ends it.
func (c *Client) StartRun(ctx context.Context, app string, r RunRequest) (Run, error) {
	return result[Run](ctx, c, http.MethodPost, r, "apps", app, "runs")
}

// RunOf is how a run stands.
func (c *Client) RunOf(ctx context.Context, app, run string) (Run, error) {
	return result[Run](ctx, c, http.MethodGet, nil, "apps", app, "runs", run)
}

// CancelRun ends a run.
func (c *Client) CancelRun(ctx context.Context, app, run string) (Run, error) {
	return result[Run](ctx, c, http.MethodDelete, nil, "apps", app, "runs", run)
}

// AppLog copies the last lines of what an app that runs on the service's machine has printed and, with follow, what it
// prints then, until ctx ends or the connection does.
func (c *Client) AppLog(ctx context.Context, app string, lines int, follow bool, w io.Writer) error {
	res, err := c.send(ctx, call{
		method: http.MethodGet, path: []string{"apps", app, "log"}, header: http.Header{"Accept": {"text/plain"}},
		query: url.Values{"lines": {strconv.Itoa(lines)}, "follow": {strconv.FormatBool(follow)}},
	})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}
