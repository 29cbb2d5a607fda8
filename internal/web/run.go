package web

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	deploying "github.com/slipway-build/slipway/internal/deploy"
)

// A runView is a command that runs once in the image of a release, or did.
type runView struct {
	ID        build.ID    `json:"id"`
	App       appRef      `json:"app"`
	Release   deployed    `json:"release"`
	Command   []string    `json:"command"`
	Script    string      `json:"script"`
	State     build.State `json:"state"` // running, succeeded, failed or cancelled
	Exit      *int        `json:"exit"`  // code with which it has ended by itself
	Failure   *string     `json:"failure"`
	CreatedAt *stamp      `json:"created_at"`
	EndedAt   *stamp      `json:"ended_at"`
}

func runOf(c *call, r deploying.Run) runView {
	v := runView{
		ID: r.ID, App: appRef{c.app.ID, c.app.Name}, Release: deployed{r.Release.ID, r.Release.Version}, Command: r.Command, Script: r.Script, State: r.State,
		Failure: text(r.Failure), CreatedAt: when(r.CreatedAt), EndedAt: when(r.EndedAt),
	}
	if v.Command == nil {
		v.Command = []string{}
	}
	if r.State == build.Succeeded || r.Exit != 0 {
		v.Exit = &r.Exit
	}
	return v
}

// A runRequest asks for a run: of a command line that is executed as it is, or of a script for the image's shell.
type runRequest struct {
	Command []string    `json:"command"`
	Script  string      `json:"script"`
	Release releaseName `json:"release"` // empty: the current one
	Time    int64       `json:"time"`    // seconds that it may take; 0: the service's own limit
}

func (s *server) createRun(ctx context.Context, c *call, in runRequest) (v runView, err error) {
	size := len(in.Script)
	for _, a := range append(in.Command, in.Script) {
		size += len(a)
		if strings.ContainsRune(a, 0) {
			return v, invalid("command", "it has a NUL, which no program can be given")
		}
	}
	switch {
	case (len(in.Command) == 0) == (in.Script == "") || len(in.Command) > 0 && in.Command[0] == "":
		return v, invalid("command", "give a command, which is a list, or a script for the image's shell")
	case len(in.Command) > build.MaxCommandArgs || size > build.MaxCommandBytes:
		return v, invalid("command", fmt.Sprintf("it has at most %d parts, of %d bytes together", build.MaxCommandArgs, build.MaxCommandBytes))
	case in.Time < 0 || in.Time > int64(build.MaxDeployTime/time.Second):
		return v, invalid("time", fmt.Sprintf("it is a number of seconds, at most %d", int64(build.MaxDeployTime/time.Second)))
	case s.Deploys == nil:
		return v, conflict("this service runs no commands")
	}
	rel, err := s.Store.Current(ctx, c.app.ID)
	if in.Release != "" {
		rel, err = s.Store.Release(ctx, c.app.ID, string(in.Release))
		if errors.Is(err, build.ErrNotFound) {
			return v, noRelease(c, string(in.Release))
		}
	}
	if errors.Is(err, build.ErrNotFound) {
		return v, conflict("the app has no release yet: push or build its source first")
	}
	if err != nil {
		return v, err
	}
	r, err := s.Deploys.Start(ctx, deploying.Once{Release: rel, Command: in.Command, Script: in.Script, Time: time.Duration(in.Time) * time.Second})
	if errors.Is(err, deploying.ErrBusy) {
		return v, conflict(err.Error())
	}
	return runOf(c, r), err
}

func (s *server) findRun(c *call) (r deploying.Run, err error) {
	if s.Deploys == nil {
		return r, build.ErrNotFound
	}
	return s.Deploys.FindRun(c.app.ID, build.ID(c.PathValue("run")))
}

func (s *server) run(_ context.Context, c *call) (v runView, err error) {
	r, err := s.findRun(c)
	return runOf(c, r), err
}

func (s *server) cancelRun(ctx context.Context, c *call) (v runView, err error) {
	r, err := s.findRun(c)
	if err == nil {
		r, err = s.Deploys.CancelRun(ctx, r.App, r.ID)
	}
	return runOf(c, r), err
}

func (s *server) runLog(ctx context.Context, c *call) error {
	q, err := c.logRequest()
	if err != nil {
		return err
	}
	r, err := s.findRun(c)
	if err != nil {
		return err
	}
	return s.log(ctx, c, logged{r.ID, r.State}, q)
}
