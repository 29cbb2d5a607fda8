package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// TestSetups: a setup is recorded with its app, both or none; it is seen by whose it is; what it was given is nowhere in
// plain text, and gone when it has ended, after which nothing changes it.
func TestSetups(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	ann, bob, root := y.user(t, "ann", false), y.user(t, "bob", false), y.user(t, "root", true)
	v := build.Setup{Steps: build.SetupSteps(), Source: build.Source{Stored: "key-of-a-source"}, Trigger: build.TriggerButton, Deployer: build.DeployNone}
	app := build.App{Name: "app-a", Owner: ann.ID, Branch: "main", Disconnect: build.Continue}
	v, app, err := y.CreateSetup(ctx, v, app, "c4nary")
	if err != nil || v.State != build.SetupPending || v.App != app.ID || v.User != ann.ID || v.AppName != "app-a" {
		t.Fatalf("%+v %v", v, err)
	}
	if _, err := y.AppByID(ctx, v.App); err != nil {
		t.Error(err)
	}
	if _, _, err := y.CreateSetup(ctx, v, app, ""); !errors.Is(err, build.ErrConflict) {
		t.Errorf("a name is taken twice: %v", err)
	}
	if open, err := y.OpenSetups(ctx); err != nil || len(open) != 1 || open[0].ID != v.ID {
		t.Errorf("%+v %v", open, err)
	}
	for _, c := range []struct {
		who  build.Actor
		sees bool
	}{
		{build.Actor{User: ann}, true},
		{build.Actor{User: bob}, false},
		{build.Actor{User: root}, true},
		{build.Actor{User: ann, Token: build.Token{App: app.ID}}, true},
		{build.Actor{User: ann, Token: build.Token{App: ann.ID}}, false},
	} {
		got, err := y.Setup(ctx, c.who, v.ID)
		if (err == nil) != c.sees || err != nil && (!errors.Is(err, build.ErrNotFound) || got.ID != "") {
			t.Errorf("%s, token of %q: %v", c.who.User.Name, c.who.Token.App, err)
		}
	}
	if kept, err := y.KeptSources(ctx, time.Hour); err != nil || !kept["key-of-a-source"] {
		t.Errorf("the source of a setup under way is not kept: %v %v", kept, err)
	}
	if text, err := y.SetupInput(ctx, v.ID); err != nil || text != "c4nary" {
		t.Errorf("%q %v", text, err)
	}
	if err := y.PutSetupInput(ctx, v.ID, "c4nary too"); err != nil {
		t.Error(err)
	}
	y.wantNowhere(t, "c4nary")
	end := func(v *build.Setup) { v.State, v.Failure, v.Build = build.SetupFailed, "no", app.ID }
	if v, err = y.UpdateSetup(ctx, v.ID, end); err != nil || v.EndedAt.IsZero() {
		t.Errorf("%+v %v", v, err)
	}
	if _, err := y.UpdateSetup(ctx, v.ID, end); !errors.Is(err, build.ErrConflict) {
		t.Errorf("it ends twice: %v", err)
	}
	if _, err := y.SetupInput(ctx, v.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("what it was given is there still: %v", err)
	}
	if of, err := y.SetupOfBuild(ctx, app.ID); err != nil || of.ID != v.ID || of.Failure != "no" {
		t.Errorf("%+v %v", of, err)
	}
	if kept, _ := y.KeptSources(ctx, time.Hour); kept["key-of-a-source"] {
		t.Error("the source of a setup that has ended is kept")
	}
}

// TestSetupsAreTrimmed: the oldest ones of a user that have ended go.
func TestSetupsAreTrimmed(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	ann, bob := y.user(t, "ann", false), y.user(t, "bob", false)
	made := func(u build.User, i int, end bool) build.Setup {
		v, _, err := y.CreateSetup(ctx, build.Setup{Steps: build.SetupSteps()}, build.App{Name: build.AppName(fmt.Sprintf("%s-%d", u.Name, i)), Owner: u.ID}, "")
		if err == nil && end {
			_, err = y.UpdateSetup(ctx, v.ID, func(v *build.Setup) { v.State = build.SetupSucceeded })
		}
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	other, open, first := made(bob, 0, true), made(ann, 0, false), made(ann, 1, true)
	for i := range build.MaxSetups {
		made(ann, i+2, true)
	}
	_, gone := y.SetupByID(ctx, first.ID)
	_, err := y.SetupByID(ctx, open.ID)
	_, berr := y.SetupByID(ctx, other.ID)
	all, lerr := y.Setups(ctx, build.Actor{User: ann}, 1000)
	if !errors.Is(gone, build.ErrNotFound) || errors.Join(err, berr, lerr) != nil || len(all) != build.MaxSetups+1 || all[len(all)-1].ID != open.ID {
		t.Errorf("%v, %v, %v, %v; there are %d", gone, err, berr, lerr, len(all))
	}
}
