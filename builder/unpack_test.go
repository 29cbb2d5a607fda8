package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

// TestUnpackCached restores once by extracting, once over layers that were unpacked before: with the same messages, and
// the same layers are exported afterwards.
func TestUnpackCached(t *testing.T) {
	b := sample(t)
	ex := b.export(t, nil)
	cache := cacheOf(t, b, ex)
	in := RestoreInput{PlatformAPI: cnb.NewestPlatformAPI, Group: b.group, Previous: ex.Metadata, Cache: cache}
	wanted := CachedLayers(in.PlatformAPI, in.Group, in.Previous, cache.metadata)
	var ids []string
	for _, l := range wanted {
		ids = append(ids, l.ID())
	}
	if want := []string{"a/b:both", "a/b:cached"}; !slices.Equal(ids, want) {
		t.Fatalf("wanted %v, want %v", ids, want)
	}

	restore := func(place bool) ([]Event, map[string]string) {
		var events []Event
		next := newBuildDir(t)
		in := in
		in.Dirs, in.Emit = next.Dirs, func(e Event) { events = append(events, e) }
		for _, l := range wanted {
			if !place {
				continue
			}
			d := next.Dirs
			d.Root = t.TempDir()
			u, err := UnpackCached(t.Context(), d, l, bytes.NewReader(cache.blobs[l.DiffID]), Limits{})
			if err != nil || !u.Exact {
				t.Fatalf("%s: %+v, %v", l.ID(), u, err)
			}
			if err := os.CopyFS(next.Host("/layers"), os.DirFS(d.Host("/layers"))); err != nil {
				t.Fatal(err)
			}
			in.InPlace = append(in.InPlace, PlacedLayer{l, u.Bytes})
			in.Cache = memCache{metadata: cache.metadata} // nothing can be read of it
		}
		if err := Restore(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(events, func(e Event) bool { return e.Kind == EventWarning }), listing(t, next.Host("/layers"))
	}
	events, files := restore(false)
	gotEvents, gotFiles := restore(true)
	if !slices.Equal(events, gotEvents) {
		t.Errorf("events %+v, want %+v", gotEvents, events)
	}
	for name, text := range files {
		if gotFiles[name] != text && filepath.Ext(name) != ".json" { // SBOMs come from the cache
			t.Errorf("%s is %q, want %q", name, gotFiles[name], text)
		}
	}
}

// TestUnpackInexact finds layers that their own files would not make again, and refuses what is none.
func TestUnpackInexact(t *testing.T) {
	d := newBuildDir(t).Dirs
	layer := func(change func(*tar.Writer)) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, dir := range []string{"/layers", "/layers/a_b", "/layers/a_b/one"} {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Uid: d.UID, Gid: d.GID, ModTime: LayerTime()}); err != nil {
				t.Fatal(err)
			}
		}
		change(w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	file := func(h tar.Header) func(*tar.Writer) {
		return func(w *tar.Writer) {
			if h.ModTime.IsZero() {
				h.ModTime = LayerTime()
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
	}
	plain := tar.Header{Typeflag: tar.TypeReg, Name: "/layers/a_b/one/f", Mode: 0o644, Uid: d.UID, Gid: d.GID}
	sticky, other, late, whiteout, slash := plain, plain, plain, plain, plain
	sticky.Mode = 0o1644
	other.Uid++
	late.ModTime = LayerTime().AddDate(1, 0, 0)
	whiteout.Name = "/layers/a_b/one/.wh.f"
	slash.Name = "layers/a_b/one/f"
	for what, tc := range map[string]struct {
		h     tar.Header
		exact bool
	}{
		"ours": {plain, true}, "sticky": {sticky, false}, "another owner": {other, false}, "another time": {late, false},
		"a whiteout": {whiteout, false}, "a relative name": {slash, false},
	} {
		b := layer(file(tc.h))
		d := d
		d.Root = t.TempDir()
		u, err := UnpackCached(t.Context(), d, CachedLayer{"a/b", "one", diffIDOf(b)}, bytes.NewReader(b), Limits{})
		if err != nil || u.Exact != tc.exact {
			t.Errorf("%s: %+v, %v", what, u, err)
		}
	}
	good := layer(file(plain))
	for what, l := range map[string]CachedLayer{
		"another digest": {"a/b", "one", diffIDOf(nil)}, "no digest": {"a/b", "one", "sha256:x"}, "another layer": {"a/b", "two", diffIDOf(good)},
		"no name": {"a/b", "../x", diffIDOf(good)}, "no id": {"../..", "one", diffIDOf(good)},
	} {
		d := d
		d.Root = t.TempDir()
		if u, err := UnpackCached(t.Context(), d, l, bytes.NewReader(good), Limits{}); err == nil {
			t.Errorf("%s: %+v", what, u)
		}
	}
}

// A knowingSink knows what it has.
type knowingSink struct{ *DirSink }

func (s knowingSink) Known(_ context.Context, diffID string) (LayerResult, bool, error) {
	_, err := s.Get(diffID)
	return LayerResult{DiffID: diffID}, err == nil, nil
}

// TestUnchanged exports layers that are said to be unchanged: they are not looked at where the sink has them.
func TestUnchanged(t *testing.T) {
	b := sample(t)
	first := b.export(t, nil)
	sha := first.Metadata.Buildpacks[0].Layers["both"].SHA
	put(t, b.Host("/layers"), "a_b/both/more") // which the caller denies
	change := func(diffID string) func(*ExportInput) {
		return func(in *ExportInput) {
			in.Unchanged = map[string]string{"a/b:both": diffID}
			in.Previous, in.PreviousCache = first.Metadata, *first.Cache
		}
	}
	for what, tc := range map[string]struct {
		sink   Sink
		diffID string
		same   bool
	}{
		"known":               {knowingSink{b.sink}, sha, true},
		"a sink that forgot":  {knowingSink{NewDirSink(t.TempDir(), nil)}, sha, false},
		"a sink of bytes":     {b.sink, sha, false},
		"of no use":           {knowingSink{b.sink}, "", false},
		"of another contents": {knowingSink{b.sink}, diffIDOf(nil), false},
	} {
		in := b.input()
		change(tc.diffID)(&in)
		ex, err := Export(t.Context(), in, tc.sink)
		if err != nil {
			t.Fatal(err)
		}
		if got := ex.Metadata.Buildpacks[0].Layers["both"].SHA; (got == sha) != tc.same || ex.Cache.Buildpacks[0].Layers["both"].SHA != got {
			t.Errorf("%s: %s, before %s", what, got, sha)
		}
		if ex.Layers[0].Reused != tc.same {
			t.Errorf("%s: reused %v", what, ex.Layers[0].Reused)
		}
	}
}
