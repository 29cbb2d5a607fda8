package platform

import (
	"path/filepath"

	"github.com/slipway-build/slipway/internal/container"
)

// reserveIDs sets ids of this machine aside for the build container, where its runtime has such, before anything is made
// for it: what lies in the build's directory belongs to them while the build goes on. What other builds see too, or
// the user, does not, and is shown to the container with the owners that it has.
func (j *job) reserveIDs() error {
	rt, err := j.m.runtime()
	if err != nil {
		return err
	}
	r, ok := rt.(container.Reserver)
	if !ok || max(j.dirs.UID, j.dirs.GID) > maxShifted {
		return nil
	}
	shown := []string{j.m.Tools.Agent}
	for _, a := range j.added {
		shown = append(shown, a.dir)
	}
	for _, v := range j.o.Volumes {
		if filepath.IsAbs(v.Source) {
			shown = append(shown, v.Source)
		}
	}
	ids, err := r.Reserve(shown...)
	if err != nil {
		j.noIDs = err
		return nil
	}
	j.ids, j.dirs.Shift = ids, ids.First()
	return nil
}

// maxShifted is the highest id of a user namespace.
const maxShifted = 1<<16 - 1
