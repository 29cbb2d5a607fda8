// Package setups makes apps of templates: what an app.json asks for becomes an app with config vars, a build, a release,
// a postdeploy that runs once, and what the app's deployer does. A deploy button and POST /app-setups both end here.
//
// A setup is driven by Run and not by who asked for it: each step is recorded before the next one begins, and what can be
// done twice is done again after a crash. A postdeploy cannot: one that was interrupted has failed. A setup that fails
// takes its app with it; its record and its logs stay.
package setups

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	"github.com/slipway-build/slipway/internal/deploy"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/store"
)

// Options are what New needs. All fields must be set, but for those that say what they are else.
type Options struct {
	Store   *store.Store
	Service *service.Service
	Logs    *logs.Dir // a setup's log has the setup's id: what its postdeploy prints
	Sources *fetch.Sources
	Fetcher *fetch.Fetcher

	// Created makes what an app has outside of the record, and may be called again; Deleted removes it.
	Created, Deleted func(ctx context.Context, app build.App) error
	// Preflight says in one line why no build of the app could work.
	Preflight func(ctx context.Context, app build.App) error
	// Builtin has the ids of the default builder's buildpacks.
	Builtin func(ctx context.Context) ([]string, error)

	// Deploys runs postdeploy scripts and apps, at most LocalApps.
	Deploys   *deploy.Host
	LocalApps int
	// Deployer is what apps are given whose setup does not say: none, or local. "" is none.
	Deployer build.DeployerKind
	// ArchiveLimit bounds archives that are fetched, in bytes.
	ArchiveLimit int64
	// Draining is closed when nothing may begin any more that would be cut off. It may be nil.
	Draining <-chan struct{}
	Fault    func(error) // hears of what goes wrong on our side
}

// Setups is safe for concurrent use.
type Setups struct {
	o    Options
	wake chan struct{} // there may be something to drive

	mu       sync.Mutex
	drives   map[build.ID]*drive
	watchers map[build.ID][]chan struct{}
	running  sync.WaitGroup // of drives
}

// New makes Setups. It starts nothing.
func New(o Options) (*Setups, error) {
	if o.Store == nil || o.Service == nil || o.Logs == nil || o.Sources == nil || o.Fetcher == nil || o.Created == nil || o.Deleted == nil ||
		o.Preflight == nil || o.Builtin == nil || o.Deploys == nil || o.ArchiveLimit <= 0 || o.Fault == nil {
		return nil, errors.New("setups: something is missing in the options")
	}
	if o.Deployer == "" {
		o.Deployer = build.DeployNone
	}
	return &Setups{o: o, wake: make(chan struct{}, 1), drives: map[build.ID]*drive{}, watchers: map[build.ID][]chan struct{}{}}, nil
}

// A Request is what somebody wants to be set up: of a template, or of an archive that has an app.json in its root.
type Request struct {
	Name     string         // of the app; "" makes one up
	Template *button.Pinned // what was shown is what is built
	Source   build.Source   // an archive: Stored, or URL with its query; where there is no Template

	Env map[string]string // config vars, over the template's defaults; also such as it does not know
	// WithoutAddons sets the app up though nobody gave the config vars that its add-ons would set.
	WithoutAddons bool
	// Buildpacks, if not nil, count in place of the template's: names and URLs as app.json has them; none is the builder's order.
	Buildpacks []string
	Deployer   build.DeployerKind // none or local; "" is the service's choice
	Trigger    build.TriggerKind  // TriggerButton or TriggerAPI
}

// A Problem is something that keeps a setup from being made: where, and one line of what.
type Problem struct {
	Field string // name, template, env.NAME, addons.SERVICE, buildpacks or deployer
	Text  string
}

// A Refusal is why a setup was not begun: nothing was made.
type Refusal struct{ Problems []Problem }

func (r *Refusal) Error() string {
	text := r.Problems[0].Text
	if n := len(r.Problems) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

func refuse(field, format string, args ...any) error {
	return &Refusal{[]Problem{{field, fmt.Sprintf(format, args...)}}}
}

// maxOpen is how many setups of one user may be under way.
const maxOpen = 20

// Start begins a setup. When it returns, the setup and its app are durable, and the name is the app's. A *Refusal tells what
// has to be given or is wrong with the template, build.ErrForbidden what the actor's token lacks. What an archive lacks is
// found out later.
func (s *Setups) Start(ctx context.Context, who build.Actor, in Request) (build.Setup, error) {
	if lacks := who.SetsUp(); lacks != "" {
		return build.Setup{}, fmt.Errorf("%w: %s", build.ErrForbidden, lacks)
	}
	v := build.Setup{Trigger: in.Trigger, Deployer: in.Deployer, Steps: build.SetupSteps(), Source: in.Source}
	if v.Deployer == "" {
		v.Deployer = s.o.Deployer
	}
	given := input{Env: in.Env, WithoutAddons: in.WithoutAddons, Buildpacks: in.Buildpacks}
	if in.Template != nil {
		given.Credentials = in.Template.Credentials
	}
	problems, err := s.prepare(ctx, in, &v, &given)
	if err != nil {
		return v, err
	}
	if len(problems) > 0 {
		return v, &Refusal{problems}
	}
	open, err := s.o.Store.OpenSetups(ctx)
	if err != nil {
		return v, err
	}
	if n := len(slices.DeleteFunc(open, func(o build.Setup) bool { return o.User != who.User.ID })); n >= maxOpen {
		return v, fmt.Errorf("%d of your setups are under way, as many as may be: wait until one has ended: %w", n, build.ErrConflict)
	}
	if v, err = s.create(ctx, who, in.Name, v, given); err != nil {
		return v, err
	}
	killpoint.Here(killpoint.SetupRecorded)
	s.look()
	return v, nil
}

// prepare finds what is wrong with a request, and what a template's app.json comes to.
func (s *Setups) prepare(ctx context.Context, in Request, v *build.Setup, given *input) (problems []Problem, err error) {
	add := func(field, format string, args ...any) {
		problems = append(problems, Problem{field, fmt.Sprintf(format, args...)})
	}
	if in.Name != "" {
		if _, err := build.ParseAppName(in.Name); err != nil {
			add("name", "the name of an app has 3 to 30 lower-case letters, digits and dashes, a letter first, no dash last")
		} else if build.AppName(in.Name) == build.IndexName {
			add("name", "%s is the service's own index of buildpacks: choose another name", in.Name)
		}
	}
	if v.Deployer != build.DeployNone && v.Deployer != build.DeployLocal {
		add("deployer", "it is none or local: a command or a webhook is set when the app is there")
	}
	for _, name := range slices.Sorted(maps.Keys(in.Env)) {
		if text := badVar(name, in.Env[name]); text != "" {
			add("env."+short(name), "config var %s: %s", short(name), text)
		}
	}
	if in.Template == nil {
		if in.Source.Stored == "" && in.Source.URL == "" {
			add("template", "there is no template")
		}
		v.Template = ofArchive(in.Source)
		return problems, nil
	}
	t := *in.Template
	v.Template = build.SetupTemplate{Repository: t.Repository.String(), Ref: string(t.Ref), Commit: string(t.Commit), Dir: string(t.Dir)}
	v.Source = build.Source{Git: true, URL: t.Repository.String(), Ref: string(t.Ref), Commit: string(t.Commit), Dir: string(t.Dir)}
	if t.Commit == "" || t.App == nil && len(t.Found) == 0 {
		add("template", "%s", notFound)
	}
	if len(problems) > 0 {
		return problems, nil
	}
	if t.App != nil {
		v.Template.Name = t.App.Name
	}
	p, found := s.plan(ctx, manifest{t.App, t.Found, t.Procfile}, *given)
	given.Plan, v.Warnings = &p, p.Warnings
	return append(problems, found...), nil
}

// create records a setup with its app.
func (s *Setups) create(ctx context.Context, who build.Actor, name string, v build.Setup, given input) (out build.Setup, err error) {
	a := build.App{Name: build.AppName(name), Owner: who.User.ID, Branch: "main", Disconnect: build.Continue}
	if in, query, ok := strings.Cut(v.Source.URL, "?"); ok && !v.Source.Git {
		v.Source.URL, given.Query = in, query
	}
	for try := 0; ; try++ {
		if name == "" {
			a.Name = build.MadeUpName()
		}
		out, _, err = s.o.Store.CreateSetup(ctx, v, a, given.seal())
		switch {
		case !errors.Is(err, build.ErrConflict):
			return out, err
		case name != "":
			return out, refuse("name", "the name %s is taken, by you or somebody else: choose another", name)
		case try == 10:
			return out, err
		}
	}
}

// Find is a setup as an actor sees it.
func (s *Setups) Find(ctx context.Context, who build.Actor, id build.ID) (build.Setup, error) {
	return s.o.Store.Setup(ctx, who, id)
}

// List has the setups of an actor, the newest first.
func (s *Setups) List(ctx context.Context, who build.Actor) ([]build.Setup, error) {
	return s.o.Store.Setups(ctx, who, build.MaxSetups)
}

// Cancel has a setup end: what runs of it is stopped, and its app is removed. build.ErrConflict tells that it has ended.
func (s *Setups) Cancel(ctx context.Context, who build.Actor, id build.ID) (build.Setup, error) {
	v, err := s.Find(ctx, who, id)
	if err != nil {
		return v, err
	}
	if lacks := who.SetsUp(); lacks != "" {
		return v, fmt.Errorf("%w: %s", build.ErrForbidden, lacks)
	}
	v, err = s.update(ctx, id, func(v *build.Setup) { v.CancelAsked = who.User.Name })
	if err != nil {
		return v, err
	}
	s.mu.Lock()
	if d := s.drives[id]; d != nil {
		d.stop(cancelledBy(who.User.Name))
	}
	s.mu.Unlock()
	s.look()
	return v, nil
}

// Ended tells that an app was deleted: what runs of its setup is stopped. It does not wait for that.
func (s *Setups) Ended(app build.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.drives {
		if d.app == app {
			d.stop(&stopped{appGone})
		}
	}
}

// Watch returns a channel that is closed when the setup next changes. Look at it after having called Watch.
func (s *Setups) Watch(id build.ID) <-chan struct{} {
	c := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[id] = append(s.watchers[id], c)
	return c
}

// update changes a setup in the record, and tells who watches it.
func (s *Setups) update(ctx context.Context, id build.ID, f func(*build.Setup)) (build.Setup, error) {
	v, err := s.o.Store.UpdateSetup(ctx, id, f)
	s.mu.Lock()
	watchers := s.watchers[id]
	delete(s.watchers, id)
	s.mu.Unlock()
	for _, c := range watchers {
		close(c)
	}
	return v, err
}

// look has Run look for setups.
func (s *Setups) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// lookEvery is how often the record is looked at, though nobody has said that there is something new.
const lookEvery = 15 * time.Second
