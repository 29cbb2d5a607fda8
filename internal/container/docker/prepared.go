package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

// Prepared is a created container. Its Run ends with its removal begun; Close
// waits for that.
type Prepared struct {
	r     *Runtime
	id    string
	spec  container.Spec
	since time.Time

	ran    atomic.Bool
	killed atomic.Bool // we saw the kernel kill at the memory limit
	once   sync.Once
	gone   chan struct{}
	goneAs error

	mu   sync.Mutex
	last *container.State // what an ended run was, when the engine has forgotten
}

// Run is container.Runtime's.
func (r *Runtime) Run(ctx context.Context, s container.Spec) error {
	p, err := r.prepare(ctx, s)
	if err != nil {
		return err
	}
	err = p.Run(ctx, s.Streams())
	if s.Name != "" || ctx.Err() != nil {
		// The name is free, or the cancelled container gone, when we return.
		return errors.Join(err, p.Close())
	}
	r.later(p.Close)
	return err
}

// Prepare is container.Preparer's.
func (r *Runtime) Prepare(ctx context.Context, s container.Spec) (container.Prepared, error) {
	p, err := r.prepare(ctx, s)
	if err != nil {
		return nil, err // not p: a nil *Prepared would not be a nil interface
	}
	return p, nil
}

// later runs a removal in the background; Close waits and reports.
func (r *Runtime) later(clean func() error) {
	r.wg.Go(func() {
		if err := clean(); err != nil {
			r.mu.Lock()
			r.errs = append(r.errs, err)
			r.mu.Unlock()
		}
	})
}

// prepare creates the container, and when ctx ends meanwhile removes what
// comes of it.
func (r *Runtime) prepare(ctx context.Context, s container.Spec) (*Prepared, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("create a container of %s: %w", s.Image, context.Cause(ctx))
	}
	p := &Prepared{r: r, spec: s, since: time.Now(), gone: make(chan struct{})}
	created := make(chan error, 1) // one value, read here or by nobody
	r.wg.Go(func() {
		id, err := r.create(ctx, s)
		p.id = id
		created <- err
	})
	select {
	case err := <-created:
		if err != nil {
			return nil, err
		}
		return p, nil
	case <-ctx.Done():
	}
	err := fmt.Errorf("create a container of %s: %w", s.Image, context.Cause(ctx))
	clean := func() error {
		if <-created != nil {
			return nil
		}
		return p.Close()
	}
	cleaned := make(chan error, 1) // as above
	r.later(func() error { e := clean(); cleaned <- e; return e })
	select {
	case e := <-cleaned:
		return nil, errors.Join(err, e)
	case <-time.After(1500 * time.Millisecond):
		return nil, err // Close still waits
	}
}

// ID is the engine's id.
func (p *Prepared) ID() string { return p.id }

// Close removes the container, killing what runs in it.
func (p *Prepared) Close() error {
	p.release()
	<-p.gone
	return p.goneAs
}

// release begins the removal, once.
func (p *Prepared) release() {
	p.once.Do(func() {
		p.r.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
			defer cancel()
			p.goneAs = p.r.remove(ctx, p.id)
			close(p.gone)
		})
	})
}

// remove kills and removes in one request, and returns when the container is
// gone, whoever removed it.
func (r *Runtime) remove(ctx context.Context, id string) error {
	var err error
	for try := range 40 {
		_, err = r.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil || cerrdefs.IsNotFound(err):
			return nil
		case cerrdefs.IsConflict(err): // somebody else is removing it
		case try >= 3 || ctx.Err() != nil:
			return fmt.Errorf("remove container %s: %w", short(id), trim(err))
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("remove container %s: %w", short(id), trim(err))
}

// State is container.Prepared's. A kernel kill shows up some 100 ms late.
func (p *Prepared) State(ctx context.Context) (container.State, error) {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	if last != nil {
		return *last, nil
	}
	res, err := p.r.api.ContainerInspect(ctx, p.id, client.ContainerInspectOptions{})
	if err != nil {
		return container.State{}, fmt.Errorf("inspect container %s: %w", short(p.id), trim(err))
	}
	st := res.Container.State
	if st == nil {
		return container.State{}, fmt.Errorf("inspect container %s: the engine told no state", short(p.id))
	}
	s := container.State{Running: st.Running, OutOfMemory: st.OOMKilled, Code: st.ExitCode}
	s.OutOfMemory = s.OutOfMemory || p.killed.Load()
	if !s.OutOfMemory && p.spec.Limits.Memory > 0 {
		// Engines set OOMKilled when the container ends, but send the event at once.
		s.OutOfMemory = p.sawOOM(ctx)
	}
	return s, nil
}

// sawOOM asks for the past oom events of this container.
func (p *Prepared) sawOOM(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := p.r.api.Events(ctx, client.EventsListOptions{
		// The engine's clock may be another machine's.
		Since:   strconv.FormatInt(p.since.Add(-time.Hour).Unix(), 10),
		Until:   fmt.Sprintf("%d.%09d", time.Now().Unix(), time.Now().Nanosecond()),
		Filters: client.Filters{}.Add("container", p.id).Add("event", string(events.ActionOOM)),
	})
	saw := false
	for {
		select {
		case <-res.Messages:
			saw = true
		case <-res.Err: // io.EOF at the end of the past
			return saw
		}
	}
}

// Sweep is container.Sweeper's.
func (r *Runtime) Sweep(ctx context.Context) ([]string, error) {
	list, err := r.api.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", container.OwnerLabel),
	})
	if err != nil {
		return nil, fmt.Errorf("list Slipway's containers: %w", trim(err))
	}
	var removed []string
	var errs []error
	for _, c := range list.Items {
		o, err := container.ParseOwner(c.Labels[container.OwnerLabel])
		if err != nil || !r.owner.Dead(o) {
			continue // not provably a dead Slipway's: not ours to remove
		}
		if err := r.remove(ctx, c.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, c.ID)
	}
	return removed, errors.Join(errs...)
}

func short(id string) string {
	return strings.TrimPrefix(id, "sha256:")[:min(12, len(strings.TrimPrefix(id, "sha256:")))]
}
