package store

import (
	"errors"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
)

// release makes an app's next release, which has its name.
func (y *yard) release(t testing.TB, a build.App, digest string) build.Release {
	t.Helper()
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	b, ok := y.claim(t)
	if !ok {
		t.Fatal("nothing to claim")
	}
	_, v, err := y.Finish(t.Context(), b.ID, b.Fence, Outcome{State: build.Succeeded, Release: &build.Release{Repository: "r/a", Digest: digest, State: build.ReleaseSucceeded}})
	if err == nil {
		err = y.Tagged(t.Context(), v.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return *v
}

func (y *yard) deployments(t testing.TB, a build.App) []build.Deployment {
	t.Helper()
	all, err := y.Deployments(t.Context(), a.ID, Page{Max: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (y *yard) signalled() bool {
	select {
	case <-y.Deploys():
		return true
	default:
		return false
	}
}

// TestDeployments: what is to be deployed is recorded with what it follows from, once, and only where there is a deployer.
func TestDeployments(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	ann := y.user(t, "ann", false)
	a, other := y.app(t, ann, "app-a"), y.app(t, ann, "app-b")
	first := y.release(t, a, "sha256:1")
	if n := len(y.deployments(t, a)); n != 0 || y.signalled() {
		t.Fatalf("%d deployments without a deployer", n)
	}
	if _, err := y.Deploy(ctx, a.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("deployed without a deployer: %v", err)
	}
	if _, err := y.PutDeployer(ctx, build.Deployer{App: other.ID, Kind: build.DeployLocal}, 1); err != nil {
		t.Fatal(err)
	}
	local := build.Deployer{App: a.ID, Kind: build.DeployLocal, Path: "/up"}
	if _, err := y.PutDeployer(ctx, local, 1); !errors.Is(err, ErrFull) || !errors.Is(err, build.ErrConflict) {
		t.Errorf("one app too many runs here: %v", err)
	}
	y.signalled()
	if _, err := y.PutDeployer(ctx, local, 2); err != nil || !y.signalled() {
		t.Fatal(err)
	}
	if err := errors.Join(y.TakePort(ctx, a.ID, 20001), y.Tagged(ctx, first.ID)); err != nil {
		t.Fatal(err)
	}
	if err := y.TakePort(ctx, other.ID, 20001); !errors.Is(err, build.ErrConflict) {
		t.Errorf("two apps have one port: %v", err)
	}
	v := "value"
	change := func() {
		t.Helper()
		if _, err := y.ChangeSecrets(ctx, a.ID, SecretVar, map[string]*string{"KEY": &v}, nil); err != nil {
			t.Fatal(err)
		}
	}
	change()
	second := y.release(t, a, "sha256:2")
	want := []build.Deployment{
		{Release: first.ID, Version: 1, Reason: build.BecauseDeployer}, {Release: first.ID, Version: 1, Reason: build.BecauseConfig}, {Release: second.ID, Version: 2, Reason: build.BecauseRelease},
	}
	all := y.deployments(t, a)
	if len(all) != len(want) {
		t.Fatalf("%d deployments, want %d: %+v", len(all), len(want), all)
	}
	for i, w := range want {
		if d := all[i]; d.Number != int64(i+1) || d.Release != w.Release || d.Version != w.Version || d.Reason != w.Reason || d.State != build.DeployPending || d.Kind != build.DeployLocal {
			t.Errorf("deployment %d: %+v", i+1, d)
		}
	}
	if d, err := y.PutDeployer(ctx, build.Deployer{App: a.ID, Kind: build.DeployCommand, Command: []string{"/bin/true"}}, 2); err != nil || d.Port != 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if change(); len(y.deployments(t, a)) != 3 {
		t.Error("config vars are a command's reason to deploy")
	}
	for _, d := range y.deployments(t, a) {
		if d.State != build.DeployStopped {
			t.Errorf("after another deployer was set: %+v", d)
		}
	}
	if d, err := y.Deploy(ctx, a.ID); err != nil || d.Version != 2 || d.Reason != build.BecauseAsked {
		t.Errorf("%+v, %v", d, err)
	}
	y.signalled()
	if _, err := y.DeleteApp(ctx, a.ID); err != nil || !y.signalled() || len(y.deployments(t, a)) != 0 {
		t.Errorf("the app is deleted: %v", err)
	}
	if _, err := y.Deployer(ctx, a.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("its deployer is there: %v", err)
	}
}

// TestDeploymentsRecover: a process that was live stays so, one that was not is started again, a command is not.
func TestDeploymentsRecover(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	ann := y.user(t, "ann", false)
	put := func(name string, kind build.DeployerKind, state build.DeploymentState, live bool) build.App {
		t.Helper()
		a := y.app(t, ann, name)
		if _, err := y.PutDeployer(ctx, build.Deployer{App: a.ID, Kind: kind, Command: []string{"/bin/true"}}, 9); err != nil {
			t.Fatal(err)
		}
		y.release(t, a, "sha256:1")
		if _, err := y.UpdateDeployment(ctx, y.deployments(t, a)[0].ID, func(d *build.Deployment) { d.State, d.Live, d.URL = state, live, "http://x" }); err != nil {
			t.Fatal(err)
		}
		return a
	}
	command := put("a-command", build.DeployCommand, build.DeployStarting, false)
	coming := put("a-coming", build.DeployLocal, build.DeployStarting, false)
	again := put("an-again", build.DeployLocal, build.DeployStarting, true)
	live := put("a-live", build.DeployLocal, build.DeployRunning, true)
	if err := y.RecoverDeployments(ctx, "interrupted"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		app     build.App
		state   build.DeploymentState
		failure string
	}{{command, build.DeployFailed, "interrupted"}, {coming, build.DeployPending, ""}, {again, build.DeployStarting, ""}, {live, build.DeployRunning, ""}} {
		if d := y.deployments(t, c.app)[0]; d.State != c.state || d.Failure != c.failure {
			t.Errorf("%s: %+v", c.app.Name, d)
		}
	}
	open, err := y.OpenDeployments(ctx)
	if err != nil || len(open) != 3 {
		t.Errorf("open: %+v, %v", open, err)
	}
	if d, err := y.LiveDeployment(ctx, live.ID); err != nil || d.URL != "http://x" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := y.LiveDeployment(ctx, coming.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("not live: %v", err)
	}
}

// TestDeploymentTold: what becomes of a deployer's message is what becomes of the deployment, and of a webhook that is
// gone too.
func TestDeploymentTold(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	ann := y.user(t, "ann", false)
	a := y.app(t, ann, "app-a")
	hook := func() build.Webhook {
		t.Helper()
		w, err := y.CreateWebhook(ctx, build.Webhook{App: a.ID, User: ann.ID, URL: "https://example.com/deploy", Include: []string{build.IncludeDeployment}, Level: build.LevelSync, Secret: "secret-secret"})
		if err == nil {
			_, err = y.PutDeployer(ctx, build.Deployer{App: a.ID, Kind: build.DeployWebhook, Webhook: w.ID}, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	try := func(tr Try) build.Deployment {
		t.Helper()
		all := y.messages(t, a)
		tr.ID = build.NewID()
		if err := y.Tried(ctx, all[len(all)-1].ID, tr); err != nil {
			t.Fatal(err)
		}
		ds := y.deployments(t, a)
		return ds[len(ds)-1]
	}
	first := hook()
	y.release(t, a, "sha256:1")
	if d := try(Try{Error: "it was answered 500", Again: y.clock}); d.State != build.DeployStarting || d.Failure != "it was answered 500" {
		t.Errorf("tried: %+v", d)
	}
	if d := try(Try{Code: 200, Sent: true}); d.State != build.DeploySucceeded || d.Failure != "" {
		t.Errorf("taken: %+v", d)
	}
	y.release(t, a, "sha256:2")
	if d := try(Try{Code: 404, Error: "it was answered 404"}); d.State != build.DeployFailed || d.Failure != "it was answered 404" {
		t.Errorf("refused: %+v", d)
	}
	y.release(t, a, "sha256:3")
	hook()
	if _, err := y.Webhook(ctx, a.ID, string(first.ID)); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("the webhook of the deployer before is there: %v", err)
	}
	if err := y.EndUntold(ctx); err != nil {
		t.Fatal(err)
	}
	if d := y.deployments(t, a)[2]; d.State != build.DeployFailed || d.Failure == "" {
		t.Errorf("its webhook is gone: %+v", d)
	}
	by, err := y.Deployer(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := y.DeleteWebhook(ctx, a.ID, by.Webhook); err != nil {
		t.Fatal(err)
	}
	y.release(t, a, "sha256:4")
	if d := y.deployments(t, a)[3]; d.State != build.DeployFailed || d.Failure == "" {
		t.Errorf("there is no webhook: %+v", d)
	}
}
