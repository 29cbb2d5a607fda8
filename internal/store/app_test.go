package store

import (
	"errors"
	"slices"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
)

// TestDeleteApp deletes an app with builds that ended and builds that wait: the latter come back, cancelled, and its
// secrets, releases and tokens are gone.
func TestDeleteApp(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	ann := y.user(t, "ann", false)
	a, other := y.app(t, ann, "app-a"), y.app(t, ann, "app-b")
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	b, _ := y.claim(t)
	if _, _, err := y.Finish(ctx, b.ID, b.Fence, Outcome{State: build.Succeeded, Release: &build.Release{Repository: "r/a", Digest: "sha256:1", State: build.ReleaseSucceeded}}); err != nil {
		t.Fatal(err)
	}
	second, third := y.queue(t, a, build.Trigger{Kind: build.TriggerAPI}), y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	y.queue(t, other, build.Trigger{Kind: build.TriggerAPI})
	_, text, err := y.CreateToken(ctx, build.Token{User: ann.ID, Verbs: build.Verbs(), App: a.ID})
	if err != nil {
		t.Fatal(err)
	}
	waited, err := y.DeleteApp(ctx, a.ID)
	var ids []build.ID
	for _, w := range waited {
		ids = append(ids, w.ID)
		if w.State != build.Cancelled || w.CancelReason == "" || w.EndedAt.IsZero() {
			t.Errorf("build %d came back %s, %q, %s", w.Number, w.State, w.CancelReason, w.EndedAt)
		}
	}
	if err != nil || !slices.Equal(ids, []build.ID{second.ID, third.ID}) {
		t.Errorf("DeleteApp = %v, %v; want builds 2 and 3", ids, err)
	}
	if _, err := y.DeleteApp(ctx, a.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	if _, err := y.BuildByID(ctx, b.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("a build of it is there: %v", err)
	}
	if _, err := y.Authenticate(ctx, text); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("a token for it is good: %v", err)
	}
	if c, err := y.Counts(ctx); err != nil || c.Queued != 1 {
		t.Errorf("%d builds wait, %v; want the other app's", c.Queued, err)
	}
}

// TestImages finds what images of an app were published as, and whether it may give its name away.
func TestImages(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	ann := y.user(t, "ann", false)
	a, other := y.app(t, ann, "app-a"), y.app(t, ann, "app-b")
	holds := func(app build.App, repository string) bool {
		t.Helper()
		h, err := y.HoldsName(ctx, app.ID, repository)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	if holds(a, "r/a") {
		t.Error("a build that waits holds the name")
	}
	b, _ := y.claim(t)
	if !holds(a, "r/a") || holds(other, "r/a") {
		t.Error("a build that runs does not hold the name, or another app's")
	}
	first := &build.Release{Repository: "r/a", Digest: "sha256:1", State: build.ReleaseSucceeded, Processes: []build.Process{{Type: "web"}}}
	if _, _, err := y.Finish(ctx, b.ID, b.Fence, Outcome{State: build.Succeeded, Release: first}); err != nil {
		t.Fatal(err)
	}
	if _, err := y.CreateRelease(ctx, build.Release{App: a.ID, User: ann.ID, Repository: "r/a", Digest: "sha256:1", State: build.ReleaseSucceeded}); err != nil {
		t.Fatal(err)
	}
	if r, err := y.ReleaseOfImage(ctx, a.ID, "sha256:1"); err != nil || r.Build != b.ID || r.Version != 1 {
		t.Errorf("the image is of release %d, build %s, %v", r.Version, r.Build, err)
	}
	if _, err := y.ReleaseOfImage(ctx, other.ID, "sha256:1"); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("another app has the image: %v", err)
	}
	if !holds(a, "r/a") || holds(a, "r/b") || holds(other, "r/a") {
		t.Error("a release does not hold the name of its repository, or another one")
	}
}
