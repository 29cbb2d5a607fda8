package docker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

// watch begins what guards a running container: its time, its disk, its
// terminal's size. The function it returns ends them and waits.
func (p *Prepared) watch(run context.Context, stop context.CancelCauseFunc, s container.Streams) func() {
	ctx, cancel := context.WithCancel(run)
	var wg sync.WaitGroup
	if limit := p.spec.Limits.Time; limit > 0 {
		wg.Go(func() {
			select {
			case <-time.After(limit):
				stop(&container.LimitError{Resource: container.Time, Limit: int64(limit), Used: int64(limit)})
			case <-ctx.Done():
			}
		})
	}
	if p.spec.Limits.Disk > 0 || p.spec.OnDisk != nil {
		wg.Go(func() {
			if err := p.watchDisk(ctx); err != nil {
				stop(err)
			}
		})
	}
	if p.spec.Terminal && s.Resize != nil {
		wg.Go(func() { p.watchSize(ctx, s.Resize) })
	}
	return func() { cancel(); wg.Wait() }
}

// watchDisk returns a *container.LimitError when too much is written, and an
// error when it has been blind three times in a row: what cannot be measured
// must not grow unseen.
func (p *Prepared) watchDisk(ctx context.Context) error {
	every := p.spec.DiskEvery
	if every <= 0 {
		every = time.Second
	}
	blind := 0
	for pause := every; ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		used, err := p.diskUsed(ctx)
		if ctx.Err() != nil {
			return nil
		}
		pause = max(every, 10*time.Since(began)) // big trees are not walked all the time
		if err != nil {
			if blind++; blind == 3 {
				return fmt.Errorf("container was killed: its disk use cannot be measured: %w", err)
			}
			continue
		}
		blind = 0
		if p.spec.OnDisk != nil {
			p.spec.OnDisk(used)
		}
		if limit := p.spec.Limits.Disk; limit > 0 && used > limit {
			return &container.LimitError{Resource: container.Disk, Limit: limit, Used: used}
		}
	}
}

// diskUsed is what the container wrote to its own root and to the caller's
// mounts. Memory file systems count as memory.
func (p *Prepared) diskUsed(ctx context.Context) (int64, error) {
	var used int64
	if !p.spec.ReadOnlyRoot {
		res, err := p.r.api.ContainerInspect(ctx, p.id, client.ContainerInspectOptions{Size: true})
		if err != nil {
			return 0, fmt.Errorf("measure container %s: %w", short(p.id), trim(err))
		}
		if res.Container.SizeRw != nil {
			used = *res.Container.SizeRw
		}
	}
	if p.spec.DiskUsage != nil {
		n, err := p.spec.DiskUsage(ctx)
		if err != nil {
			return 0, fmt.Errorf("measure the container's mounts: %w", err)
		}
		used += n
	}
	return used, nil
}

// watchSize passes the user's terminal size on; an engine that refuses one is
// asked again at the next.
func (p *Prepared) watchSize(ctx context.Context, sizes <-chan container.Size) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			_, _ = p.r.api.ContainerResize(ctx, p.id, client.ContainerResizeOptions{Height: uint(max(s.Rows, 0)), Width: uint(max(s.Columns, 0))})
		case <-ctx.Done():
			return
		}
	}
}
