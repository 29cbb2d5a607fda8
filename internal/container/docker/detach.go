package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

// A Detached container outlives the process that started it: no owner is
// written down, so no Sweep ends it, and the engine keeps its log. It is for
// finished apps, never for builds.
type Detached struct {
	container.Info
	Name string

	r *Runtime
}

// Detach creates and starts a container and leaves it running. Its engine
// removes it when it ends.
func (r *Runtime) Detach(ctx context.Context, s container.Spec) (*Detached, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if err := r.checkMounts(s.Mounts); err != nil {
		return nil, err
	}
	opts, err := r.request(s)
	if err != nil {
		return nil, err
	}
	delete(opts.Config.Labels, container.OwnerLabel)
	opts.Config.OpenStdin, opts.Config.StdinOnce = false, false
	opts.Config.AttachStdin, opts.Config.AttachStdout, opts.Config.AttachStderr = false, false, false
	opts.HostConfig.LogConfig = api.LogConfig{} // the engine's own choice
	opts.HostConfig.AutoRemove = true
	res, err := r.api.ContainerCreate(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("create a container of %s: %w", s.Image, trim(err))
	}
	d := &Detached{Info: container.Info{ID: res.ID}, r: r}
	if _, err := r.api.ContainerStart(ctx, res.ID, client.ContainerStartOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("start container %s: %w", short(res.ID), trim(err)), d.Remove(ctx))
	}
	in, err := r.api.ContainerInspect(ctx, res.ID, client.ContainerInspectOptions{})
	if err != nil {
		// It ended at once and is gone, or the engine is.
		return nil, errors.Join(fmt.Errorf("ask for the ports of container %s: %w", short(res.ID), trim(err)), d.Remove(ctx))
	}
	if st := in.Container.State; st != nil && !st.Running && st.ExitCode != 0 {
		return nil, errors.Join(&container.ExitError{Code: st.ExitCode, OutOfMemory: st.OOMKilled, Memory: s.Limits.Memory}, d.Remove(ctx))
	}
	d.Ports = bound(s.Ports, in.Container.NetworkSettings)
	if len(in.Container.Name) > 1 {
		d.Name = in.Container.Name[1:]
	}
	return d, nil
}

// Running reports whether it still runs.
func (d *Detached) Running(ctx context.Context) bool {
	in, err := d.r.api.ContainerInspect(ctx, d.ID, client.ContainerInspectOptions{})
	return err == nil && in.Container.State != nil && in.Container.State.Running
}

// Logs copies what it printed so far, and what it prints until it ends or ctx does.
func (d *Detached) Logs(ctx context.Context, w io.Writer) error {
	rc, err := d.r.api.ContainerLogs(ctx, d.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err != nil {
		return fmt.Errorf("read the log of container %s: %w", short(d.ID), trim(err))
	}
	defer rc.Close()
	_, err = stdcopy.StdCopy(w, w, rc)
	return err
}

// Remove ends and removes it, also when ctx is done.
func (d *Detached) Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return d.r.remove(ctx, d.ID)
}
