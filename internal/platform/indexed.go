package platform

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/index"
)

// IndexDir is the directory of buildpack indexes in a Machine's State.
const IndexDir = "registries"

// indexes are the indexes of this machine, behind the one that its process keeps itself.
func (m *Machine) indexes() (*index.Set, error) {
	set, err := index.OpenSet(filepath.Join(m.State, IndexDir))
	if err == nil && m.OwnIndex != nil {
		set.Keep(m.OwnIndexName, m.OwnIndex)
	}
	return set, err
}

// findIndexed asks the indexes of this machine. One that does not know ref is synced once.
func (m *Machine) findIndexed(ctx context.Context, ref string) (index.Resolution, error) {
	set, err := m.indexes()
	if err != nil {
		return index.Resolution{}, err
	}
	return set.Find(ctx, ref, "")
}

// indexBuildpack brings in a buildpack that an index says where to find.
func (j *job) indexBuildpack(ctx context.Context, ref string) (entry, error) {
	r, err := j.m.findIndexed(ctx, ref)
	if err != nil {
		return entry{}, err
	}
	return j.resolvedBuildpack(ctx, r)
}

// knownBuildpack is indexBuildpack for a name without the URN, "ns/name[@version]", that may mean something else: only
// what the indexes here have is found, and nothing is fetched to look for it. ok tells that it was.
func (j *job) knownBuildpack(ctx context.Context, arg string) (e entry, ok bool, err error) {
	r, ok, err := j.m.known(arg)
	if err != nil || !ok {
		return entry{}, false, err
	}
	e, err = j.resolvedBuildpack(ctx, r)
	return e, true, err
}

// known looks a plain name up in the indexes here, and syncs none.
func (m *Machine) known(arg string) (r index.Resolution, ok bool, err error) {
	text, _, _ := strings.Cut(arg, "@")
	if _, err := index.ParseName(text); err != nil {
		return r, false, nil
	}
	set, err := m.indexes()
	if err != nil {
		return r, false, err
	}
	r, err = set.ResolveKnown(arg)
	if errors.Is(err, index.ErrUnknown) {
		return r, false, nil
	}
	return r, err == nil, err
}

// resolvedBuildpack brings in the image, which has to be of the buildpack and version that the index says.
func (j *job) resolvedBuildpack(ctx context.Context, r index.Resolution) (entry, error) {
	want := cnb.Ref{ID: cnb.ID(r.Buildpack), Version: r.Version}
	if r.Yanked {
		j.warn("buildpack %s is yanked in index %s: its author wants nobody to use it", want, r.Index)
	}
	e, err := j.imageBuildpack(ctx, r.Image)
	if err != nil {
		return entry{}, fmt.Errorf("index %s says that it is %s: %w", r.Index, r.Image, err)
	}
	if e.ref != want {
		return entry{}, fmt.Errorf("index %s says that it is %s, which is of buildpack %s", r.Index, r.Image, e.ref)
	}
	return e, nil
}
