package setups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/store"
)

// create makes what the app has outside of the record, in which it is already.
func (d *drive) create(ctx context.Context) (string, error) {
	app, err := d.s.o.Store.AppByID(ctx, d.v.App)
	if err == nil {
		err = d.s.o.Created(ctx, app)
	}
	return string(app.Name), err
}

// configure reads the app.json, where that has not been done before, and sets what it comes to.
func (d *drive) configure(ctx context.Context) (string, error) {
	o := d.s.o
	if d.in.Plan == nil {
		if err := d.read(ctx); err != nil {
			return "", err
		}
	}
	p := d.in.Plan
	changes := map[string]*string{}
	for name, value := range p.Vars {
		changes[name] = &value
	}
	if _, err := o.Store.ChangeSecrets(ctx, d.v.App, store.SecretVar, changes, nil); err != nil {
		return "", err
	}
	if c := d.in.Credentials; c.Password != "" || len(c.Key) > 0 {
		if err := d.keepCredentials(ctx); err != nil {
			return "", err
		}
	}
	if _, err := o.Store.UpdateApp(ctx, d.v.App, func(a *build.App) error { a.Buildpacks = p.Buildpacks; return nil }); err != nil {
		return "", err
	}
	if len(p.Vars) == 1 {
		return "1 config var", nil
	}
	return fmt.Sprintf("%d config vars", len(p.Vars)), nil
}

// keepCredentials gives the app what opens its template's repository.
func (d *drive) keepCredentials(ctx context.Context) error {
	u, err := fetch.ParseGitURL(d.v.Source.URL)
	if err != nil {
		return err
	}
	c := d.in.Credentials
	kept := build.JSON(store.GitCredentials{Username: c.User, Password: c.Password, Key: string(c.Key)})
	_, err = d.s.o.Store.ChangeSecrets(ctx, d.v.App, store.SecretGit, map[string]*string{u.Host(): &kept}, nil)
	return err
}

// addons looks whether the app has what its add-ons would give it: plan has seen to that.
func (d *drive) addons(context.Context) (string, error) {
	p := d.in.Plan
	switch {
	case len(p.Addons) == 0:
		return "", &skipped{"the template wants none"}
	case len(p.Unprovided) > 0:
		return "", &skipped{"set up without " + strings.Join(p.Unprovided, ", ")}
	}
	return "config vars were given for " + strings.Join(p.Addons, ", "), nil
}

// build has the template's source built, and waits for the end. The build's id is recorded before there is a build of
// that id: it is asked for once, however often this begins.
func (d *drive) build(ctx context.Context) (string, error) {
	o := d.s.o
	if d.v.Build == "" {
		app, err := o.Store.AppByID(ctx, d.v.App)
		if err == nil {
			err = o.Preflight(ctx, app)
		}
		if err != nil {
			return "", err
		}
		if err := d.change(ctx, func(v *build.Setup) { v.Build = build.NewID() }); err != nil {
			return "", err
		}
	}
	killpoint.Here(killpoint.SetupBuilding)
	b, err := o.Store.BuildByID(ctx, d.v.Build)
	if errors.Is(err, build.ErrNotFound) {
		if d.v.BuildNumber > 0 {
			return "", errors.New(appGone)
		}
		b, err = o.Service.Submit(ctx, build.Build{ID: d.v.Build, App: d.v.App, User: d.v.User, Trigger: build.Trigger{Kind: d.v.Trigger}, Source: d.v.Source})
	}
	for err == nil {
		changed := o.Service.Watch(b.ID)
		if err = d.noteBuild(ctx); err != nil {
			return "", err
		}
		if d.v.BuildState.Terminal() {
			return d.built(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		_, err = o.Store.BuildByID(ctx, b.ID)
	}
	return "", err
}

// noteBuild records where the build stands, which is all that is left of it when the app is gone.
func (d *drive) noteBuild(ctx context.Context) error {
	if d.v.Build == "" {
		return nil
	}
	b, err := d.s.o.Store.BuildByID(context.WithoutCancel(ctx), d.v.Build)
	if errors.Is(err, build.ErrNotFound) {
		if d.v.BuildNumber == 0 || d.v.BuildState.Terminal() {
			return nil
		}
		b = build.Build{Number: d.v.BuildNumber, State: build.Cancelled} // its app was deleted while it waited
	} else if err != nil {
		return err
	}
	if d.v.BuildNumber == b.Number && d.v.BuildState == b.State {
		return nil
	}
	return d.change(ctx, func(v *build.Setup) {
		v.BuildNumber, v.BuildState, v.BuildFailure = b.Number, b.State, b.Failure
	})
}

// built says how the build ended.
func (d *drive) built(ctx context.Context) (string, error) {
	b, err := d.s.o.Store.BuildByID(ctx, d.v.Build)
	if err != nil {
		return "", err
	}
	switch {
	case b.State == build.Succeeded:
		return fmt.Sprintf("build %d", b.Number), nil
	case b.State == build.Cancelled:
		return "", fmt.Errorf("the build was cancelled: %s", b.CancelReason)
	case b.Failure != nil && b.Failure.Blame == build.BlamePlatform:
		return "", fmt.Errorf("the build failed, which is not the template's fault: %s", b.Failure.Reason)
	case b.Failure != nil:
		return "", fmt.Errorf("the build failed: %s", b.Failure.Reason)
	}
	return "", fmt.Errorf("the build %s", b.State)
}

// askEvery is how often the record is asked about what nobody tells of.
const askEvery = 200 * time.Millisecond

// release waits for the command of the build's release.
func (d *drive) release(ctx context.Context) (string, error) {
	for {
		v, err := d.s.o.Store.ReleaseOf(ctx, d.v.Build)
		if err != nil {
			return "", err
		}
		if d.v.Release == "" {
			err := d.change(ctx, func(s *build.Setup) {
				s.Release, s.Version, s.Image, s.Processes = v.ID, v.Version, v.Repository+"@"+v.Digest, v.Processes
			})
			if err != nil {
				return "", err
			}
		}
		switch v.State {
		case build.ReleaseSucceeded:
			return fmt.Sprintf("v%d", v.Version), nil
		case build.ReleaseFailed:
			return "", errors.New(v.Failure)
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(askEvery):
		return nil
	}
}

// deploy gives the app its deployer, and waits until that has taken the release.
func (d *drive) deploy(ctx context.Context) (string, error) {
	o := d.s.o
	if d.v.Deployer == build.DeployNone {
		return "", &skipped{"the app has no deployer: its image is in the registry"}
	}
	if !slices.ContainsFunc(d.v.Processes, func(p build.Process) bool { return p.Type == "web" }) {
		return "", &skipped{"the image has no web process to run: it is in the registry"}
	}
	_, err := o.Store.Deployer(ctx, d.v.App)
	if errors.Is(err, build.ErrNotFound) {
		_, err = o.Store.PutDeployer(ctx, build.Deployer{App: d.v.App, Kind: d.v.Deployer}, o.LocalApps)
	}
	if errors.Is(err, store.ErrFull) {
		return "", fmt.Errorf("at most %d apps run on this machine: the operator may allow more (deploy.apps)", o.LocalApps)
	}
	for err == nil {
		var at build.Deployment
		if at, err = o.Store.DeploymentOf(ctx, d.v.Release); err != nil {
			break
		}
		switch {
		case at.State.Ended() && at.State != build.DeploySucceeded:
			return "", fmt.Errorf("the app does not run: %s", at.Failure)
		case at.State == build.DeploySucceeded:
			return "", nil
		case at.State == build.DeployRunning && at.Live:
			success := (&appjson.App{SuccessURL: d.in.Plan.SuccessURL}).Success(at.URL)
			return at.URL, d.change(ctx, func(v *build.Setup) { v.URL, v.SuccessURL = at.URL, success })
		}
		err = pause(ctx)
	}
	return "", err
}
