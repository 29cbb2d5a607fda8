package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
)

// app is the app of the path, as the visitor sees it.
func (v *visit) app(ctx context.Context) (build.App, error) {
	return v.c.Store.App(ctx, v.actor, v.PathValue("app"))
}

// build is the build of the path.
func (v *visit) build(ctx context.Context) (a build.App, b build.Build, err error) {
	if a, err = v.app(ctx); err != nil {
		return a, b, err
	}
	text := v.PathValue("build")
	if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < 1 || text != strconv.FormatInt(n, 10) {
		return a, b, nowhere(fmt.Sprintf("App %s has no build %.40q: builds have numbers.", a.Name, text))
	}
	b, err = v.c.Store.Build(ctx, a.ID, text)
	if errors.Is(err, build.ErrNotFound) {
		err = nowhere(fmt.Sprintf("App %s has no build %s.", a.Name, text))
	}
	return a, b, err
}

type buildData struct {
	App      build.App
	Build    build.Build
	Live     bool
	Who      string
	Source   string // where it was fetched from, without what is secret
	Ahead    int    // builds of the app that come first
	Others   int    // apps whose turn comes before
	Took     time.Duration
	Steps    []step
	Log      logView
	Release  *build.Release
	Deploy   bool // the visitor may cancel and retry
	Earlier  bool // there is a build before this one
	Image    string
	HasNewer bool
}

func (c *Console) buildPage(ctx context.Context, v *visit) error {
	a, b, err := v.build(ctx)
	if err != nil {
		return err
	}
	d, err := c.describe(ctx, v, a, b)
	if err != nil {
		return err
	}
	from, ok := parseCursor(v.URL.Query().Get("at"))
	if !ok {
		return nowhere("There is no such place in the log.")
	}
	if query := v.URL.Query().Get("q"); !v.summary() {
		if d.Log, err = c.logOf(b.ID, from, query[:min(len(query), 200)]); err != nil {
			return err
		}
	}
	d.Live = d.Live && !d.Log.Gone
	return v.page(http.StatusOK, "build", fmt.Sprintf("%s #%d", a.Name, b.Number), d)
}

// summary tells that a page that is followed asks for itself again: its log has come another way, and may be long.
func (v *visit) summary() bool { return v.URL.Query().Get("part") == "summary" }

// describe is all of a build but its log.
func (c *Console) describe(ctx context.Context, v *visit, a build.App, b build.Build) (d buildData, err error) {
	d = buildData{App: a, Build: b, Live: !b.State.Terminal(), Steps: stepsOf(b), Deploy: v.actor.Can(build.VerbDeploy), Earlier: b.Number > 1, Source: placeOf(b.Source)}
	if d.Who, err = c.userName(ctx, b.User); err != nil {
		return d, err
	}
	if !b.StartedAt.IsZero() {
		end := b.EndedAt
		if end.IsZero() {
			end = time.Now()
		}
		d.Took = end.Sub(b.StartedAt)
	}
	if b.State == build.Queued {
		if d.Ahead, d.Others, err = c.Store.Place(ctx, b); err != nil {
			return d, err
		}
	}
	if b.State == build.Succeeded {
		r, err := c.Store.ReleaseOf(ctx, b.ID)
		if err != nil && !errors.Is(err, build.ErrNotFound) {
			return d, err
		}
		if err == nil {
			d.Release = &r
		}
	}
	if b.Result != nil {
		d.Image = b.Result.Repository + "@" + b.Result.Digest
	}
	return d, nil
}

// userName is the name of a user. One that is gone has none.
func (c *Console) userName(ctx context.Context, id build.ID) (string, error) {
	if id == "" {
		return "", nil
	}
	u, err := c.Store.User(ctx, string(id))
	if errors.Is(err, build.ErrNotFound) {
		return "somebody who is gone", nil
	}
	return u.Name, err
}

// placeOf is where a source was fetched from.
func placeOf(s build.Source) string {
	if s.Git {
		u, err := fetch.ParseGitURL(s.URL)
		if err != nil {
			return ""
		}
		return u.String()
	}
	u, err := fetch.ParseTarballURL(s.URL)
	if err != nil {
		return ""
	}
	return u.String()
}

func pathOf(a build.App, number int64) string {
	return "/console/apps/" + string(a.Name) + "/builds/" + strconv.FormatInt(number, 10)
}

func (c *Console) cancelBuild(ctx context.Context, v *visit) error {
	a, b, err := v.build(ctx)
	if err == nil {
		err = v.may(build.VerbDeploy)
	}
	if err != nil {
		return err
	}
	b, err = c.Service.Cancel(ctx, b.ID, v.actor.User.Name+" asked for it")
	switch {
	case errors.Is(err, build.ErrConflict):
		return v.say(bad, fmt.Sprintf("Build %d has ended already.", b.Number), pathOf(a, b.Number))
	case err != nil:
		return err
	case b.State.Terminal():
		return v.say(done, fmt.Sprintf("Build %d is cancelled.", b.Number), pathOf(a, b.Number))
	}
	return v.say(done, fmt.Sprintf("Build %d is being stopped.", b.Number), pathOf(a, b.Number))
}

// retryBuild makes a new build of the same source.
func (c *Console) retryBuild(ctx context.Context, v *visit) error {
	a, b, err := v.build(ctx)
	if err == nil {
		err = v.may(build.VerbDeploy)
	}
	if err != nil {
		return err
	}
	if !b.State.Terminal() {
		return v.say(bad, fmt.Sprintf("Build %d has not ended: it is %s.", b.Number, b.State), pathOf(a, b.Number))
	}
	if b.Source.Stored != "" {
		_, err := c.Sources.Path(fetch.Key(b.Source.Stored))
		if errors.Is(err, fs.ErrNotExist) {
			return v.say(bad, fmt.Sprintf("The source of build %d is not kept any more. Push or upload it again.", b.Number), pathOf(a, b.Number))
		}
		if err != nil {
			return err
		}
	}
	if c.Preflight != nil {
		if err := c.Preflight(ctx, a); err != nil {
			return v.say(bad, err.Error(), pathOf(a, b.Number))
		}
	}
	trigger := build.Trigger{Kind: build.TriggerRetry, NoCache: v.PostForm.Get("no-cache") != "" || b.Trigger.NoCache}
	n, err := c.Service.Submit(ctx, build.Build{App: a.ID, User: v.actor.User.ID, Trigger: trigger, Source: b.Source})
	if err != nil {
		return err
	}
	return v.say(done, fmt.Sprintf("Build %d is of the same source as build %d.", n.Number, b.Number), pathOf(a, n.Number))
}

// A step is a line of the timeline: a phase, or a buildpack's part in one.
type step struct {
	Name, Buildpack string
	Does            string
	Took            time.Duration
	Known           bool    // how long it took
	From, Width     float64 // of 100, where it is known
	State           string  // done, now, bad, later
}

func phases() []step {
	return []step{
		{Name: "prepare", Does: "source, builder, buildpacks"}, {Name: "analyze", Does: "the image before"}, {Name: "detect", Does: "which buildpacks"},
		{Name: "restore", Does: "layers of earlier builds"}, {Name: "build", Does: "the buildpacks at work"}, {Name: "export", Does: "the image"},
	}
}

// stepsOf is the timeline of a build: with times where it has ended, else where it is.
func stepsOf(b build.Build) []step {
	if t := b.Timings(); b.State.Terminal() && len(t) > 0 {
		return append(stoppedAt(b.Failure, timed(t)), later(t)...)
	}
	at, state := b.Phase, "now"
	buildpack := b.Buildpack
	if b.State.Terminal() {
		if state = "bad"; b.Failure != nil && b.Failure.Phase != "" {
			at, buildpack = b.Failure.Phase, b.Failure.Buildpack
		}
	}
	all, reached := []step{}, at == ""
	for _, s := range phases() {
		switch {
		case s.Name == at:
			s.State, reached = state, true
		case reached:
			s.State = "later"
		default:
			s.State = "done"
		}
		all = append(all, s)
		if s.Name == at && buildpack != "" {
			all = append(all, step{Name: s.Name, Buildpack: buildpack, State: state})
		}
	}
	return all
}

// stoppedAt marks where a build failed.
func stoppedAt(f *build.Failure, all []step) []step {
	if f == nil {
		return all
	}
	last := 0
	for i, s := range all {
		if s.Buildpack == "" {
			last = i
		}
		if s.Buildpack != "" && s.Buildpack == f.Buildpack && s.Name == f.Phase {
			all[i].State = "bad"
		}
	}
	all[last].State = "bad"
	return all
}

// later are the phases that a build did not come to.
func later(timings []build.PhaseTiming) (all []step) {
	for _, s := range phases() {
		if !slices.ContainsFunc(timings, func(t build.PhaseTiming) bool { return t.Phase == s.Name }) {
			s.State = "later"
			all = append(all, s)
		}
	}
	return all
}

// timed sets phases one after the other, and below each the buildpacks that took part, in the same scale.
func timed(timings []build.PhaseTiming) (all []step) {
	var total time.Duration
	for _, t := range timings {
		if t.Buildpack == "" {
			total += t.Elapsed
		}
	}
	share := func(d time.Duration) float64 {
		if total <= 0 {
			return 0
		}
		return 100 * float64(d) / float64(total)
	}
	does := map[string]string{}
	for _, s := range phases() {
		does[s.Name] = s.Does
	}
	var begun time.Duration
	for _, t := range timings {
		if t.Buildpack != "" {
			continue
		}
		all = append(all, step{Name: t.Phase, Does: does[t.Phase], Took: t.Elapsed, Known: true, From: share(begun), Width: max(share(t.Elapsed), .4), State: "done"})
		within := begun
		for _, e := range timings {
			if e.Phase == t.Phase && e.Buildpack != "" {
				all = append(all, step{Name: e.Phase, Buildpack: e.Buildpack, Took: e.Elapsed, Known: true, From: share(within), Width: max(share(e.Elapsed), .4), State: "done"})
				if e.Phase == "build" { // the others run side by side
					within += e.Elapsed
				}
			}
		}
		begun += t.Elapsed
	}
	return all
}

// why is what asked for a build, as a sentence.
func why(d buildData) string {
	b := d.Build
	ref := strings.TrimPrefix(strings.TrimPrefix(b.Trigger.Ref, "refs/heads/"), "refs/tags/")
	switch b.Trigger.Kind {
	case build.TriggerPush:
		return d.Who + " pushed to " + ref + "."
	case build.TriggerWebhook:
		return "A webhook told of a push to " + ref + " (delivery " + b.Trigger.Delivery + ")."
	case build.TriggerRetry:
		return d.Who + " asked for a build of a source that was built before."
	case build.TriggerAPI:
		return d.Who + " asked for it through the API."
	case build.TriggerButton:
		return d.Who + " pressed a deploy button."
	}
	return d.Who + " asked for it."
}
