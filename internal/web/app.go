package web

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/image"
)

type app struct {
	ID           build.ID         `json:"id"`
	Name         build.AppName    `json:"name"`
	Owner        userRef          `json:"owner"`
	BuildStack   namedRef         `json:"build_stack"`
	Stack        namedRef         `json:"stack"`
	GitURL       string           `json:"git_url"`
	WebURL       string           `json:"web_url"` // where the app answers that runs here, else the app in this API
	CreatedAt    *stamp           `json:"created_at"`
	UpdatedAt    *stamp           `json:"updated_at"`
	ReleasedAt   *stamp           `json:"released_at"`
	Branch       string           `json:"branch"`
	Builder      string           `json:"builder"`
	Buildpacks   []string         `json:"buildpacks"`
	OnDisconnect build.Disconnect `json:"on_disconnect"`
	Image        string           `json:"image"`
	Limits       limits           `json:"limits"`

	Deployer   build.DeployerKind `json:"deployer"`
	Deployment *deploymentView    `json:"deployment"` // the last one
	platformApp
}

// platformApp is the same for all apps: what clients of the Platform API look at before they do what they are asked.
type platformApp struct {
	Region          namedRef  `json:"region"`
	Generation      namedRef  `json:"generation"`
	CreateStatus    string    `json:"create_status"`
	ACM             bool      `json:"acm"` // no certificates
	Maintenance     bool      `json:"maintenance"`
	InternalRouting *bool     `json:"internal_routing"`
	Description     *string   `json:"buildpack_provided_description"`
	RepoSize        *int64    `json:"repo_size"`
	SlugSize        *int64    `json:"slug_size"`
	ArchivedAt      *stamp    `json:"archived_at"`
	Organization    *namedRef `json:"organization"`
	Team            *namedRef `json:"team"`
	Space           *namedRef `json:"space"`
}

// limits are build.Limits with the time in seconds. 0 is the service's own limit.
type limits struct {
	Time   int64   `json:"time"`
	Memory int64   `json:"memory"`
	CPUs   float64 `json:"cpus"`
	PIDs   int64   `json:"pids"`
	Disk   int64   `json:"disk"`
	Log    int64   `json:"log"`
	Source int64   `json:"source"`
	Cache  int64   `json:"cache"`
}

func (s *server) appOf(ctx context.Context, c *call, a build.App) (app, error) {
	v := app{
		ID: a.ID, Name: a.Name, BuildStack: theStack, Stack: theStack, GitURL: s.at(c.Request, "/"+string(a.Name)+".git").String(), WebURL: s.at(c.Request, "/apps/"+string(a.Name)).String(),
		CreatedAt: when(a.CreatedAt), UpdatedAt: when(a.UpdatedAt),
		Branch: a.Branch, Builder: a.Builder, Buildpacks: a.Buildpacks, OnDisconnect: a.Disconnect, Image: s.imageOf(a),
		Limits:      limits{int64(a.Limits.Time / time.Second), a.Limits.Memory, a.Limits.CPUs, a.Limits.PIDs, a.Limits.Disk, a.Limits.Log, a.Limits.Source, a.Limits.Cache},
		Deployer:    build.DeployNone,
		platformApp: platformApp{Region: theRegion, Generation: theGeneration, CreateStatus: "complete"},
	}
	if v.Buildpacks == nil {
		v.Buildpacks = []string{}
	}
	owner, err := c.userName(ctx, a.Owner)
	if err != nil {
		return v, err
	}
	v.Owner = userRef{a.Owner, owner}
	if err := s.deployedOf(ctx, &v, a); err != nil {
		return v, err
	}
	last, err := s.Store.Current(ctx, a.ID)
	if errors.Is(err, build.ErrNotFound) {
		return v, nil
	}
	v.ReleasedAt = when(last.CreatedAt)
	return v, err
}

// imageOf is where an app's images go.
func (s *server) imageOf(a build.App) string {
	if a.Image != "" {
		return a.Image
	}
	return s.Registry + "/" + string(a.Name)
}

func (s *server) apps(ctx context.Context, c *call) ([]app, error) {
	all, err := s.Store.Apps(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	all, err = listed(c, all,
		attribute[build.App]{"name", func(a build.App) string { return string(a.Name) }},
		attribute[build.App]{"id", func(a build.App) string { return string(a.ID) }})
	if err != nil {
		return nil, err
	}
	out := make([]app, len(all))
	for i, a := range all {
		if out[i], err = s.appOf(ctx, c, a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *server) app(ctx context.Context, c *call) (app, error) { return s.appOf(ctx, c, c.app) }

// An appRequest makes or changes an app. What is not there stays as it is.
type appRequest struct {
	Name         *string   `json:"name"`
	Branch       *string   `json:"branch"`
	Builder      *string   `json:"builder"`    // empty: the service's own
	Buildpacks   *[]string `json:"buildpacks"` // empty: the builder's order
	OnDisconnect *string   `json:"on_disconnect"`
	Image        *string   `json:"image"` // empty: the app's place in the service's registry
	Limits       *limits   `json:"limits"`
	Region       *string   `json:"region"` // there is one
	Stack        *string   `json:"stack"`  // there is one, and build_stack is it too
	BuildStack   *string   `json:"build_stack"`
}

// apply changes an app, which the caller records if all of it is right.
func (in appRequest) apply(a *build.App, registry string) (err error) {
	set := func(to *string, from *string, check func(string) error) {
		if from != nil && err == nil {
			*to, err = *from, check(*from)
		}
	}
	if err := errors.Join(only("region", in.Region, theRegion), only("stack", in.Stack, theStack), only("build_stack", in.BuildStack, theStack)); err != nil {
		return err
	}
	if in.Name != nil {
		if a.Name, err = build.ParseAppName(*in.Name); err != nil {
			return invalid("name", "it has 3 to 30 lower-case letters, digits and dashes, a letter first, no dash last")
		}
		if a.Name == build.IndexName {
			return invalid("name", "it is the service's own index of buildpacks")
		}
	}
	set(&a.Branch, in.Branch, branch)
	set(&a.Builder, in.Builder, builderName)
	if in.Buildpacks != nil && err == nil {
		a.Buildpacks, err = slices.Clone(*in.Buildpacks), buildpackNames(*in.Buildpacks)
	}
	set((*string)(&a.Disconnect), in.OnDisconnect, func(v string) error {
		if d := build.Disconnect(v); d != build.Continue && d != build.Abandon {
			return invalid("on_disconnect", "it is continue or cancel")
		}
		return nil
	})
	if in.Image != nil && err == nil {
		a.Image, err = repository(*in.Image, registry)
	}
	if in.Limits != nil && err == nil {
		a.Limits, err = in.Limits.law()
	}
	return err
}

const maxTime = 7 * 24 * time.Hour

func (l limits) law() (build.Limits, error) {
	for name, n := range map[string]int64{"time": l.Time, "memory": l.Memory, "pids": l.PIDs, "disk": l.Disk, "log": l.Log, "source": l.Source, "cache": l.Cache} {
		if n < 0 {
			return build.Limits{}, invalid("limits."+name, "it is not below 0")
		}
	}
	if l.Time > int64(maxTime/time.Second) {
		return build.Limits{}, invalid("limits.time", "it is a number of seconds, at most a week")
	}
	if l.CPUs < 0 || l.CPUs > 1024 {
		return build.Limits{}, invalid("limits.cpus", "it is between 0 and 1024")
	}
	return build.Limits{
		Time: time.Duration(l.Time) * time.Second, Memory: l.Memory, CPUs: l.CPUs, PIDs: l.PIDs, Disk: l.Disk, Log: l.Log, Source: l.Source, Cache: l.Cache,
	}, nil
}

func (s *server) createApp(ctx context.Context, c *call, in appRequest) (out app, err error) {
	a := build.App{Owner: c.actor.User.ID, Branch: "main", Disconnect: build.Continue}
	if err := in.apply(&a, s.Registry); err != nil {
		return out, err
	}
	wanted := a
	for try := 0; ; try++ {
		if in.Name == nil {
			wanted.Name = build.MadeUpName()
		}
		a, err = s.Store.CreateApp(ctx, wanted)
		if err == nil {
			break
		}
		if !errors.Is(err, build.ErrConflict) {
			return out, err
		}
		if in.Name != nil || try == 10 {
			return out, conflict(fmt.Sprintf("name: %s is taken, by you or somebody else: choose another", wanted.Name))
		}
	}
	if s.Apps != nil {
		if err := s.Apps.Created(ctx, a); err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return out, errors.Join(fmt.Errorf("make what app %s needs: %w", a.Name, err), s.Service.DeleteApp(ctx, a.ID))
		}
	}
	return s.appOf(ctx, c, a)
}

func (s *server) changeApp(ctx context.Context, c *call, in appRequest) (out app, err error) {
	var before build.App
	a, err := s.Store.UpdateApp(ctx, c.app.ID, func(a *build.App) error {
		before = *a
		if in.Name != nil && *in.Name != string(a.Name) {
			if err := s.rename(ctx, c, *a); err != nil {
				return err
			}
		}
		return in.apply(a, s.Registry)
	})
	if errors.Is(err, build.ErrConflict) {
		return out, conflict("name: it is taken, by you or somebody else: choose another")
	}
	if err != nil {
		return out, err
	}
	if s.Apps != nil {
		if err := s.Apps.Changed(ctx, before, a); err != nil {
			return out, fmt.Errorf("change what app %s has: %w", a.Name, err)
		}
	}
	return s.appOf(ctx, c, a)
}

// rename refuses to give away a name under which the app has images: they would be the next app's of that name. It is
// asked while nothing else is recorded.
func (s *server) rename(ctx context.Context, c *call, a build.App) error {
	if !c.actor.Can(build.VerbManage) {
		return forbidden("name: the token lacks the scope manage, which a new name needs")
	}
	place := s.Registry + "/" + string(a.Name)
	if ref, err := image.ParseRef(place); err == nil {
		place = ref.Repository() // as releases have it
	}
	holds, err := s.Store.HoldsName(ctx, a.ID, place)
	if err == nil && holds {
		err = conflict(fmt.Sprintf("name: images of the app are at %s, and the next app of that name would have them: make a new app instead", place))
	}
	return err
}

func (s *server) deleteApp(ctx context.Context, c *call) (out app, err error) {
	if out, err = s.appOf(ctx, c, c.app); err != nil {
		return out, err
	}
	if err := s.Service.DeleteApp(ctx, c.app.ID); err != nil {
		return out, err
	}
	if s.Apps != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // the record is gone: nobody can ask again
		defer cancel()
		if err := s.Apps.Deleted(ctx, c.app); err != nil {
			return out, fmt.Errorf("remove what app %s had: %w", c.app.Name, err)
		}
	}
	return out, nil
}

type purged struct {
	PurgedAt *stamp `json:"purged_at"`
}

func (s *server) purgeCache(ctx context.Context, c *call) (purged, error) {
	at := time.Now()
	return purged{when(at)}, s.Store.PurgeCache(ctx, c.app.ID)
}
