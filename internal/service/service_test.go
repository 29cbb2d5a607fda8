package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// tags is a Tagger that can be out of order.
type tags struct {
	mu   sync.Mutex
	at   map[string]string
	fail error
	gone string // a digest that no repository has any more
}

func (t *tags) Has(_ context.Context, _ []work.Credential, _, digest string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return digest != t.gone, t.fail
}

func (t *tags) Tag(_ context.Context, _ []work.Credential, repository, tag, digest string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail == nil {
		t.at[repository+":"+tag] = digest
	}
	return t.fail
}

// house is a service on a directory, and one app.
type house struct {
	*Service
	t    *testing.T
	dir  string
	tags *tags
	app  build.App
	user build.User
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, dir: t.TempDir(), tags: &tags{at: map[string]string{}}}
	h.start()
	var err error
	if h.user, err = h.store.CreateUser(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	if h.app, err = h.store.CreateApp(t.Context(), build.App{Name: "shop", Owner: h.user.ID, Branch: "main", Disconnect: build.Continue}); err != nil {
		t.Fatal(err)
	}
	value := "correct horse battery"
	if _, err := h.store.ChangeSecrets(t.Context(), h.app.ID, store.SecretVar, map[string]*string{"API_KEY": &value}, nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// start opens what an earlier process left.
func (h *house) start() {
	h.t.Helper()
	box, err := secret.Open(filepath.Join(h.dir, "key"))
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := store.Open(h.t.Context(), filepath.Join(h.dir, "slipway.db"), box)
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := logs.Open(filepath.Join(h.dir, "logs"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = s.Close() })
	h.Service = New(Config{Builder: "builder", Registry: "registry.test", Lease: time.Minute, Limits: build.Limits{Memory: 1 << 30, Time: time.Hour}}, s, l, h.tags,
		func(err error) { h.t.Logf("fault: %v", err) })
}

func (h *house) submit(tr build.Trigger) build.Build {
	h.t.Helper()
	b, err := h.Submit(h.t.Context(), build.Build{App: h.app.ID, User: h.user.ID, Trigger: tr, Source: build.Source{Stored: "x", Commit: "0123456789abcdef"}})
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

func (h *house) claim() *work.Job {
	h.t.Helper()
	j, err := h.Claim(h.t.Context(), "w")
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

func (h *house) say(j *work.Job, text string) {
	h.t.Helper()
	if _, err := h.Log(h.t.Context(), j.Claim, work.Piece{Text: []byte(text)}); err != nil {
		h.t.Error(err)
	}
}

func (h *house) finish(j *work.Job, o work.Outcome) {
	h.t.Helper()
	if err := h.Finish(h.t.Context(), j.Claim, o); err != nil {
		h.t.Error(err)
	}
}

// good is the outcome of a build that made an image.
func good(j *work.Job, digest string) work.Outcome {
	return work.Outcome{State: build.Succeeded, Result: &build.Result{Repository: j.Image, Digest: digest, Processes: []build.Process{{Type: "web"}}}}
}

func (h *house) state(id build.ID) build.Build {
	h.t.Helper()
	b, err := h.store.BuildByID(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// log is all of an ended log.
func (h *house) log(id build.ID) string {
	h.t.Helper()
	var b bytes.Buffer
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	if _, err := h.logs.Follow(ctx, id, 0, &b); err != nil {
		h.t.Errorf("log of %s: %v", id, err)
	}
	return b.String()
}

func stale(t *testing.T, h *house, c work.Claim) {
	t.Helper()
	_, beat := h.Heartbeat(t.Context(), c, work.Progress{})
	_, log := h.Log(t.Context(), c, work.Piece{Text: []byte("x")})
	for what, err := range map[string]error{
		"heartbeat": beat, "log": log, "finish": h.Finish(t.Context(), c, work.Outcome{State: build.Failed}),
	} {
		if !errors.Is(err, work.ErrStale) {
			t.Errorf("%s of a claim that is over: %v", what, err)
		}
	}
}

func TestLifeOfABuild(t *testing.T) {
	h := newHouse(t)
	woken := 0
	h.OnQueued(func() { woken++ })
	if j := h.claim(); j != nil {
		t.Fatalf("claimed %+v where nothing waits", j)
	}
	b := h.submit(build.Trigger{Kind: build.TriggerAPI})
	if woken != 1 {
		t.Errorf("workers were woken %d times", woken)
	}
	next := h.Watch(b.ID)
	j := h.claim()
	<-next // it runs
	if j.Build != b.ID || j.App != "shop" || j.Builder != "builder" || j.Image != "registry.test/shop" || j.Previous != "" || j.Env["API_KEY"] != "correct horse battery" ||
		j.Limits.Memory != 1<<30 || j.Limits.Time != time.Hour {
		t.Errorf("job %+v", j)
	}
	h.say(j, "the key is correct hor")
	h.say(j, "se battery\n")
	if o, err := h.Heartbeat(t.Context(), j.Claim, work.Progress{Phase: "build", Buildpack: "a@1"}); err != nil || o.Cancel {
		t.Errorf("heartbeat: %+v, %v", o, err)
	}
	if b := h.state(b.ID); b.Phase != "build" || b.Buildpack != "a@1" {
		t.Errorf("it is at %s %s", b.Phase, b.Buildpack)
	}
	ended := h.Watch(b.ID)
	h.finish(j, good(j, "sha256:1"))
	<-ended
	if b := h.state(b.ID); b.State != build.Succeeded || b.Result.Digest != "sha256:1" {
		t.Errorf("ended %+v", b)
	}
	if got := h.log(b.ID); got != "the key is [masked]\n" {
		t.Errorf("log %q", got)
	}
	if got := h.tags.at["registry.test/shop:latest"]; got != "sha256:1" {
		t.Errorf("the tag names %q", got)
	}
	r, err := h.store.ReleaseOf(t.Context(), b.ID)
	if err != nil || r.Version != 1 || !r.Tagged || r.Description != "Deploy 0123456789ab" {
		t.Errorf("release %+v, %v", r, err)
	}
	stale(t, h, j.Claim)
	second := h.submit(build.Trigger{Kind: build.TriggerAPI})
	if j := h.claim(); j.Build != second.ID || j.Previous != "registry.test/shop@sha256:1" {
		t.Errorf("the second job: %+v", j)
	}
}

// TestTriedAgain: a failure of the platform is, under a new claim, in the same log; the app's is not.
func TestTriedAgain(t *testing.T) {
	h := newHouse(t)
	b := h.submit(build.Trigger{Kind: build.TriggerAPI})
	first := h.claim()
	h.say(first, "one\n")
	h.finish(first, work.Outcome{State: build.Failed, Failure: &build.Failure{Blame: build.BlamePlatform, Reason: "registry down"}})
	if b := h.state(b.ID); b.State != build.Queued {
		t.Fatalf("it is %s", b.State)
	}
	second := h.claim()
	if second == nil || second.Build != b.ID || second.Attempt != 2 || second.Fence == first.Fence {
		t.Fatalf("second claim %+v", second)
	}
	stale(t, h, first.Claim)
	h.say(second, "two\n")
	h.finish(second, work.Outcome{State: build.Failed, Failure: &build.Failure{Blame: build.BlameApp, Reason: "no"}})
	if b := h.state(b.ID); b.State != build.Failed {
		t.Errorf("it is %s", b.State)
	}
	if got, want := h.log(b.ID), "one\nThe build is tried again.\nAttempt 2 of 3\ntwo\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	if len(h.tags.at) != 0 {
		t.Errorf("tags %v", h.tags.at)
	}
}

func TestCancel(t *testing.T) {
	h := newHouse(t)
	running, waiting := h.submit(build.Trigger{Kind: build.TriggerAPI}), h.submit(build.Trigger{Kind: build.TriggerAPI})
	j := h.claim()
	if h.claim() != nil {
		t.Error("two builds of one app run at once")
	}
	for _, b := range []build.Build{running, waiting} {
		if _, err := h.Cancel(t.Context(), b.ID, "alice asked"); err != nil {
			t.Error(err)
		}
	}
	if b := h.state(waiting.ID); b.State != build.Cancelled || h.log(b.ID) != "This build was cancelled: alice asked.\n" {
		t.Errorf("waiting: %s, %q", b.State, h.log(b.ID))
	}
	if o, err := h.Heartbeat(t.Context(), j.Claim, work.Progress{}); err != nil || !o.Cancel || o.Reason != "alice asked" {
		t.Errorf("running: %+v, %v", o, err)
	}
	h.finish(j, work.Outcome{State: build.Cancelled, Failure: &build.Failure{Blame: build.BlameApp, Code: "cancelled", Reason: "cancelled"}})
	if b := h.state(running.ID); b.State != build.Cancelled {
		t.Errorf("running: %s", b.State)
	}
	if _, err := h.Cancel(t.Context(), running.ID, "again"); !errors.Is(err, build.ErrConflict) {
		t.Errorf("cancel of one that has ended: %v", err)
	}
}

// TestSessionDecides: a build whose push finds its ref moved makes no release, and its image never gets the tag.
func TestSessionDecides(t *testing.T) {
	h := newHouse(t)
	no := &build.Failure{Blame: build.BlameApp, Code: "fetch-first", Reason: "main has moved", Next: "fetch first"}
	b, err := h.SubmitWaiting(t.Context(), build.Build{App: h.app.ID, User: h.user.ID, Trigger: build.Trigger{Kind: build.TriggerPush, Ref: "refs/heads/main"}},
		&Session{Decide: func(context.Context, build.Build) *build.Failure { return no }})
	if err != nil {
		t.Fatal(err)
	}
	j := h.claim()
	h.finish(j, good(j, "sha256:1"))
	if b := h.state(b.ID); b.State != build.Failed || b.Failure.Code != "fetch-first" {
		t.Errorf("ended %+v", b)
	}
	if _, err := h.store.ReleaseOf(t.Context(), b.ID); !errors.Is(err, build.ErrNotFound) || len(h.tags.at) != 0 {
		t.Errorf("release: %v, tags %v", err, h.tags.at)
	}
	if got := h.log(b.ID); got != "ERROR: main has moved\n" {
		t.Errorf("log %q", got)
	}
}

// TestAfterACrash: whatever stood when the process died ends in one way.
func TestAfterACrash(t *testing.T) {
	h := newHouse(t)
	done := h.submit(build.Trigger{Kind: build.TriggerAPI})
	j := h.claim()
	h.tags.fail = errors.New("registry is down")
	h.finish(j, good(j, "sha256:1")) // recorded, not published
	again := h.submit(build.Trigger{Kind: build.TriggerAPI})
	j = h.claim()
	h.say(j, "half\n")
	pushed, err := h.SubmitWaiting(t.Context(), build.Build{App: h.app.ID, User: h.user.ID, Trigger: build.Trigger{Kind: build.TriggerPush, Ref: "refs/heads/main"}}, &Session{})
	if err != nil {
		t.Fatal(err)
	}
	if len(h.tags.at) != 0 {
		t.Fatalf("tags %v", h.tags.at)
	}

	h.tags.fail = nil
	crashed := j.Claim
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.start()
	if err := errors.Join(h.Recover(t.Context()), h.look(t.Context())); err != nil {
		t.Fatal(err)
	}
	if h.tags.at["registry.test/shop:latest"] != "sha256:1" {
		t.Errorf("the recorded release has no tag: %v", h.tags.at)
	}
	if r, err := h.store.ReleaseOf(t.Context(), done.ID); err != nil || !r.Tagged {
		t.Errorf("release %+v, %v", r, err)
	}
	if b := h.state(pushed.ID); b.State != build.Failed || b.Failure.Next != "push again" {
		t.Errorf("the waiting push: %+v", b)
	}
	h.log(pushed.ID) // it has ended
	if b := h.state(again.ID); b.State != build.Queued {
		t.Fatalf("the running build is %s", b.State)
	}
	stale(t, h, crashed)
	j = h.claim()
	if j == nil || j.Build != again.ID || j.Attempt != 2 || j.Previous != "registry.test/shop@sha256:1" {
		t.Fatalf("claimed %+v", j)
	}
	h.finish(j, good(j, "sha256:2"))
	if h.tags.at["registry.test/shop:latest"] != "sha256:2" {
		t.Errorf("tags %v", h.tags.at)
	}
	if got := h.log(again.ID); !strings.HasPrefix(got, "half\n") || !strings.Contains(got, "Attempt 2 of 3\n") {
		t.Errorf("log %q", got)
	}
}

// TestOlderNeverOverwrites: a release that gets its name late does not take it from a newer one.
func TestOlderNeverOverwrites(t *testing.T) {
	h := newHouse(t)
	for i, digest := range []string{"sha256:1", "sha256:2"} {
		h.submit(build.Trigger{Kind: build.TriggerAPI})
		j := h.claim()
		h.tags.fail = nil
		if i == 0 {
			h.tags.fail = errors.New("down")
		}
		h.finish(j, good(j, digest))
	}
	if err := errors.Join(h.Recover(t.Context()), h.look(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := h.tags.at["registry.test/shop:latest"]; got != "sha256:2" {
		t.Errorf("the tag names %q", got)
	}
	if left, err := h.store.Unfinished(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("unfinished: %v, %v", left, err)
	}
}

// TestLostWorker: a claim without heartbeats is taken away, and a name that could not be given is given later.
func TestLostWorker(t *testing.T) {
	h := newHouse(t)
	h.config.Lease = time.Millisecond
	b := h.submit(build.Trigger{Kind: build.TriggerAPI})
	lost := h.claim()
	h.say(lost, "half\n")
	time.Sleep(10 * time.Millisecond)
	if err := h.look(t.Context()); err != nil {
		t.Error(err)
	}
	stale(t, h, lost.Claim)
	h.config.Lease = time.Minute
	j := h.claim()
	if j == nil || j.Build != b.ID || j.Attempt != 2 {
		t.Fatalf("claimed %+v", j)
	}
	h.tags.fail = errors.New("registry is down")
	h.finish(j, good(j, "sha256:1"))
	if err := h.look(t.Context()); !errors.Is(err, h.tags.fail) {
		t.Errorf("while the registry is down: %v", err)
	}
	h.tags.fail = nil
	if err := h.look(t.Context()); err != nil || h.tags.at["registry.test/shop:latest"] != "sha256:1" {
		t.Errorf("tags %v, %v", h.tags.at, err)
	}
	if got := h.log(b.ID); got != "half\nThe worker that ran this build went away.\nAttempt 2 of 3\n" {
		t.Errorf("log %q", got)
	}
}

// TestReleaseCommand: the release gets the app's name when its command has succeeded, and not when it failed.
func TestReleaseCommand(t *testing.T) {
	h := newHouse(t)
	answers, runs := make(chan error), make(chan struct{}, 3)
	h.config.Release = func(_ context.Context, r build.Release, env map[string]string, _ build.Limits, log io.Writer) error {
		fmt.Fprintf(log, "migrating with %s\n", env["API_KEY"])
		runs <- struct{}{}
		return <-answers
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	made := func(digest string) build.Release {
		t.Helper()
		b := h.submit(build.Trigger{Kind: build.TriggerAPI})
		j := h.claim()
		o := good(j, digest)
		o.Result.Processes = append(o.Result.Processes, build.Process{Type: ReleaseProcess})
		h.finish(j, o)
		r, err := h.store.ReleaseOf(t.Context(), b.ID)
		if err != nil || r.State != build.ReleasePending {
			t.Fatalf("release %+v, %v", r, err)
		}
		return r
	}
	ended := func(r build.Release) build.Release {
		t.Helper()
		h.log(r.ID) // until it has ended
		for {
			v, err := h.store.Release(t.Context(), r.App, string(r.ID))
			if err != nil {
				t.Fatal(err)
			}
			if v.State != build.ReleasePending && (v.State == build.ReleaseFailed || v.Tagged) {
				return v
			}
			time.Sleep(time.Millisecond)
		}
	}
	at := func() string {
		h.tags.mu.Lock()
		defer h.tags.mu.Unlock()
		return h.tags.at["registry.test/shop:latest"]
	}
	first := made("sha256:1")
	<-runs
	if at() != "" {
		t.Errorf("the tag is %q before the command has run", at())
	}
	answers <- nil
	if r := ended(first); r.State != build.ReleaseSucceeded || at() != "sha256:1" {
		t.Errorf("release %+v, tag %q", r, at())
	}
	if got := h.log(first.ID); got != "Running the release command of v1\nmigrating with [masked]\n" {
		t.Errorf("log %q", got)
	}
	second := made("sha256:2")
	<-runs
	answers <- &container.ExitError{Code: 3}
	if r := ended(second); r.State != build.ReleaseFailed || r.Failure != "the release command ended with exit code 3" || at() != "sha256:1" {
		t.Errorf("release %+v, tag %q", r, at())
	}
	third := made("sha256:3")
	<-runs
	stop()
	answers <- errors.New("killed")
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if r := ended(third); r.State != build.ReleaseFailed || r.Failure != interruptedCommand || at() != "sha256:1" {
		t.Errorf("release %+v, tag %q", r, at())
	}
	if un, err := h.store.Unfinished(t.Context()); err != nil || len(un) > 0 {
		t.Errorf("unfinished: %+v, %v", un, err)
	}
}

// TestCommandOnce: a look for release commands that read its list before a command ended leaves that one alone.
func TestCommandOnce(t *testing.T) {
	h := newHouse(t)
	runs := 0
	h.config.Release = func(context.Context, build.Release, map[string]string, build.Limits, io.Writer) error {
		runs++
		return nil
	}
	h.fault = func(err error) { t.Errorf("fault: %v", err) } // its log is there already
	h.submit(build.Trigger{Kind: build.TriggerAPI})
	j := h.claim()
	o := good(j, "sha256:1")
	o.Result.Processes = append(o.Result.Processes, build.Process{Type: ReleaseProcess})
	h.finish(j, o)
	old, err := h.store.Unfinished(t.Context())
	if err != nil || len(old) != 1 {
		t.Fatalf("%+v, %v", old, err)
	}
	for range 2 {
		if err := h.Service.start(t.Context(), old); err != nil {
			t.Error(err)
		}
		h.commanding.Wait()
	}
	if runs != 1 {
		t.Errorf("the command ran %d times", runs)
	}
	if len(h.executing) > 0 {
		t.Errorf("apps whose command is said to run: %v", h.executing)
	}
}

// TestTriedAgainAtOnce: who claims a build that is tried again waits until its last attempt has closed the log.
func TestTriedAgainAtOnce(t *testing.T) {
	h := newHouse(t)
	b := h.submit(build.Trigger{Kind: build.TriggerAPI})
	last, err := h.logs.Create(b.ID, logs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	claimed := make(chan *work.Job)
	go func() {
		j, err := h.Claim(context.WithoutCancel(t.Context()), "w")
		if err != nil {
			t.Errorf("claim: %v", err)
		}
		claimed <- j
	}()
	time.Sleep(10 * closeEvery)
	if err := last.Close(build.Queued); err != nil {
		t.Error(err)
	}
	if j := <-claimed; j != nil {
		h.finish(j, good(j, "sha256:1"))
	}
}

// TestRecordWithoutLog: a push whose service died between the record of its build and the build's log has one, which
// has ended.
func TestRecordWithoutLog(t *testing.T) {
	h := newHouse(t)
	b, _, err := h.store.CreateBuild(t.Context(), build.Build{App: h.app.ID, User: h.user.ID, Trigger: build.Trigger{Kind: build.TriggerPush, Session: true}, Source: build.Source{Commit: "0123456789abcdef"}})
	if err != nil {
		t.Fatal(err)
	}
	h.start()
	if err := h.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := h.logs.Stat(b.ID)
	if err != nil || !info.State.Terminal() {
		t.Errorf("its log is %+v, %v", info, err)
	}
}
