package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/rootfs"
	"golang.org/x/sync/errgroup"
)

// A stack is a layers directory that restores without copying. What the build writes goes to upper, which is mounted
// on dir, the layers directory as all see it, from the start. After detect an overlay comes over it on dir: upper
// again, and below it the cached layers as they lie unpacked in the store. The build container has dir as a slave,
// and so sees the overlay too.
//
// It needs root, and an engine that finds our mounts at our paths. Where either is missing layers are copied.
type stack struct {
	dir, upper, work string
	uid, gid         int           // of the buildpacks, on this machine
	ids              container.IDs // the container's; nil where they are this machine's
	refused          bool          // the container is not a slave
	placed           []placedTree
	trees            treeSet // all in use
}

// A placedTree is a cached layer that is seen in the stack.
type placedTree struct {
	builder.CachedLayer
	*layerstore.Tree
	dir string // what is the layers directory in the tree
}

// newStack begins a stack for the layers directory of d in the build's directory; nil where there can be none.
func newStack(build string, d builder.Dirs, ids container.IDs) *stack {
	if os.Geteuid() != 0 {
		return nil
	}
	s := &stack{dir: d.Host(d.Layers), upper: filepath.Join(build, "upper"), work: filepath.Join(build, "work"), ids: ids}
	s.uid, s.gid = d.Owner()
	if err := os.Mkdir(d.Root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil
	}
	for _, dir := range []string{s.dir, s.upper, s.work} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			return nil
		}
	}
	if err := rootfs.BindShared(s.upper, s.dir); err != nil {
		return nil
	}
	return s
}

// mount puts the trees of layers below what is in upper.
func (s *stack) mount(layers []placedTree) error {
	o := rootfs.Overlay{Upper: s.upper, Work: s.work}
	if s.ids != nil {
		o.IDs = s.ids.Namespace()
	}
	for _, l := range layers {
		o.Lower = append(o.Lower, l.dir)
	}
	if err := o.Mount(s.dir); err != nil {
		return err
	}
	s.placed = layers
	return nil
}

// unmount takes off the overlay alone.
func (s *stack) unmount() error {
	s.placed = nil
	return rootfs.UnmountLast(s.dir)
}

// empty says that nothing was written so far.
func (s *stack) empty() bool {
	f, err := os.Open(s.upper)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) == 0
}

// close unmounts everything and gives the trees back. More than once is harmless.
func (s *stack) close() error {
	if s == nil {
		return nil
	}
	err := rootfs.Unmount(s.dir)
	s.placed = nil
	s.trees.close()
	return err
}

// A treeSet is unpacked layers in use, by the layer. It is safe for concurrent use.
type treeSet struct {
	mu     sync.Mutex
	m      map[builder.CachedLayer]*layerstore.Tree
	closed bool
}

func (s *treeSet) get(l builder.CachedLayer) *layerstore.Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[l]
}

func (s *treeSet) put(l builder.CachedLayer, t *layerstore.Tree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = t.Close()
		return
	}
	if s.m == nil {
		s.m = map[builder.CachedLayer]*layerstore.Tree{}
	}
	s.m[l] = t
}

func (s *treeSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.m {
		_ = t.Close() // a lock alone
	}
	s.m, s.closed = nil, true
}

// stackLayers begins a stack, unless the machine is told to copy.
func (j *job) stackLayers() {
	if !j.m.Copy {
		j.stack = newStack(j.dir.path, j.dirs, j.ids)
	}
}

// seesLayers says whether the build container sees the layers directory that we see now.
func (j *job) seesLayers(ctx context.Context) bool {
	ours, err := agent.Identify(j.stack.dir)
	if err != nil {
		return false
	}
	theirs, err := j.box.Identify(ctx, j.dirs.Layers)
	return err == nil && theirs == ours
}

// checkStack ends the stack where the engine has bound another directory, because it lives in a mount namespace
// without our mounts: then the plain directory is what both see. Nothing of a buildpack has run.
func (j *job) checkStack(ctx context.Context) error {
	if j.stack == nil || j.seesLayers(ctx) {
		return nil
	}
	if j.ahead != nil {
		j.ahead.end()
	}
	s := j.stack
	j.stack = nil
	if err := errors.Join(s.close(), os.Lchown(s.dir, s.uid, s.gid)); err != nil {
		return fmt.Errorf("make the layers directory: %w", err)
	}
	return nil
}

// unpackAhead looks at the trees of all layers that the cache holds, and makes those that are missing, while detect
// finds out which of them are wanted. Mostly all are.
func (j *job) unpackAhead(ctx context.Context) error {
	var layers []builder.CachedLayer
	for _, b := range j.cache.metadata.Buildpacks {
		for name, l := range b.Layers {
			if l.Cache {
				layers = append(layers, builder.CachedLayer{Buildpack: b.ID, Name: name, DiffID: l.SHA})
			}
		}
	}
	j.unpackLayers(ctx, layers)
	return nil
}

// unpackLayers sees to it that the trees of layers are in use. Those that cannot be had are left out: Restore will
// say why.
func (j *job) unpackLayers(ctx context.Context, layers []builder.CachedLayer) {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, l := range layers {
		if j.stack.trees.get(l) != nil {
			continue
		}
		g.Go(func() error {
			if t, err := j.tree(ctx, l); err == nil {
				j.stack.trees.put(l, t)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// tree is a cached layer unpacked, by the collector where nobody has done so yet.
func (j *job) tree(ctx context.Context, l builder.CachedLayer) (*layerstore.Tree, error) {
	k := layerstore.TreeKey{DiffID: l.DiffID, Path: filepath.Join(j.dirs.Layers, l.Path()), UID: j.dirs.UID, GID: j.dirs.GID}
	t, err := j.m.Store.Tree(ctx, k)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	return j.m.Store.MakeTree(ctx, k, func(root string) (layerstore.TreeFacts, error) {
		d := j.dirs
		d.Root, d.Shift = root, 0 // it is for the containers of all builds
		u, err := j.collector.UnpackCached(ctx, d, l, builder.Limits{})
		return layerstore.TreeFacts(u), err
	})
}

// placeLayers puts the contents of cached layers where Restore would extract them, and says which: those that are not
// among them are copied. The app's own cache names them all.
func (j *job) placeLayers(ctx context.Context) ([]builder.PlacedLayer, error) {
	s := j.stack
	if s == nil || s.refused {
		return nil, nil
	}
	wanted := builder.CachedLayers(platformAPI, j.detected.Group, j.analyzed.Metadata, j.cache.metadata)
	if j.ahead != nil {
		_ = j.ahead.wait()
	}
	j.unpackLayers(ctx, wanted)
	var layers []placedTree
	for _, l := range wanted {
		if t := s.trees.get(l); t != nil && len(layers) < rootfs.MaxLower {
			layers = append(layers, placedTree{l, t, builder.Dirs{Root: t.Root}.Host(j.dirs.Layers)})
		}
	}
	// What a detect has left there is for Restore to remove or to trip over.
	if len(layers) == 0 || !s.empty() {
		return nil, nil
	}
	if err := s.mount(layers); err != nil {
		return nil, nil // an old kernel, or a file system that overlayfs does not write to
	}
	if !j.seesLayers(ctx) {
		return nil, s.unmount()
	}
	var out []builder.PlacedLayer
	for _, l := range layers {
		out = append(out, builder.PlacedLayer{CachedLayer: l.CachedLayer, Bytes: l.Bytes})
	}
	return out, nil
}

// tidy removes unpacked layers that nobody will ask for again.
func (j *job) tidy(ctx context.Context) error {
	if err := j.m.Store.TidyTrees(ctx); err != nil && ctx.Err() == nil {
		j.warn("unpacked layers that are not needed any more cannot be removed: %v", err)
	}
	return nil
}
