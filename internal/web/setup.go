package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/setups"
)

// A setupView is a setup in the shape of the Platform API, and what is more of it here.
type setupView struct {
	ID             build.ID         `json:"id"`
	Status         build.SetupState `json:"status"`
	App            appRef           `json:"app"`   // also when it is gone, which it is when the setup has failed
	Build          *setupBuild      `json:"build"` // null before it is asked for
	FailureMessage *string          `json:"failure_message"`
	ManifestErrors []string         `json:"manifest_errors"`
	Postdeploy     *setupRun        `json:"postdeploy"` // null before it has ended
	SuccessURL     *string          `json:"resolved_success_url"`
	CreatedAt      *stamp           `json:"created_at"`
	UpdatedAt      *stamp           `json:"updated_at"`

	User      userRef            `json:"user"`
	Template  setupTemplate      `json:"template"`
	Steps     []setupStep        `json:"steps"`
	Warnings  []string           `json:"warnings"` // about the app.json
	Release   *deployed          `json:"release"`
	Image     *string            `json:"image"` // of the release, repository@digest
	Processes []build.Process    `json:"processes"`
	Deployer  build.DeployerKind `json:"deployer"`
	WebURL    *string            `json:"web_url"` // where the app answers, where its deployer has said so
	EndedAt   *stamp             `json:"ended_at"`
}

type setupBuild struct {
	ID           build.ID       `json:"id"`
	Number       int64          `json:"number"`
	Status       string         `json:"status"`
	State        build.State    `json:"state"`
	OutputStream string         `json:"output_stream_url"` // works without a token, for a day, also when the app is gone
	Failure      *build.Failure `json:"failure"`
}

type setupRun struct {
	Output   string `json:"output"` // the end of it
	ExitCode int    `json:"exit_code"`
}

// A setupTemplate is what is set up: a commit of a repository, or an archive.
type setupTemplate struct {
	Name       *string `json:"name"`
	Repository *string `json:"repository"`
	Ref        *string `json:"ref"`
	Commit     *string `json:"commit"`
	Dir        *string `json:"dir"` // of the repository; null is its root
	URL        *string `json:"url"` // of an archive, without its query; null where that was uploaded
	Checksum   *string `json:"checksum"`
	Version    *string `json:"version"`
}

type setupStep struct {
	Name      build.StepName  `json:"name"`
	State     build.StepState `json:"state"`
	Note      *string         `json:"note"`
	StartedAt *stamp          `json:"started_at"`
	EndedAt   *stamp          `json:"ended_at"`
}

func (s *server) setupOf(ctx context.Context, c *call, v build.Setup) (out setupView, err error) {
	t := v.Template
	out = setupView{
		ID: v.ID, Status: v.State, App: appRef{v.App, v.AppName}, FailureMessage: text(v.Failure), ManifestErrors: v.Findings, SuccessURL: text(v.SuccessURL),
		CreatedAt: when(v.CreatedAt), UpdatedAt: when(v.UpdatedAt), EndedAt: when(v.EndedAt), Warnings: v.Warnings, Image: text(v.Image), Processes: v.Processes,
		Template: setupTemplate{text(t.Name), text(t.Repository), text(t.Ref), text(t.Commit), text(t.Dir), text(t.URL), text(t.Checksum), text(t.Version)},
		Deployer: v.Deployer, WebURL: text(v.URL),
	}
	for _, list := range []*[]string{&out.ManifestErrors, &out.Warnings} {
		if *list == nil {
			*list = []string{}
		}
	}
	if out.Processes == nil {
		out.Processes = []build.Process{}
	}
	for _, step := range v.Steps {
		out.Steps = append(out.Steps, setupStep{step.Name, step.State, text(step.Note), when(step.StartedAt), when(step.EndedAt)})
	}
	if v.BuildNumber > 0 {
		out.Build = &setupBuild{v.Build, v.BuildNumber, v.BuildState.Status(), v.BuildState, s.streamURL(c.Request, "builds", v.Build), v.BuildFailure}
	}
	if v.Postdeploy != nil {
		out.Postdeploy = &setupRun{v.Postdeploy.Output, v.Postdeploy.Exit}
	}
	if v.Release != "" {
		out.Release = &deployed{v.Release, v.Version}
	}
	name, err := c.userName(ctx, v.User)
	out.User = userRef{v.User, name}
	return out, err
}

// A setupRequest sets an app up: of an archive, or of a template, which is the URL of a git repository as people copy it.
type setupRequest struct {
	Source        setupSource  `json:"source_blob"`
	Template      string       `json:"template"`
	App           setupApp     `json:"app"`
	Overrides     setupChanges `json:"overrides"`
	Deployer      string       `json:"deployer"`       // none or local; empty: the service's choice
	WithoutAddons bool         `json:"without_addons"` // though nobody gives the config vars that they would set
}

type setupSource struct {
	URL      string `json:"url"`      // a get_url, or an archive
	Checksum string `json:"checksum"` // SHA256:<hex>
	Version  string `json:"version"`
}

type setupApp struct {
	Name         string  `json:"name"` // empty: one is made up
	Region       *string `json:"region"`
	Stack        *string `json:"stack"`
	Locked       bool    `json:"locked"`       // must be false: there are no teams
	Personal     bool    `json:"personal"`     // which all apps are
	Organization *string `json:"organization"` // must be null
	Space        *string `json:"space"`        // must be null
}

type setupChanges struct {
	Env        map[string]string `json:"env"`
	Buildpacks *[]buildpackURL   `json:"buildpacks"` // in place of the template's; null: those
}

func (setupRequest) limit() int64 { return 2 << 20 }

func (in setupApp) law() error {
	const none = "this service has neither teams nor spaces"
	switch {
	case in.Locked:
		return invalid("app.locked", none)
	case in.Organization != nil:
		return invalid("app.organization", none)
	case in.Space != nil:
		return invalid("app.space", none)
	}
	return errors.Join(only("app.region", in.Region, theRegion), only("app.stack", in.Stack, theStack))
}

func (s *server) createSetup(ctx context.Context, c *call, in setupRequest) (v setupView, err error) {
	if s.Setups == nil {
		return v, conflict("this service sets no apps up")
	}
	if lacks := c.actor.SetsUp(); lacks != "" {
		return v, forbidden(lacks)
	}
	if err := in.App.law(); err != nil {
		return v, err
	}
	r := setups.Request{
		Name: in.App.Name, Env: in.Overrides.Env, WithoutAddons: in.WithoutAddons, Deployer: build.DeployerKind(in.Deployer), Trigger: build.TriggerAPI,
	}
	if list := in.Overrides.Buildpacks; list != nil {
		r.Buildpacks = []string{}
		for _, b := range *list {
			r.Buildpacks = append(r.Buildpacks, firstOf(b.URL, b.Name))
		}
	}
	if err := s.templateOf(ctx, c, in, &r); err != nil {
		return v, err
	}
	made, err := s.Setups.Start(ctx, c.actor, r)
	if e, ok := errors.AsType[*setups.Refusal](err); ok {
		return v, refusal(e)
	}
	if err != nil {
		return v, err
	}
	return s.setupOf(ctx, c, made)
}

// templateOf finds what is to be set up.
func (s *server) templateOf(ctx context.Context, c *call, in setupRequest, r *setups.Request) (err error) {
	if in.Template == "" {
		r.Source, err = s.sourceOf(ctx, c, sourceRequest{URL: in.Source.URL, Checksum: in.Source.Checksum, Version: in.Source.Version})
		return err
	}
	if in.Source != (setupSource{}) {
		return invalid("template", "a template and a source_blob are two: name one")
	}
	if s.Template == nil {
		return conflict("this service reads no templates: send an archive")
	}
	p, err := s.Template(ctx, c.actor, in.Template)
	if err != nil {
		return invalid("template", oneLine(err.Error()))
	}
	r.Template = &p
	return nil
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// refusal tells of all that has to be given, in a line.
func refusal(e *setups.Refusal) error {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.Text
	}
	return invalid(e.Problems[0].Field, strings.Join(texts, "; "))
}

func (s *server) setups(ctx context.Context, c *call) ([]setupView, error) {
	all, err := s.Store.Setups(ctx, c.actor, build.MaxSetups)
	out := make([]setupView, len(all))
	for i := 0; i < len(all) && err == nil; i++ {
		out[i], err = s.setupOf(ctx, c, all[i])
	}
	return out, err
}

func (s *server) findSetup(ctx context.Context, c *call) (build.Setup, error) {
	name := c.PathValue("setup")
	v, err := s.Store.Setup(ctx, c.actor, build.ID(name))
	if errors.Is(err, build.ErrNotFound) {
		err = &problem{http.StatusNotFound, "not_found", fmt.Sprintf("there is no app setup %.80q", name)}
	}
	return v, err
}

func (s *server) setup(ctx context.Context, c *call) (out setupView, err error) {
	v, err := s.findSetup(ctx, c)
	if err != nil {
		return out, err
	}
	return s.setupOf(ctx, c, v)
}

func (s *server) cancelSetup(ctx context.Context, c *call) (out setupView, err error) {
	v, err := s.findSetup(ctx, c)
	if err != nil {
		return out, err
	}
	if s.Setups == nil {
		return out, conflict("this service sets no apps up")
	}
	v, err = s.Setups.Cancel(ctx, c.actor, v.ID)
	if errors.Is(err, build.ErrConflict) {
		return out, conflict("the app setup has ended: delete its app if it is not wanted")
	}
	if err != nil {
		return out, err
	}
	return s.setupOf(ctx, c, v)
}

// setupLog is what the postdeploy of a setup prints.
func (s *server) setupLog(ctx context.Context, c *call) error {
	return s.logOfSetup(ctx, c, func(v build.Setup) (logged, error) {
		of := logged{v.ID, build.Running}
		switch v.Step(build.StepPostdeploy).State {
		case build.StepSucceeded:
			of.state = build.Succeeded
		case build.StepFailed:
			of.state = build.Failed
		}
		return of, nil
	})
}

// setupBuildLog is the log of the build of a setup, which is there when its app and the build are gone.
func (s *server) setupBuildLog(ctx context.Context, c *call) error {
	return s.logOfSetup(ctx, c, func(v build.Setup) (logged, error) {
		if v.BuildNumber == 0 {
			return logged{}, logProblem(build.ErrNotFound)
		}
		return logged{v.Build, v.BuildState}, nil
	})
}

func (s *server) logOfSetup(ctx context.Context, c *call, which func(build.Setup) (logged, error)) error {
	q, err := c.logRequest()
	if err != nil {
		return err
	}
	v, err := s.findSetup(ctx, c)
	if err != nil {
		return err
	}
	of, err := which(v)
	if err != nil {
		return err
	}
	return s.log(ctx, c, of, q)
}
