package container

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Guard begins what guards a running container: its time, its disk, its
// terminal's size. For Runtimes. A limit that is passed ends the run through
// stop. written measures what the container wrote to its own root, resize sets
// its terminal's size. The function that Guard returns ends it all and waits.
func (s Spec) Guard(run context.Context, stop context.CancelCauseFunc, sizes <-chan Size, written func(context.Context) (int64, error), resize func(context.Context, Size)) func() {
	ctx, cancel := context.WithCancel(run)
	var wg sync.WaitGroup
	if limit := s.Limits.Time; limit > 0 {
		wg.Go(func() {
			select {
			case <-time.After(limit):
				stop(&LimitError{Resource: Time, Limit: int64(limit), Used: int64(limit)})
			case <-ctx.Done():
			}
		})
	}
	if s.Limits.Disk > 0 || s.OnDisk != nil {
		wg.Go(func() {
			if err := s.watchDisk(ctx, written); err != nil {
				stop(err)
			}
		})
	}
	if s.Terminal && sizes != nil {
		wg.Go(func() {
			for {
				select {
				case size, ok := <-sizes:
					if !ok {
						return
					}
					resize(ctx, size)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// watchDisk returns a *LimitError when too much is written, and an error when
// it has been blind three times in a row: what cannot be measured must not grow
// unseen.
func (s Spec) watchDisk(ctx context.Context, written func(context.Context) (int64, error)) error {
	every := s.DiskEvery
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
		used, err := s.diskUsed(ctx, written)
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
		if s.OnDisk != nil {
			s.OnDisk(used)
		}
		if limit := s.Limits.Disk; limit > 0 && used > limit {
			return &LimitError{Resource: Disk, Limit: limit, Used: used}
		}
	}
}

// diskUsed is what the container wrote to its own root and to the caller's
// mounts. Memory file systems count as memory.
func (s Spec) diskUsed(ctx context.Context, written func(context.Context) (int64, error)) (used int64, err error) {
	if !s.ReadOnlyRoot {
		if used, err = written(ctx); err != nil {
			return 0, err
		}
	}
	if s.DiskUsage != nil {
		n, err := s.DiskUsage(ctx)
		if err != nil {
			return 0, fmt.Errorf("measure the container's mounts: %w", err)
		}
		used += n
	}
	return used, nil
}
