package daemon

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

// indexEvery is how often the buildpack indexes that builds have asked are brought up to their sources, about: services
// that were started together do not stay so.
const indexEvery = index.Stale

// syncIndexes keeps the buildpack indexes of this machine up to their sources until ctx ends.
func (d *Daemon) syncIndexes(ctx context.Context) {
	for wait := rand.N(time.Minute); ; wait = indexEvery/2 + rand.N(indexEvery) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := refreshIndexes(ctx, filepath.Join(d.machine.State, platform.IndexDir), indexEvery/2); err != nil && ctx.Err() == nil {
			d.host.Fault(fmt.Errorf("buildpack indexes: %w", err))
		}
	}
}

// refreshIndexes syncs the indexes below dir that were synced before, and not in the time older: one that nobody has asked
// for anything is never fetched. What was rewritten upstream is kept as it was, and told as an error.
func refreshIndexes(ctx context.Context, dir string, older time.Duration) error {
	set, err := index.OpenSet(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, src := range set.Registries {
		if _, err := set.Index(src.Name); err != nil {
			continue // a build that asks it says what is wrong, and makes it anew
		}
		done, _, err := set.Refresh(ctx, src.Name, older)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if done.Held != "" {
			err = errors.New(done.Held)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
