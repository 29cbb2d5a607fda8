package console

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/logs"
)

// setupRoutes are the pages of setups: what becomes of a template after somebody has pressed Deploy.
func (c *Console) setupRoutes() []route {
	if c.Setups == nil {
		return nil
	}
	const one = "/console/setups/{setup}"
	return []route{
		{"GET", "/console/setups", signedIn, c.setupsPage},
		{"GET", one, signedIn, c.setupPage},
		{"GET", one + "/stream", signedIn, c.setupStream},
		{"GET", one + "/log.txt", signedIn, c.setupLog},
		{"POST", one + "/cancel", signedIn, c.cancelSetup},
		{"POST", one + "/again", signedIn, c.again},
	}
}

func setupPath(s build.Setup) string { return "/console/setups/" + string(s.ID) }

// setup is the setup of the path, as the visitor sees it.
func (v *visit) setup(ctx context.Context) (build.Setup, error) {
	s, err := v.c.Setups.Find(ctx, v.actor, build.ID(v.PathValue("setup")))
	if errors.Is(err, build.ErrNotFound) {
		err = nowhere("There is no such setup, or it is not yours.")
	}
	return s, err
}

// setupsShown is how many setups the list has.
const setupsShown = 50

type setupsData struct {
	Setups []build.Setup
	All    int
}

func (c *Console) setupsPage(ctx context.Context, v *visit) error {
	all, err := c.Setups.List(ctx, v.actor)
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "setups", "Deploys of templates", setupsData{all[:min(len(all), setupsShown)], len(all)})
}

// A setupData is the page of a setup.
type setupData struct {
	Setup    build.Setup
	Path     string
	Live     bool
	Steps    []checked
	Template string // what it is of, for people
	Page     string // of the repository
	AtCommit string
	Again    bool   // what was filled in is known still
	Anew     string // the page of the same template
	Digest   string
	Open     string        // the app's, for who wants to see it
	Onward   string        // a page of another site that the template sends people to
	App      build.AppName // as it is called now, "" where it is gone
	Build    bool          // its page is there
	At       string
	Seen     string // what of it the page has: the stream tells of what is new
	May      bool   // the visitor may cancel it
	Output   string
	Log      logView
}

// A checked is a line of the checklist.
type checked struct {
	build.SetupStep
	Title string
	Class string // done, now, bad, off, later
	Took  time.Duration
}

func (c *Console) setupPage(ctx context.Context, v *visit) error {
	s, err := v.setup(ctx)
	if err != nil {
		return err
	}
	d := setupData{Setup: s, Path: setupPath(s), Live: s.EndedAt.IsZero(), Steps: checklist(s), May: v.setsUp() == "" && s.CancelAsked == "" && s.Failure == ""}
	d.place()
	_, d.Again = c.drafts.get(s.ID)
	d.Again = d.Again && s.User == v.actor.User.ID && v.setsUp() == ""
	if a, err := c.Store.App(ctx, v.actor, string(s.App)); err == nil {
		d.App = a.Name
	} else if !errors.Is(err, build.ErrNotFound) {
		return err
	}
	if s.Build != "" {
		b, err := c.Store.BuildByID(ctx, s.Build)
		if err == nil {
			if d.Build = d.App != ""; !b.State.Terminal() {
				d.At = strings.TrimSpace(b.Phase + " " + b.Buildpack)
			}
		} else if !errors.Is(err, build.ErrNotFound) {
			return err
		}
		from, ok := parseCursor(v.URL.Query().Get("at"))
		if !ok {
			return nowhere("There is no such place in the log.")
		}
		if !v.summary() {
			if d.Log, err = c.logOf(s.Build, from, ""); err != nil {
				return err
			}
		}
	}
	d.Seen = c.setupAt(ctx, s)
	if d.Output, err = c.outputOf(s); err != nil {
		return err
	}
	return v.page(http.StatusOK, "setup", "Deploy of "+string(s.AppName), d)
}

// place says where the template is.
func (d *setupData) place() {
	t := d.Setup.Template
	_, d.Digest, _ = strings.Cut(d.Setup.Image, "@")
	d.Template = cmp.Or(t.Name, t.Repository, t.URL, "an archive")
	if d.Open = cmp.Or(d.Setup.SuccessURL, d.Setup.URL); !sameSite(d.Open, d.Setup.URL) {
		d.Open, d.Onward = d.Setup.URL, d.Setup.SuccessURL
	}
	g, err := fetch.ParseGitURL(t.Repository)
	if err != nil {
		return
	}
	if path, err := button.Parse(t.Repository, func(string) bool { return true }); err == nil {
		path.Path = strings.TrimPrefix(strings.TrimPrefix(t.Ref, "refs/heads/"), "refs/tags/")
		if t.Dir != "" { // behind a ref, or the commit that the link named
			path.Path = cmp.Or(path.Path, t.Commit) + "/" + t.Dir
		}
		d.Anew = deployLink(path)
	}
	d.Page, d.AtCommit = repositoryPage(g), commitPage(g, fetch.Commit(t.Commit))
	if t.Name == "" {
		d.Template = d.Page
	}
}

// sameSite tells whether two URLs lead to the same server.
func sameSite(a, b string) bool {
	at, aErr := url.Parse(a)
	to, bErr := url.Parse(b)
	return aErr == nil && bErr == nil && at.Scheme == to.Scheme && at.Host == to.Host
}

// checklist is a setup step by step.
func checklist(s build.Setup) (all []checked) {
	titles := map[build.StepName]string{
		build.StepCreate: "Create the app", build.StepConfigure: "Set its config vars and buildpacks", build.StepAddons: "Add-ons", build.StepBuild: "Build the image",
		build.StepRelease: "Release", build.StepPostdeploy: "Postdeploy", build.StepDeploy: "Deploy",
	}
	classes := map[build.StepState]string{build.StepPending: "later", build.StepRunning: "now", build.StepSucceeded: "done", build.StepFailed: "bad", build.StepSkipped: "off"}
	for _, step := range s.Steps {
		one := checked{SetupStep: step, Title: titles[step.Name], Class: classes[step.State]}
		if !step.StartedAt.IsZero() {
			end := step.EndedAt
			if end.IsZero() {
				end = time.Now()
			}
			one.Took = end.Sub(step.StartedAt)
		}
		all = append(all, one)
	}
	return all
}

// outputShown is how much of what a postdeploy prints is on the page: the end of it.
const outputShown = 16 << 10

// outputOf is what the postdeploy of a setup prints, while it runs too.
func (c *Console) outputOf(s build.Setup) (string, error) {
	info, err := c.Logs.Stat(s.ID)
	if errors.Is(err, build.ErrNotFound) {
		if s.Postdeploy == nil {
			return "", nil
		}
		return plainText([]byte(s.Postdeploy.Output))
	}
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := c.readLog(s.ID, max(0, info.Size-outputShown), info.Size, func(b []byte) { text.Write(b) }); err != nil {
		return "", err
	}
	return plainText(text.Bytes())
}

// plainText is a log without colours.
func plainText(b []byte) (string, error) {
	var out bytes.Buffer
	p := logs.NewPlain(&out)
	_, err := p.Write(b)
	return strings.ToValidUTF8(out.String(), ""), errors.Join(err, p.Close())
}

func (c *Console) cancelSetup(ctx context.Context, v *visit) error {
	s, err := v.setup(ctx)
	if err != nil {
		return err
	}
	if lacks := v.setsUp(); lacks != "" {
		return refused(lacks)
	}
	_, err = c.Setups.Cancel(ctx, v.actor, s.ID)
	switch {
	case errors.Is(err, build.ErrConflict):
		return v.say(bad, "It has ended already.", setupPath(s))
	case err != nil:
		return err
	}
	return v.say(done, "It is being stopped, and the app is removed.", setupPath(s))
}

// setupLog is the log of the build, and of the postdeploy behind it, as text.
func (c *Console) setupLog(ctx context.Context, v *visit) error {
	s, err := v.setup(ctx)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-setup.log"`, s.AppName))
	v.begun = true
	out := &paced{v: v}
	plain := logs.NewPlain(out)
	for _, id := range []build.ID{s.Build, s.ID} {
		info, err := c.Logs.Stat(id)
		if id == "" || errors.Is(err, build.ErrNotFound) {
			continue
		}
		if err == nil {
			err = c.readLog(id, 0, info.Size, func(p []byte) { _, _ = plain.Write(p) })
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if err := errors.Join(plain.Close(), out.err); err != nil {
		panic(http.ErrAbortHandler) // what the browser has is not the whole
	}
	return nil
}

// setupStream sends the log of the build of a setup as stream does for builds, and a change whenever the setup has gone on,
// from before the build to the end of the setup.
func (c *Console) setupStream(ctx context.Context, v *visit) error {
	s, err := v.setup(ctx)
	if err != nil {
		return err
	}
	from, err := v.place()
	if err != nil {
		return err
	}
	e := v.events(from)
	ctx, leave := v.whileSigned(ctx)
	defer leave()
	return e.finish(c.followSetup(ctx, v, s, from, e))
}

// followSetup sends changes until the setup has ended, and the log of its build from when there is one.
func (c *Console) followSetup(ctx context.Context, v *visit, s build.Setup, from cursor, e *events) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	inner, stop := context.WithCancel(ctx)
	logged, started := make(chan struct{}), false // logged is closed when the log has been sent
	defer func() {
		if stop(); started {
			<-logged
		}
	}()
	changed := c.Setups.Watch(s.ID)
	seen := v.URL.Query().Get("seen") // it may have gone on since the page was made
	for ticks := 1; ; ticks++ {
		now, err := c.Store.SetupByID(ctx, s.ID)
		if err != nil {
			return err
		}
		if !started && c.hasLog(now.Build) {
			started = true
			go func() {
				defer close(logged)
				_, _ = c.Logs.Follow(inner, now.Build, from.offset, e)
			}()
		}
		if at := c.setupAt(ctx, now); at != seen {
			seen, err = at, e.change()
		} else if ticks%30 == 0 {
			err = e.Idle()
		}
		if err != nil || !now.EndedAt.IsZero() && !started {
			return err
		}
		if !now.EndedAt.IsZero() {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			changed = c.Setups.Watch(s.ID)
		case <-look.C:
		}
	}
	select { // the log of a build ends with it, or has to by now
	case <-logged:
	case <-time.After(2 * lookEvery):
	}
	return ctx.Err()
}

func (c *Console) hasLog(id build.ID) bool {
	if id == "" {
		return false
	}
	_, err := c.Logs.Stat(id)
	return err == nil
}

// setupAt is the same as long as a page of the setup is, beside its log.
func (c *Console) setupAt(ctx context.Context, s build.Setup) string {
	var phase string
	var printed int64
	if b, err := c.Store.BuildByID(ctx, s.Build); s.Build != "" && err == nil {
		phase = b.Phase + " " + b.Buildpack
	}
	if info, err := c.Logs.Stat(s.ID); err == nil {
		printed = info.Size
	}
	return fmt.Sprint(s.UpdatedAt.UnixMicro(), " ", phase, " ", printed)
}
