package platform

import (
	"context"
	"sync"

	"github.com/slipway-build/slipway/builder"
)

// A sender has layers of the image on their way to the registry as soon as they are made, while others are made still.
// What goes wrong there is the write's to tell, which tries again.
type sender struct {
	h      *host
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// sendAhead begins, where the image goes to a registry. end it in any case.
func (j *job) sendAhead(ctx context.Context) (*sender, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &sender{h: j.h, cancel: cancel}
	if j.dest.where != WhereRegistry {
		return s, nil
	}
	up, err := j.m.Registry.NewUpload(ctx, j.dest.refs[0])
	if err != nil {
		return s, err
	}
	j.dest.upload = up
	cacheOnly := map[string]bool{builder.CacheSBOMLayer: true}
	for _, bp := range j.built.Buildpacks {
		for _, l := range bp.Layers {
			cacheOnly[bp.LayerID(l)] = !l.Types.Launch
		}
	}
	j.h.tell(func(id, diffID string) {
		if l, ok := j.store.Layer(diffID); ok && !cacheOnly[id] {
			s.wg.Go(func() { _ = up.Layer(ctx, l) })
		}
	})
	return s, nil
}

// end stops what is under way, and returns when it has ended.
func (s *sender) end() {
	s.h.tell(nil)
	s.cancel()
	s.wg.Wait()
}
