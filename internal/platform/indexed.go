package platform

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
)

// IndexDir is the directory of buildpack indexes in a Machine's State.
const IndexDir = "registries"

// indexWait bounds the sync that a build waits for because no index knows what it asks for.
const indexWait = time.Minute

// indexes are the indexes of this machine, behind the one that its process keeps itself.
func (m *Machine) indexes() (*index.Set, error) {
	set, err := index.OpenSet(filepath.Join(m.State, IndexDir))
	if err == nil && m.OwnIndex != nil {
		set.Keep(m.OwnIndexName, m.OwnIndex)
	}
	return set, err
}

// findIndexed asks the indexes of this machine. Those that do not know ref are synced once. One that was not synced for
// long is told to m.StaleIndex.
func (m *Machine) findIndexed(ctx context.Context, ref string) (index.Resolution, error) {
	set, err := m.indexes()
	if err != nil {
		return index.Resolution{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, indexWait, fmt.Errorf("it took longer than %s: `slipway registry sync` takes its time", indexWait))
	defer cancel()
	r, err := set.Find(ctx, ref, "")
	if err == nil && m.StaleIndex != nil && set.Claim(r.Index) {
		m.StaleIndex(r.Index)
	}
	return r, err
}

// indexRef reads what an index may be asked for: a name without the URN may mean something else. An image by its
// digest is none.
func indexRef(arg string) (index.Ref, bool) {
	ref, err := index.ParseRef(arg)
	return ref, err == nil && !strings.Contains(ref.Want, ":")
}

// indexBuildpack brings in the buildpack that the app's lock file names for ref, or else an index.
func (j *job) indexBuildpack(ctx context.Context, arg string) (entry, error) {
	ref, err := index.ParseRef(arg)
	if err != nil {
		return entry{}, err
	}
	if e, ok, err := j.lockedBuildpack(ctx, ref, (*index.Lock).Find); ok || err != nil {
		return e, err
	}
	return j.foundBuildpack(ctx, arg)
}

func (j *job) foundBuildpack(ctx context.Context, arg string) (entry, error) {
	r, err := j.m.findIndexed(ctx, arg)
	if err != nil {
		return entry{}, err
	}
	return j.resolvedBuildpack(ctx, r, "index "+r.Index)
}

// namedIndexBuildpack is indexBuildpack for a name without the URN, which the builder does not have. Where it may be an
// image too, only what is known of indexes counts, and nothing is fetched to look for it. ok tells that there is one.
func (j *job) namedIndexBuildpack(ctx context.Context, arg string) (e entry, ok bool, err error) {
	ref, ok := indexRef(arg)
	if !ok {
		return entry{}, false, nil
	}
	if e, ok, err := j.lockedBuildpack(ctx, ref, (*index.Lock).Find); ok || err != nil {
		return e, true, err
	}
	if isImage(arg) {
		if _, ok, err := j.m.known(arg); err != nil || !ok {
			return entry{}, err != nil, err
		}
	}
	e, err = j.foundBuildpack(ctx, arg)
	return e, true, err
}

// known looks a plain name up in the indexes here, and syncs none.
func (m *Machine) known(arg string) (r index.Resolution, ok bool, err error) {
	if _, ok := indexRef(arg); !ok {
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

// isImage tells the name of an image from an id, of whose form it may be.
func isImage(arg string) bool {
	_, err := image.ParseRef(arg)
	return err == nil && strings.ContainsAny(arg, ":.@")
}

// lockedBuildpack is what the lock file in the root of the source names for ref, which needs no index. It is read when it
// is first asked.
func (j *job) lockedBuildpack(ctx context.Context, ref index.Ref, find func(*index.Lock, index.Ref) (index.Locked, bool, error)) (entry, bool, error) {
	if j.lock == nil {
		told, err := j.tell(ctx)
		if err != nil {
			return entry{}, false, err
		}
		j.lock = &index.Lock{}
		if told.Lock != nil {
			if j.lock, err = index.ParseLock(index.LockName, told.Lock); err != nil {
				j.lock = nil
				return entry{}, false, err
			}
		}
	}
	l, ok, err := find(j.lock, ref)
	if err != nil || !ok {
		return entry{}, false, err
	}
	set, err := j.m.indexes()
	if err != nil {
		return entry{}, false, err
	}
	e, err := j.resolvedBuildpack(ctx, set.Resolution(l), fmt.Sprintf("%s:%d", index.LockName, l.Line))
	return e, true, err
}

// exactly is index.Lock.Exact as lockedBuildpack takes it.
func exactly(l *index.Lock, ref index.Ref) (index.Locked, bool, error) {
	e, ok := l.Exact(ref)
	return e, ok, nil
}

// resolvedBuildpack brings in the image, which has to be of the buildpack and version that who names it says.
func (j *job) resolvedBuildpack(ctx context.Context, r index.Resolution, who string) (entry, error) {
	want := cnb.Ref{ID: cnb.ID(r.Buildpack), Version: r.Version}
	if r.Yanked {
		j.warn("buildpack %s is yanked in index %s: its author wants nobody to use it", want, r.Index)
	}
	img, err := j.resolver.Resolve(ctx, r.Image)
	var e entry
	if err == nil {
		e, err = j.packageBuildpacks(img)
	}
	if err != nil {
		return entry{}, fmt.Errorf("%s says that it is %s: %w", who, r.Image, err)
	}
	if e.ref != want {
		return entry{}, fmt.Errorf("%s says that it is %s, which is of buildpack %s", who, r.Image, e.ref)
	}
	j.m.noteBuildpack(img, true)
	return e, nil
}

// noteBuildpack keeps what the image of a buildpack of an index says of itself, for who searches. Where that cannot be kept
// nothing is lost but that.
func (m *Machine) noteBuildpack(img *image.Image, used bool) {
	meta, layers, err := readPackage(img)
	if err != nil {
		return
	}
	n, err := index.ParseName(string(meta.ID))
	if err != nil {
		return
	}
	set, err := m.indexes()
	if err != nil {
		return
	}
	f := index.Fact{Version: meta.Version, Name: meta.Name, Description: meta.Description, Keywords: meta.Keywords, Seen: time.Now().UTC().Truncate(time.Second)}
	for _, t := range layers[meta.ID][meta.Version].Targets {
		text := t.OS
		if t.Arch != "" {
			text += "/" + t.Arch
		}
		f.Targets = append(f.Targets, text)
	}
	_ = set.Note(n, f, used)
}
