package deploy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/store"
)

// A Once is one command in a container of a release's image, beside whatever else runs of the app.
type Once struct {
	Release build.Release
	// Command is a command line that is executed as it is, or Script is for the image's shell.
	Command []string
	Script  string
	Env     map[string]string // besides the app's config vars, and before them
	Time    time.Duration     // 0: what a command of a deployer may take
	Output  io.Writer         // at most 1 MiB of what it prints, without the values of config vars
}

// Once runs it to its end. Its own failure is a *container.ExitError, a limit that it hit a *container.LimitError; when ctx
// ends it is killed, with all that it started, before Once returns.
func (h *Host) Once(ctx context.Context, o Once) error {
	app, err := h.o.Store.AppByID(ctx, o.Release.App)
	if err != nil {
		return err
	}
	env, err := h.o.Store.Secrets(ctx, app.ID, store.SecretVar)
	if err != nil {
		return err
	}
	m, err := h.o.Machine(ctx, o.Release)
	if err != nil {
		return err
	}
	secrets := slices.Collect(maps.Values(env))
	maps.Copy(env, o.Env)
	command := []string{o.Script}
	if len(o.Command) > 0 {
		command = append([]string{"--"}, o.Command...)
	}
	if o.Time <= 0 {
		o.Time = build.DefaultCommanded
	}
	l := h.o.Limits(app)
	out := newOutput(logs.NewMasker(secrets...), &bounded{to: o.Output, left: maxLog}, io.Discard)
	defer out.close()
	return platform.RunProcess(ctx, m, platform.Process{
		Image: o.Release.Repository + "@" + o.Release.Digest, Command: command, Env: env, Public: true, Output: out,
		Limits: platform.Limits{Memory: l.Memory, CPUs: l.CPUs, PIDs: l.PIDs, Disk: l.Disk, Time: o.Time},
		Labels: map[string]string{OnceLabel: string(o.Release.ID)},
	})
}

// OnceLabel is on the containers of commands that run once, with the id of the release.
const OnceLabel = "build.slipway.once"

// bounded lets so many bytes through, and says then that there is more.
type bounded struct {
	to   io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if b.left <= 0 {
		return n, nil
	}
	p = p[:min(len(p), b.left)]
	b.left -= len(p)
	_, _ = b.to.Write(p)
	if b.left == 0 {
		fmt.Fprintf(b.to, "\n[what was printed after %d bytes is left out]\n", maxLog)
	}
	return n, nil
}
