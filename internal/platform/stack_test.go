package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// An appState is what one app has from one build to the next, in one of the two ways to restore: a store with its
// cache, and the metadata of its image.
type appState struct {
	store    *layerstore.Store
	cache    *layerstore.Cache
	previous cnb.LayersMetadata
	copies   bool // layers, although they could be mounted
}

func newAppState(t *testing.T, copies bool) *appState {
	t.Helper()
	s, err := layerstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &appState{store: s, cache: s.Cache("app"), copies: copies}
}

// A treeSink keeps layers in the store, and remembers which it was given to read.
type treeSink struct {
	s    *layerstore.Store
	mu   sync.Mutex
	read []string
}

func (s *treeSink) Layer(ctx context.Context, l builder.Layer, _ string) (builder.LayerResult, error) {
	s.mu.Lock()
	s.read = append(s.read, l.ID)
	s.mu.Unlock()
	w, err := s.s.Writer(ctx)
	if err != nil {
		return builder.LayerResult{}, err
	}
	defer w.Abort()
	enc := layerstore.NewEncoder(w)
	if err := errors.Join(l.WriteTar(ctx, enc), enc.Close()); err != nil {
		return builder.LayerResult{}, err
	}
	e, err := w.Commit(enc.DiffID())
	return builder.LayerResult{DiffID: e.DiffID, Digest: e.Digest, Size: e.Size}, err
}

func (s *treeSink) Known(_ context.Context, diffID string) (builder.LayerResult, bool, error) {
	e, ok := s.s.Known(diffID)
	return builder.LayerResult{DiffID: e.DiffID, Digest: e.Digest, Size: e.Size}, ok, nil
}

// What the builds of these tests are of: two buildpacks with three layers of each kind between them.
func stackGroup() cnb.Group {
	api := cnb.API{Major: 0, Minor: 12}
	return cnb.Group{Elements: []cnb.GroupElement{{Ref: cnb.Ref{ID: "a/b", Version: "1"}, API: api}, {Ref: cnb.Ref{ID: "c", Version: "1"}, API: api}}}
}

func stackLayerNames() []string { return []string{"a_b/one", "a_b/two", "c/three"} }

// An outcome is all that a build leaves and says.
type outcome struct {
	Exported *builder.Exported
	Events   []builder.Event
	Did      []string // what change did, with errors
	read     []string
	mounted  bool
}

// build restores, changes and exports, as a job does, without a container.
func (a *appState) build(t *testing.T, change func(layers string) []string) (out outcome) {
	t.Helper()
	dir := t.TempDir()
	d := builder.Dirs{Root: filepath.Join(dir, "root"), App: "/workspace", Layers: layersPath, UID: os.Geteuid(), GID: os.Getegid()}
	if d.UID == 0 {
		d.UID, d.GID = 1234, 1235
	}
	var s *stack
	if !a.copies {
		s = newStack(dir, d, nil)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		checkNoMounts(t, dir)
	}()
	for _, p := range []string{d.Layers, d.App} {
		at := d.Host(p)
		if err := errors.Join(os.MkdirAll(at, 0o755), os.Chmod(at, 0o755), os.Lchown(at, d.UID, d.GID)); err != nil {
			t.Fatal(err)
		}
	}
	in := builder.RestoreInput{
		PlatformAPI: platformAPI, Dirs: d, Group: stackGroup(), Previous: a.previous, Cache: a.cache,
		Emit: func(e builder.Event) { out.Events = append(out.Events, e) },
	}
	if s != nil {
		in.InPlace = a.place(t, s, d)
		out.mounted = len(in.InPlace) > 0
	}
	if err := builder.Restore(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	out.Did = change(d.Host(d.Layers))

	sink := &treeSink{s: a.store}
	ex := builder.ExportInput{
		PlatformAPI: platformAPI, Dirs: d, Group: stackGroup(), Built: left(d), Previous: a.previous, Cache: true, PreviousCache: a.cache.Metadata(),
		Launcher: builder.Launcher{Path: "/proc/self/cmdline"}, Emit: in.Emit,
	}
	ex.Launcher.Path = filepath.Join(dir, "launcher")
	if err := os.WriteFile(ex.Launcher.Path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if s != nil {
		ex.Unchanged = s.unchanged(t.Context(), agent.SameFiles)
	}
	var err error
	if out.Exported, err = builder.Export(t.Context(), ex, sink); err != nil {
		out.Did = append(out.Did, strings.ReplaceAll(err.Error(), dir, ""))
		return out
	}
	var ids []string
	for _, l := range out.Exported.CacheLayers {
		ids = append(ids, l.DiffID)
	}
	if err := a.cache.Replace(*out.Exported.Cache, ids); err != nil {
		t.Fatal(err)
	}
	a.previous, out.read = out.Exported.Metadata, sink.read
	return out
}

// place is job.placeLayers without a container and a collector.
func (a *appState) place(t *testing.T, s *stack, d builder.Dirs) (out []builder.PlacedLayer) {
	t.Helper()
	var layers []placedTree
	for _, l := range builder.CachedLayers(platformAPI, stackGroup(), a.previous, a.cache.Metadata()) {
		k := layerstore.TreeKey{DiffID: l.DiffID, Path: l.Path(), UID: d.UID, GID: d.GID}
		tree, err := a.store.Tree(t.Context(), k)
		if errors.Is(err, fs.ErrNotExist) {
			tree, err = a.store.MakeTree(t.Context(), k, func(root string) (layerstore.TreeFacts, error) {
				rc, err := a.cache.Open(t.Context(), l.DiffID)
				if err != nil {
					return layerstore.TreeFacts{}, err
				}
				defer rc.Close()
				d := d
				d.Root = root
				u, err := builder.UnpackCached(t.Context(), d, l, rc, builder.Limits{})
				return layerstore.TreeFacts(u), err
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		s.trees.put(l, tree)
		layers = append(layers, placedTree{l, tree, filepath.Join(tree.Root, layersPath)})
		out = append(out, builder.PlacedLayer{CachedLayer: l, Bytes: tree.Bytes})
	}
	if len(layers) == 0 {
		return nil
	}
	if err := s.mount(layers); err != nil {
		t.Fatal(err)
	}
	return out
}

// left is what buildpacks say that they left: all layers are of all types, as far as they are there.
func left(d builder.Dirs) *builder.Built {
	b := &builder.Built{}
	for _, el := range stackGroup().Elements {
		bp := builder.BuiltBuildpack{GroupElement: el}
		for _, path := range stackLayerNames() {
			dir, name := filepath.Split(path)
			if dir != el.ID.Dir()+"/" {
				continue
			}
			if fi, err := os.Lstat(filepath.Join(d.Host(d.Layers), path)); err == nil && fi.IsDir() {
				bp.Layers = append(bp.Layers, builder.BuiltLayer{Name: cnb.LayerName(name), Types: cnb.LayerTypes{Launch: true, Build: true, Cache: true}, Contents: true})
			}
		}
		b.Buildpacks = append(b.Buildpacks, bp)
	}
	return b
}

func checkNoMounts(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(b, []byte(dir)) {
		t.Errorf("mounts are left in %s: %v\n%s", dir, err, b)
	}
}

// fill makes all layers.
func fill(layers string) []string {
	rnd := rand.New(rand.NewPCG(1, 2))
	var errs []error
	for _, l := range stackLayerNames() {
		for i := range 25 {
			dir := filepath.Join(layers, l, fmt.Sprintf("d%d", i%3), fmt.Sprintf("e%d", i%5))
			mode := []os.FileMode{0o644, 0o755, 0o600, 0o400}[rnd.IntN(4)]
			at := filepath.Join(dir, fmt.Sprintf("f%d", i))
			errs = append(errs, os.MkdirAll(dir, 0o755), os.WriteFile(at, bytes.Repeat([]byte("text "), rnd.IntN(100)), mode))
			if i%6 == 0 {
				errs = append(errs, os.Symlink(fmt.Sprintf("f%d", i), at+".link"), os.Mkdir(at+".dir", 0o700))
			}
		}
	}
	// Directories of buildpacks are the engine's to make, with their user as owner.
	var st syscall.Stat_t
	errs = append(errs, syscall.Lstat(layers, &st))
	for _, bp := range []string{"a_b", "c"} {
		errs = append(errs, os.Lchown(filepath.Join(layers, bp), int(st.Uid), int(st.Gid)))
	}
	if err := errors.Join(errs...); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// A vandal does what buildpacks do, and worse, to a layers directory, by the numbers of rnd.
type vandal struct {
	rnd    *rand.Rand
	layers string
	did    []string
}

// some is a path below one of the layers, or a layer itself.
func (v *vandal) some(want func(fs.DirEntry) bool) string {
	var all []string
	for _, bp := range []string{"a_b", "c"} {
		_ = filepath.WalkDir(filepath.Join(v.layers, bp), func(p string, e fs.DirEntry, err error) error {
			if err == nil && p != filepath.Join(v.layers, bp) && want(e) {
				all = append(all, p)
			}
			return nil
		})
	}
	if len(all) == 0 {
		return filepath.Join(v.layers, "nothing")
	}
	return all[v.rnd.IntN(len(all))]
}

func (v *vandal) any() string { return v.some(func(fs.DirEntry) bool { return true }) }
func (v *vandal) dir() string { return v.some(fs.DirEntry.IsDir) }
func (v *vandal) file() string {
	return v.some(func(e fs.DirEntry) bool { return e.Type().IsRegular() && !strings.HasSuffix(e.Name(), ".toml") })
}
func (v *vandal) layer() string { return filepath.Join(v.layers, stackLayerNames()[v.rnd.IntN(3)]) }
func (v *vandal) name() string  { return fmt.Sprintf("n%d", v.rnd.IntN(6)) }

// open opens a file with flags and does something to it.
func open(at string, flags int, do func(*os.File) error) error {
	f, err := os.OpenFile(at, flags, 0o640)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func (v *vandal) step() error {
	none := func(*os.File) error { return nil }
	text := bytes.Repeat([]byte{byte('a' + v.rnd.IntN(26))}, v.rnd.IntN(3000))
	switch v.rnd.IntN(28) {
	case 0:
		return os.RemoveAll(v.any())
	case 1: // a file, over whatever is there
		return os.Rename(v.file(), filepath.Join(v.dir(), v.name()))
	case 2:
		return os.Rename(v.file(), v.file())
	case 3: // a directory
		return os.Rename(v.dir(), filepath.Join(v.dir(), v.name()))
	case 4: // a layer becomes another
		return syscallRename(v.layer(), v.layer())
	case 5:
		return os.Chmod(v.any(), []os.FileMode{0o644, 0o755, 0o700, 0o400, 0o555, os.ModeSetuid | 0o755, os.ModeSticky | 0o777}[v.rnd.IntN(7)])
	case 6:
		return os.Link(v.file(), filepath.Join(v.dir(), v.name()))
	case 7:
		return os.Symlink("../"+v.name(), filepath.Join(v.dir(), v.name()))
	case 8:
		return os.WriteFile(filepath.Join(v.dir(), v.name()), text, 0o644)
	case 9:
		return open(v.file(), os.O_WRONLY|os.O_TRUNC, func(f *os.File) error { _, err := f.Write(text); return err })
	case 10:
		return open(v.file(), os.O_WRONLY|os.O_APPEND, func(f *os.File) error { _, err := f.Write(text); return err })
	case 11:
		return os.Truncate(v.file(), v.rnd.Int64N(200))
	case 12:
		return os.MkdirAll(filepath.Join(v.dir(), v.name(), v.name()), 0o755)
	case 13: // all anew
		l := v.layer()
		return errors.Join(os.RemoveAll(l), os.MkdirAll(filepath.Join(l, v.name()), 0o755), os.WriteFile(filepath.Join(l, v.name()), text, 0o644))
	case 14:
		return os.RemoveAll(v.layer())
	case 15: // away and back
		l := v.layer()
		return errors.Join(os.Rename(l, l+".away"), os.Rename(l+".away", l))
	case 16: // and one above
		l := filepath.Dir(v.layer())
		return errors.Join(os.Rename(l, l+".away"), os.Rename(l+".away", l))
	case 17: // all of a buildpack anew
		l := filepath.Dir(v.layer())
		return errors.Join(os.RemoveAll(l), os.MkdirAll(filepath.Join(l, "one"), 0o755), os.WriteFile(filepath.Join(l, "one", "f"), text, 0o644))
	case 18: // what changes nothing
		return open(v.file(), os.O_RDWR, none)
	case 19:
		f := v.file()
		b, err := os.ReadFile(f)
		return errors.Join(err, os.WriteFile(f, b, 0))
	case 20:
		return os.Chmod(filepath.Dir(v.layer()), []os.FileMode{0o755, 0o700, 0o750}[v.rnd.IntN(3)])
	case 21:
		return os.Chmod(v.layers, []os.FileMode{0o755, 0o700}[v.rnd.IntN(2)])
	case 22, 23: // a directory anew, as it was or nearly
		return v.again(v.dir())
	case 24: // twice the same
		f := v.file()
		return errors.Join(os.Rename(f, f+".x"), os.Rename(f+".x", f))
	case 25:
		d := v.dir()
		return errors.Join(os.Rename(d, d+".x"), os.Rename(d+".x", d))
	case 26:
		return syscall.Mkfifo(filepath.Join(v.dir(), v.name()), 0o600)
	}
	return open(v.any(), os.O_RDONLY|syscall.O_NONBLOCK, none)
}

// accident happens once in n times, and never to a careful vandal.
func (v *vandal) accident(n int) bool { return v.rnd != nil && v.rnd.IntN(n) == 0 }

// again copies a directory and puts the copy in its place; sometimes something is lost or added on the way.
func (v *vandal) again(dir string) error {
	var errs []error
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := dir + ".again" + strings.TrimPrefix(p, dir)
		fi, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			errs = append(errs, os.Mkdir(to, 0o700), os.Chmod(to, fi.Mode()))
		case v.accident(40):
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			errs = append(errs, err, os.Symlink(target, to))
		case e.Type().IsRegular():
			b, err := os.ReadFile(p)
			if len(b) > 0 && v.accident(40) {
				b[0]++
			}
			errs = append(errs, err, os.WriteFile(to, b, 0o600), os.Chmod(to, fi.Mode()))
		}
		return nil
	})
	if v.accident(10) {
		errs = append(errs, os.WriteFile(filepath.Join(dir+".again", "one-more"), nil, 0o644))
	}
	return errors.Join(err, errors.Join(errs...), os.RemoveAll(dir), os.Rename(dir+".again", dir))
}

// syscallRename is rename(2), which takes an empty directory for a target as os.Rename does not.
func syscallRename(from, to string) error { return syscall.Rename(from, to) }

func (v *vandal) change(layers string) []string {
	v.layers = layers
	for range v.rnd.IntN(9) {
		did := "done"
		if err := v.step(); err != nil {
			did = strings.ReplaceAll(err.Error(), layers, "")
		}
		v.did = append(v.did, did)
	}
	return v.did
}

// stackSeeds is 100 and more where somebody wants to know for sure.
var stackSeeds = flag.Uint64("stack.seeds", 12, "how many apps TestStackEqualsCopy builds, each with changes of its own")

// TestStackEqualsCopy holds the two ways to restore equal: the same happens to the same layers in both, and they have
// to end in the same image, cache and messages, build after build.
func TestStackEqualsCopy(t *testing.T) {
	t.Parallel()
	mounted, unread := 0, 0
	for seed := range *stackSeeds {
		mounts, copies := newAppState(t, false), newAppState(t, true)
		for round := range uint64(4) {
			change := func(layers string) []string {
				return (&vandal{rnd: rand.New(rand.NewPCG(seed, round))}).change(layers)
			}
			if round == 0 {
				change = fill
			}
			got, want := mounts.build(t, change), copies.build(t, change)
			a, b := toJSON(t, got), toJSON(t, want)
			if a != b {
				t.Fatalf("seed %d, round %d:\nmounted %s\ncopied  %s", seed, round, a, b)
			}
			if got.mounted {
				mounted++
				unread += len(want.read) - len(got.read)
			}
		}
	}
	t.Logf("mounted in %d builds, %d layers not read", mounted, unread)
	if root, seeds := os.Geteuid() == 0, int(*stackSeeds); root != (mounted > seeds*5/3) || root != (unread > seeds*2/3) {
		t.Errorf("mounted in %d builds, %d layers not read", mounted, unread)
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestStackUnchanged reads nothing of layers that nobody touched, and all of the others.
func TestStackUnchanged(t *testing.T) {
	t.Parallel()
	a := newAppState(t, false)
	a.build(t, fill)
	all := []string{"a/b:one", "a/b:two", "c:three"}
	for what, tc := range map[string]struct {
		change func(layers string) error
		read   []string
	}{
		"nothing":           {func(string) error { return nil }, nil},
		"a file is read":    {func(l string) error { _, err := os.ReadFile(l + "/a_b/one/d0/e0/f0"); return err }, nil},
		"a mode":            {func(l string) error { return os.Chmod(l+"/a_b/one/d0/e0/f0", 0o711) }, all[:1]},
		"a file of another": {func(l string) error { return os.WriteFile(l+"/a_b/two/new", nil, 0o644) }, all[1:2]},
		"the same bytes": {func(l string) error {
			b, err := os.ReadFile(l + "/a_b/one/d0/e0/f0")
			return errors.Join(err, os.WriteFile(l+"/a_b/one/d0/e0/f0", b, 0))
		}, nil},
		"the same directory": {func(l string) error {
			return (&vandal{}).again(l + "/a_b/one/d1")
		}, nil},
		"the same layer": {func(l string) error {
			return (&vandal{}).again(l + "/a_b/one")
		}, nil},
		"nearly the same bytes": {func(l string) error {
			b, err := os.ReadFile(l + "/a_b/one/d0/e0/f0")
			b[7]++
			return errors.Join(err, os.WriteFile(l+"/a_b/one/d0/e0/f0", b, 0))
		}, all[:1]},
		"one file less": {func(l string) error { return os.Remove(l + "/a_b/one/d0/e0/f0") }, all[:1]},
		"a smaller directory": {func(l string) error {
			return errors.Join(os.RemoveAll(l+"/a_b/one/d1"), os.Mkdir(l+"/a_b/one/d1", 0o755))
		}, all[:1]},
		"directories swapped": {func(l string) error {
			return errors.Join(os.Rename(l+"/a_b/one/d0", l+"/x"), os.Rename(l+"/a_b/one/d1", l+"/a_b/one/d0"), os.Rename(l+"/x", l+"/a_b/one/d1"))
		}, all[:1]},
		"metadata":          {func(l string) error { return os.WriteFile(l+"/a_b/two.toml", nil, 0o644) }, nil},
		"a link to another": {func(l string) error { return os.Link(l+"/a_b/one/d0/e0/f0", l+"/c/three/new") }, all[2:]},
		"the buildpack's":   {func(l string) error { return os.Chmod(l+"/a_b", 0o711) }, all[:2]},
		"the directory":     {func(l string) error { return os.Chmod(l, 0o711) }, all},
		"away and back":     {func(l string) error { return errors.Join(os.Rename(l+"/c", l+"/d"), os.Rename(l+"/d", l+"/c")) }, all[2:]},
		"swapped": {func(l string) error {
			return errors.Join(os.Rename(l+"/a_b/one", l+"/a_b/x"), os.Rename(l+"/a_b/two", l+"/a_b/one"), os.Rename(l+"/a_b/x", l+"/a_b/two"))
		}, all[:2]},
	} {
		t.Run(what, func(t *testing.T) {
			out := a.build(t, func(l string) []string {
				if err := tc.change(l); err != nil {
					t.Fatal(err)
				}
				return nil
			})
			want := tc.read
			if !out.mounted {
				want = all
			}
			var read []string
			for _, id := range out.read {
				if slices.Contains(all, id) {
					read = append(read, id)
				}
			}
			slices.Sort(read)
			if !slices.Equal(read, want) {
				t.Errorf("read %v, want %v", read, want)
			}
			a.build(t, func(l string) []string { // as at first
				for _, dir := range []string{"a_b", "c"} {
					if err := os.RemoveAll(filepath.Join(l, dir)); err != nil {
						t.Error(err)
					}
				}
				return fill(l)
			})
		})
	}
}

// TestStackNotExact makes a layer whose tar is not what its files give again: it is read each time.
func TestStackNotExact(t *testing.T) {
	t.Parallel()
	results := map[bool]string{}
	for _, copies := range []bool{false, true} {
		a := newAppState(t, copies)
		a.build(t, func(l string) []string {
			did := fill(l)
			if err := os.Chmod(filepath.Join(l, "a_b/one/d0"), os.ModeSticky|0o777); err != nil { // lost when it is unpacked
				t.Fatal(err)
			}
			return did
		})
		out := a.build(t, func(string) []string { return nil })
		if !slices.Contains(out.read, "a/b:one") || out.mounted && slices.Contains(out.read, "c:three") {
			t.Errorf("read %v", out.read)
		}
		results[copies] = toJSON(t, out)
	}
	if results[false] != results[true] {
		t.Errorf("mounted %s\ncopied  %s", results[false], results[true])
	}
}

// stackDamages is 100 and more where somebody wants to know for sure.
var stackDamages = flag.Uint64("stack.damages", 30, "how often TestStackDamagedTrees damages trees")

// TestStackDamagedTrees damages trees at random between builds that change nothing: every image is the first one.
func TestStackDamagedTrees(t *testing.T) {
	t.Parallel()
	a := newAppState(t, false)
	a.build(t, fill)
	nothing := func(string) []string { return nil }
	want := toJSON(t, a.build(t, nothing).Exported)
	bait := BaitFile(t)
	for seed := range *stackDamages {
		what := damageTrees(t, rand.New(rand.NewPCG(seed, 3)), filepath.Join(a.store.Dir(), "trees"), bait)
		if got := toJSON(t, a.build(t, nothing).Exported); got != want {
			t.Fatalf("seed %d: after %s\n%s\nwant %s", seed, what, got, want)
		}
	}
}

// damageTrees changes something in one of the trees, or in its manifest. Links lead to bait.
func damageTrees(t *testing.T, rnd *rand.Rand, dir, bait string) string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if len(files) == 0 {
		return "nothing" // an ordinary user has no trees
	}
	at := files[rnd.IntN(len(files))]
	if rnd.IntN(3) == 0 {
		manifests := slices.DeleteFunc(slices.Clone(files), func(p string) bool {
			rel, err := filepath.Rel(dir, p)
			return err != nil || filepath.Base(rel) != "manifest" || strings.Count(rel, "/") != 1
		})
		if len(manifests) > 0 {
			at = manifests[rnd.IntN(len(manifests))]
		}
	}
	damages := map[string]func() error{
		"truncate": func() error { return os.Truncate(at, rnd.Int64N(10)) },
		"flip": func() error {
			b, err := os.ReadFile(at)
			if len(b) == 0 {
				b = []byte{1}
			}
			b[rnd.IntN(len(b))] ^= 4
			return errors.Join(err, os.WriteFile(at, b, 0))
		},
		"remove":      func() error { return os.Remove(at) },
		"remove dir":  func() error { return os.RemoveAll(filepath.Dir(at)) },
		"add":         func() error { return os.WriteFile(at+"x", []byte("x"), 0o644) },
		"chmod":       func() error { return os.Chmod(at, 0o123) },
		"link":        func() error { return errors.Join(os.Remove(at), os.Symlink(bait, at)) },
		"directory":   func() error { return errors.Join(os.Remove(at), os.Mkdir(at, 0o755)) },
		"chown":       func() error { return os.Lchown(at, 77, 77) },
		"second name": func() error { return os.Link(at, at+"y") },
	}
	what := slices.Sorted(maps.Keys(damages))[rnd.IntN(len(damages))]
	if err := damages[what](); err != nil {
		t.Fatal(what, at, err)
	}
	return what + " " + at
}
