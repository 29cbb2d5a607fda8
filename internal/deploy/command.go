package deploy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/child"
)

// command runs the deployer's command for a deployment, and records how it ended.
func (k *keeper) command(ctx context.Context, by build.Deployer, d build.Deployment) {
	select {
	case k.h.commands <- struct{}{}:
		defer func() { <-k.h.commands }()
	case <-ctx.Done():
		return // it is pending still
	}
	k.h.record(ctx, d.ID, func(d *build.Deployment) { d.State = build.DeployStarting })
	log, end := k.h.begin(d)
	app, v, err := k.h.release(ctx, d)
	if err == nil {
		limit, stop := context.WithTimeout(ctx, by.DeployTime())
		last := newOutput(nil, log, log)
		last.settled()
		err = runCommand(limit, by.Command, append(k.h.o.Environ,
			"SLIPWAY_APP="+string(app.Name), "SLIPWAY_APP_ID="+string(app.ID), "SLIPWAY_RELEASE=v"+strconv.FormatInt(v.Version, 10), "SLIPWAY_RELEASE_ID="+string(v.ID),
			"SLIPWAY_IMAGE="+v.Repository+"@"+v.Digest, "SLIPWAY_DIGEST="+v.Digest, "SLIPWAY_DEPLOYMENT="+strconv.FormatInt(d.Number, 10)), last)
		switch {
		case ctx.Err() != nil:
			err = errors.New(interrupted)
		case err != nil && limit.Err() != nil:
			err = fmt.Errorf("the command ran longer than %s and was killed", by.DeployTime())
		case err != nil:
			err = fmt.Errorf("%w%s", err, last.lastWords())
		}
		stop()
	}
	if err != nil {
		k.h.end(ctx, d.ID, build.DeployFailed, line(err.Error()))
	} else {
		k.h.end(ctx, d.ID, build.DeploySucceeded, "")
	}
	end(err) // who has followed the log to its end finds the deployment ended
}

// pipePatience is how long output is waited for that somebody holds open who was started by a command and has left its
// process group.
const pipePatience = 2 * time.Second

// runCommand runs a command line, without a shell, until it ends or ctx does, and ends what it leaves running.
func runCommand(ctx context.Context, argv, env []string, out *output) error {
	if len(argv) == 0 {
		return errors.New("the deployer has no command")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, "/", out, out
	cmd.SysProcAttr, cmd.WaitDelay = &syscall.SysProcAttr{Setpgid: true}, pipePatience
	if err := child.Start(cmd); err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	over := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-ctx.Done():
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		case <-over:
		}
	}()
	err := child.Wait(cmd)
	close(over)
	<-killed
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, is := e.Sys().(syscall.WaitStatus); is && status.Signaled() {
			return fmt.Errorf("the command was killed by %s", status.Signal())
		}
		return fmt.Errorf("the command ended with exit code %d", e.ExitCode())
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("the command: %w", err)
	}
	return nil
}
