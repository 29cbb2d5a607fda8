package client

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A Setup makes an app of a template.
type Setup struct {
	ID        string             `json:"id"`
	Status    build.SetupState   `json:"status"`
	App       Name               `json:"app"` // also when it is gone
	Template  SetupTemplate      `json:"template"`
	Steps     []SetupStep        `json:"steps"`
	Failure   string             `json:"failure_message,omitempty"`
	Errors    []string           `json:"manifest_errors"` // of its app.json
	Warnings  []string           `json:"warnings"`
	Build     *SetupBuild        `json:"build"`
	Release   *ReleaseName       `json:"release"`
	Image     string             `json:"image,omitempty"`
	Processes []build.Process    `json:"processes"`
	Ran       *SetupRun          `json:"postdeploy"`
	Deployer  build.DeployerKind `json:"deployer"`
	URL       string             `json:"web_url,omitempty"`
	Success   string             `json:"resolved_success_url,omitempty"`
	CreatedAt time.Time          `json:"created_at"`
	EndedAt   *time.Time         `json:"ended_at"`
}

// A SetupTemplate is what is set up: a commit of a repository, or an archive.
type SetupTemplate struct {
	Name       string `json:"name,omitempty"`
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Dir        string `json:"dir,omitempty"` // of the repository
	URL        string `json:"url,omitempty"`
	Checksum   string `json:"checksum,omitempty"`
	Version    string `json:"version,omitempty"`
}

// A SetupStep is a part of a setup.
type SetupStep struct {
	Name      build.StepName  `json:"name"`
	State     build.StepState `json:"state"`
	Note      string          `json:"note,omitempty"`
	StartedAt *time.Time      `json:"started_at"`
	EndedAt   *time.Time      `json:"ended_at"`
}

// A SetupBuild is the build of a setup.
type SetupBuild struct {
	ID      string         `json:"id"`
	Number  int64          `json:"number"`
	State   build.State    `json:"state"`
	Failure *build.Failure `json:"failure,omitempty"`
}

// A SetupRun is how the postdeploy of a setup went.
type SetupRun struct {
	Output string `json:"output"`
	Exit   int    `json:"exit_code"`
}

// A SetupRequest asks for one: of Template, or of an archive.
type SetupRequest struct {
	Template      string             `json:"template,omitempty"`
	Source        *SetupSource       `json:"source_blob,omitempty"`
	App           *SetupApp          `json:"app,omitempty"`
	Overrides     SetupOverrides     `json:"overrides"`
	Deployer      build.DeployerKind `json:"deployer,omitempty"`
	WithoutAddons bool               `json:"without_addons,omitempty"`
}

// A SetupSource is an archive with an app.json in its root.
type SetupSource struct {
	URL      string `json:"url"`
	Checksum string `json:"checksum,omitempty"`
	Version  string `json:"version,omitempty"`
}

// A SetupApp says how the app is called.
type SetupApp struct {
	Name string `json:"name"`
}

// SetupOverrides count in place of what the app.json says.
type SetupOverrides struct {
	Env        map[string]string `json:"env,omitempty"`
	Buildpacks []SetupBuildpack  `json:"buildpacks,omitempty"`
}

// A SetupBuildpack names a buildpack.
type SetupBuildpack struct {
	URL string `json:"url"`
}

// SetupLog is what the postdeploy of a setup prints, SetupBuildLog the log of its build, which stays when the app goes.
func SetupLog(setup string) LogOf { return logOf("app-setups", setup) }

// SetupBuildLog see SetupLog.
func SetupBuildLog(setup string) LogOf { return logOf("app-setups", setup, "build") }

// CreateSetup begins a setup.
func (c *Client) CreateSetup(ctx context.Context, r SetupRequest) (Setup, error) {
	return result[Setup](ctx, c, http.MethodPost, r, "app-setups")
}

// Setups lists the user's last setups, the newest first.
func (c *Client) Setups(ctx context.Context) iter.Seq2[Setup, error] {
	return pages[Setup](ctx, c, Range{}, "app-setups")
}

// Setup finds a setup.
func (c *Client) Setup(ctx context.Context, id string) (Setup, error) {
	return result[Setup](ctx, c, http.MethodGet, nil, "app-setups", id)
}

// CancelSetup ends a setup and removes its app.
func (c *Client) CancelSetup(ctx context.Context, id string) (Setup, error) {
	return result[Setup](ctx, c, http.MethodDelete, nil, "app-setups", id)
}
