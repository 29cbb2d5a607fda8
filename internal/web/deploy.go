package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// A deployerView is what happens after a release of an app.
type deployerView struct {
	Kind    build.DeployerKind `json:"kind"`
	Command []string           `json:"command"` // of a command, for administrators
	Time    int64              `json:"time"`    // seconds: that a command may take, or a process until it answers
	Path    string             `json:"path"`    // that is asked to know whether it answers; empty: that something listens is enough
	Port    *int               `json:"port"`    // of the machine; null until one was chosen
	Webhook *build.ID          `json:"webhook"`
	Secret  string             `json:"secret,omitempty"` // of a webhook: told once

	CreatedAt *stamp `json:"created_at"`
	UpdatedAt *stamp `json:"updated_at"`
}

func deployerOf(d build.Deployer) deployerView {
	v := deployerView{Kind: d.Kind, Command: d.Command, Path: d.Path, CreatedAt: when(d.CreatedAt), UpdatedAt: when(d.UpdatedAt)}
	if d.Kind == build.DeployCommand || d.Kind == build.DeployLocal {
		v.Time = int64(d.DeployTime() / time.Second)
	}
	if v.Command == nil {
		v.Command = []string{}
	}
	if d.Port > 0 {
		v.Port = &d.Port
	}
	if d.Webhook != "" {
		v.Webhook = &d.Webhook
	}
	return v
}

func (s *server) appDeployer(ctx context.Context, c *call) (build.Deployer, error) {
	d, err := s.Store.Deployer(ctx, c.app.ID)
	if errors.Is(err, build.ErrNotFound) {
		return build.Deployer{App: c.app.ID, Kind: build.DeployNone}, nil
	}
	return d, err
}

func (s *server) deployer(ctx context.Context, c *call) (deployerView, error) {
	d, err := s.appDeployer(ctx, c)
	if !c.actor.User.Admin {
		d.Command = nil // the operator's
	}
	return deployerOf(d), err
}

// A deployerRequest sets a deployer as a whole: what is not there is as if it had never been.
type deployerRequest struct {
	Kind    build.DeployerKind `json:"kind"`
	Command []string           `json:"command"`
	Time    int64              `json:"time"`
	Path    string             `json:"path"`
	URL     *string            `json:"url"`    // of a webhook
	Secret  *string            `json:"secret"` // of a webhook; without one it is made
}

func (in deployerRequest) law(app build.ID) (build.Deployer, error) {
	d := build.Deployer{App: app, Kind: in.Kind, Command: in.Command, Time: time.Duration(in.Time) * time.Second, Path: in.Path}
	for _, f := range []struct {
		field string
		given bool
		kinds []build.DeployerKind
	}{
		{"command", len(in.Command) > 0, []build.DeployerKind{build.DeployCommand}},
		{"time", in.Time != 0, []build.DeployerKind{build.DeployCommand, build.DeployLocal}},
		{"path", in.Path != "", []build.DeployerKind{build.DeployLocal}},
		{"url", in.URL != nil, []build.DeployerKind{build.DeployWebhook}},
		{"secret", in.Secret != nil, []build.DeployerKind{build.DeployWebhook}},
	} {
		fits := false
		for _, k := range f.kinds {
			fits = fits || k == in.Kind
		}
		if f.given && !fits {
			return d, invalid(f.field, fmt.Sprintf("it is for the kind %s", f.kinds[0]))
		}
	}
	if in.Time < 0 || in.Time > int64(build.MaxDeployTime/time.Second) {
		return d, invalid("time", fmt.Sprintf("it is a number of seconds, at most %d", int64(build.MaxDeployTime/time.Second)))
	}
	switch in.Kind {
	case build.DeployNone:
	case build.DeployLocal:
		return d, healthPath(in.Path)
	case build.DeployWebhook:
		if in.URL == nil {
			return d, invalid("url", "a webhook has one")
		}
	case build.DeployCommand:
		return d, commandLine(in.Command)
	default:
		return d, invalid("kind", "it is none, command, webhook or local")
	}
	return d, nil
}

func healthPath(s string) error {
	if s == "" {
		return nil
	}
	if err := line("path", s, 200); err != nil {
		return err
	}
	if !path.IsAbs(s) || strings.ContainsAny(s, " #\\") {
		return invalid("path", "it is the path of a URL, and begins with /")
	}
	return nil
}

// commandLine wants a whole one: no search for the program, and no shell.
func commandLine(argv []string) error {
	size := 0
	for _, a := range argv {
		size += len(a) + 1
		if strings.ContainsRune(a, 0) {
			return invalid("command", "an argument has a NUL, which no program can be given")
		}
	}
	switch {
	case len(argv) == 0 || !path.IsAbs(argv[0]):
		return invalid("command", "it is a list: the absolute path of a program, and its arguments")
	case len(argv) > build.MaxCommandArgs || size > build.MaxCommandBytes:
		return invalid("command", fmt.Sprintf("it has at most %d parts, of %d bytes together", build.MaxCommandArgs, build.MaxCommandBytes))
	}
	return nil
}

// putDeployer sets what happens after releases. A command runs on the service's machine, as the service: only who has that
// already may name one.
func (s *server) putDeployer(ctx context.Context, c *call, in deployerRequest) (v deployerView, err error) {
	d, err := in.law(c.app.ID)
	if err != nil {
		return v, err
	}
	if d.Kind == build.DeployCommand && (!c.actor.User.Admin || c.actor.Token.App != "" || !c.actor.Can(build.VerbManage)) {
		return v, forbidden("a command runs on the service's machine: it needs manage, with an administrator's token for all apps")
	}
	if s.Deploys == nil && d.Kind != build.DeployNone {
		return v, conflict("this service has no deployers")
	}
	secret := ""
	if d.Kind == build.DeployWebhook {
		level := build.LevelSync
		w, err := s.makeWebhook(ctx, c, webhookRequest{URL: in.URL, Level: &level, Secret: in.Secret}, build.IncludeDeployment)
		if err != nil {
			return v, err
		}
		d.Webhook, secret = w.ID, w.Secret
	}
	d, err = s.Store.PutDeployer(ctx, d, s.LocalApps)
	if err != nil && d.Webhook != "" {
		err = errors.Join(err, s.Store.DeleteWebhook(context.WithoutCancel(ctx), c.app.ID, d.Webhook))
	}
	if errors.Is(err, store.ErrFull) {
		return v, conflict(fmt.Sprintf("at most %d apps run on this machine: the operator may allow more (deploy.apps)", s.LocalApps))
	}
	if err != nil {
		return v, err
	}
	v = deployerOf(d)
	v.Secret = secret
	return v, nil
}

// A deploymentView is what became of a release at the hands of the app's deployer.
type deploymentView struct {
	ID        build.ID               `json:"id"`
	Number    int64                  `json:"number"`
	App       appRef                 `json:"app"`
	Release   deployed               `json:"release"`
	Kind      build.DeployerKind     `json:"kind"`
	Reason    build.DeploymentReason `json:"reason"`
	State     build.DeploymentState  `json:"state"`
	URL       *string                `json:"url"`      // where it answers, as long as it is to run
	Failure   *string                `json:"failure"`  // of the last time that something went wrong
	Restarts  int                    `json:"restarts"` // of a process that had answered
	CreatedAt *stamp                 `json:"created_at"`
	UpdatedAt *stamp                 `json:"updated_at"`
}

// A deployed names a release.
type deployed struct {
	ID      build.ID `json:"id"`
	Version int64    `json:"version"`
}

func deploymentOf(a build.App, d build.Deployment) deploymentView {
	v := deploymentView{
		ID: d.ID, Number: d.Number, App: appRef{a.ID, a.Name}, Release: deployed{d.Release, d.Version}, Kind: d.Kind, Reason: d.Reason, State: d.State,
		Failure: text(d.Failure), Restarts: d.Restarts, CreatedAt: when(d.CreatedAt), UpdatedAt: when(d.UpdatedAt),
	}
	if d.Live && !d.State.Ended() {
		v.URL = text(d.URL)
	}
	return v
}

// deployedOf adds to an app what its deployer has made of it.
func (s *server) deployedOf(ctx context.Context, v *app, a build.App) error {
	d, err := s.Store.Deployer(ctx, a.ID)
	if errors.Is(err, build.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	v.Deployer = d.Kind
	last, err := s.Store.Deployments(ctx, a.ID, store.Page{Max: 1, Desc: true})
	if err != nil {
		return err
	}
	if len(last) > 0 {
		d := deploymentOf(a, last[0])
		v.Deployment = &d
	}
	live, err := s.Store.LiveDeployment(ctx, a.ID)
	if errors.Is(err, build.ErrNotFound) {
		return nil
	}
	if live.URL != "" {
		v.WebURL = live.URL
	}
	return err
}

func (s *server) deployments(ctx context.Context, c *call) ([]deploymentView, error) {
	all, err := numbered(c, sequence[build.Deployment]{
		attributes: []string{"number", "id", "created_at"},
		numberOf: func(id string) (int64, error) {
			d, err := s.Store.Deployment(ctx, c.app.ID, id)
			if errors.Is(err, build.ErrNotFound) {
				err = badRange(fmt.Sprintf("there is no deployment %.80q", id))
			}
			return d.Number, err
		},
		get: func(p store.Page) ([]build.Deployment, error) { return s.Store.Deployments(ctx, c.app.ID, p) },
		key: func(d build.Deployment) (int64, string) { return d.Number, string(d.ID) },
	})
	out := make([]deploymentView, len(all))
	for i, d := range all {
		out[i] = deploymentOf(c.app, d)
	}
	return out, err
}

func (s *server) findDeployment(ctx context.Context, c *call) (d build.Deployment, err error) {
	name := c.PathValue("deployment")
	if _, err := build.ParseID(name); err != nil && (len(name) > 18 || strings.Trim(name, "0123456789") != "") {
		return d, &problem{http.StatusNotFound, "not_found", fmt.Sprintf("deployment %.80q: it has a number or an id", name)}
	}
	return s.Store.Deployment(ctx, c.app.ID, name)
}

func (s *server) deployment(ctx context.Context, c *call) (v deploymentView, err error) {
	d, err := s.findDeployment(ctx, c)
	return deploymentOf(c.app, d), err
}

func (s *server) deployAgain(ctx context.Context, c *call) (v deploymentView, err error) {
	d, err := s.Store.Deploy(ctx, c.app.ID)
	if errors.Is(err, build.ErrNotFound) {
		return v, conflict("there is nothing to deploy: the app has no deployer, or no release yet")
	}
	return deploymentOf(c.app, d), err
}

// deploymentLog is what a command has printed, or a process until it answered.
func (s *server) deploymentLog(ctx context.Context, c *call) error {
	r, err := c.logRequest()
	if err != nil {
		return err
	}
	d, err := s.findDeployment(ctx, c)
	if err != nil {
		return err
	}
	of := logged{d.ID, build.Running}
	switch {
	case d.State == build.DeployFailed || d.State == build.DeployStopped && !d.Live:
		of.state = build.Failed
	case d.State.Ended() || d.Live:
		of.state = build.Succeeded
	case d.Kind != build.DeployWebhook:
		if err := s.Logs.Ensure(d.ID); err != nil {
			return err
		}
	}
	return s.log(ctx, c, of, r)
}

// Lines of an app's log: as many as nobody asks otherwise, and the most.
const (
	defaultLines = 100
	maxLines     = 10_000
)

// appLog is the end of what an app that runs here has printed, and what it prints.
func (s *server) appLog(ctx context.Context, c *call) (err error) {
	lines, follow := defaultLines, false
	q := c.URL.Query()
	if text := q.Get("lines"); text != "" {
		if lines, err = strconv.Atoi(text); err != nil || lines < 0 || lines > maxLines {
			return invalid("lines", fmt.Sprintf("it is a number, at most %d", maxLines))
		}
	}
	if text := q.Get("follow"); text != "" {
		if follow, err = strconv.ParseBool(text); err != nil {
			return invalid("follow", "it is true or false")
		}
	}
	follow = follow && c.Method != http.MethodHead
	none := &problem{http.StatusNotFound, "not_found", "there is no log: no process of the app has run on this machine"}
	if s.Deploys == nil {
		return none
	}
	h := c.w.Header()
	h.Set("X-Accel-Buffering", "no")
	w := &begun{c: c}
	err = s.Deploys.CopyLog(ctx, c.app.ID, lines, follow, w)
	if errors.Is(err, build.ErrNotFound) {
		return none
	}
	if err == nil {
		_, err = w.Write(nil)
	}
	return err
}

func (s *server) appLogRoute() endpoint {
	e := raw(s.appLog, "text/plain")
	e.params = []param{
		{"query", "lines", "integer", fmt.Sprintf("How many lines to begin with; %d, and at most %d.", defaultLines, maxLines)},
		{"query", "follow", "boolean", "Go on with what is printed from now on."},
	}
	return e
}

// begun is an answer that begins with the first byte, so that there can be another before.
type begun struct {
	c  *call
	is bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.is {
		b.is = true
		b.c.w.Header().Set("Content-Type", textPlain)
		b.c.w.WriteHeader(http.StatusOK)
		b.c.w.live = true
		if err := b.c.w.rc.Flush(); err != nil {
			return 0, fmt.Errorf("begin to send a log: %w", err)
		}
	}
	return b.c.w.Write(p)
}
