package image_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// One image on a base: first all of it is sent, then only its own layers, then nothing.
func TestLoadSendsOnlyWhatIsNew(t *testing.T) {
	s := store(t)
	e := &spy{Engine: connect(t)}
	base := compose(t, nil, "base", layer(t, s.Store(), "base", unique(3<<20)))
	app := compose(t, base, "app", layer(t, s.Store(), "app", unique(1<<20)))
	remove(t, e, "slipway.test/load:app", "slipway.test/load:app2", "slipway.test/load:base")

	w, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/load:base")}, base, image.LoadOptions{})
	if err != nil || w.Sent != 1 || w.Kept != 0 {
		t.Fatalf("base: %+v, %v", w, err)
	}
	all := e.bytes
	w, err = image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/load:app")}, app, image.LoadOptions{Known: []string{"slipway.test/load:base", "slipway.test/absent"}})
	if err != nil || w.Sent != 1 || w.Kept != 1 {
		t.Fatalf("app: %+v, %v", w, err)
	}
	if sent := e.bytes - all; sent < 1<<20 || sent > 1<<20+100<<10 {
		t.Errorf("%d bytes were sent, want the new layer's tar and little more", sent)
	}
	_, id := digests(t, app)
	if w.EngineID != id.String() || w.ID != id {
		t.Errorf("written %+v, want ID %s", w, id)
	}
	got, err := e.Inspect(t.Context(), "slipway.test/load:app")
	if err != nil || got.ID != id.String() {
		t.Fatalf("Docker has %s, %v; want %s", got.ID, err, id)
	}

	loads := e.loads
	start := time.Now()
	w, err = image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/load:app"), ref(t, "slipway.test/load:app2")}, app, image.LoadOptions{})
	if err != nil || e.loads != loads || w.Sent != 0 || w.Kept != 2 {
		t.Errorf("unchanged: %+v, %v, %d loads", w, err, e.loads-loads)
	}
	t.Logf("an unchanged image took %v", time.Since(start))
	if _, err := e.Inspect(t.Context(), "slipway.test/load:app2"); err != nil {
		t.Error(err)
	}
}

// The engine may not have what it was thought to have: then all of it is sent.
func TestLoadFallsBackToFull(t *testing.T) {
	s := store(t)
	e := &spy{Engine: connect(t)}
	base := compose(t, nil, "base", layer(t, s.Store(), "base", unique(1<<20)))
	app := compose(t, base, "app", layer(t, s.Store(), "app", unique(1<<20)))
	remove(t, e, "slipway.test/fallback:base", "slipway.test/fallback:app")
	if _, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/fallback:base")}, base, image.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	e.failLoad = func() error { // between the look and the load somebody removes the base
		e.failLoad = nil
		return e.Remove(context.WithoutCancel(t.Context()), "slipway.test/fallback:base")
	}
	w, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/fallback:app")}, app, image.LoadOptions{Known: []string{"slipway.test/fallback:base"}})
	if err != nil || w.Sent != 2 || w.Kept != 0 || e.loads != 3 {
		t.Errorf("%+v, %v, %d loads; want a second load of both layers", w, err, e.loads)
	}
	if out, err := exec.Command("docker", "save", "slipway.test/fallback:app").Output(); err != nil || len(out) < 2<<20 {
		t.Errorf("the image cannot be saved: %v", err)
	}
}

// What was loaded comes back with the same config, and the same manifest: the encoder has one output.
func TestSaveGivesTheSameImage(t *testing.T) {
	s := store(t)
	e := &spy{Engine: connect(t)}
	img := compose(t, nil, "saved", layer(t, s.Store(), "a", unique(2<<20)), layer(t, s.Store(), "b", []byte("b")), layer(t, s.Store(), "b", []byte("b")))
	remove(t, e, "slipway.test/save:1")
	if _, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/save:1")}, img, image.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	other := store(t)
	for n, want := range []int{1, 1} { // the second time the store has it
		r := &image.Resolver{Images: other, Engine: e}
		got, err := r.Resolve(t.Context(), "slipway.test/save:1")
		if err != nil {
			t.Fatal(err)
		}
		if got.EngineID == "" || got.Label("test") != "saved" || got.Config.Architecture == "" {
			t.Errorf("found %+v", got)
		}
		if n == 0 && (got.Kind != image.KindEngine || e.saves != 0) {
			t.Errorf("found as %s after %d saves", got.Kind, e.saves)
		}
		sameImage(t, got, img)
		if e.saves != want {
			t.Errorf("%d saves, want %d", e.saves, want)
		}
	}
	// Loading it where it came from moves nothing.
	loads := e.loads
	lazy, err := (&image.Resolver{Images: store(t), Engine: e}).Resolve(t.Context(), "slipway.test/save:1")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := image.EnsureEngine(t.Context(), e, lazy, image.LoadOptions{}); err != nil || id != lazy.EngineID || e.loads != loads || e.saves != 1 {
		t.Errorf("EnsureEngine: %s, %v, %d loads, %d saves", id, err, e.loads-loads, e.saves)
	}
}

func sameImage(t *testing.T, got, want v1.Image) {
	t.Helper()
	gm, gc := digests(t, got)
	wm, wc := digests(t, want)
	if gm != wm || gc != wc {
		t.Errorf("manifest %s, config %s; want %s, %s", gm, gc, wm, wc)
	}
	gb, err := got.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	wb, err := want.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(gb, wb) {
		t.Error("other config bytes")
	}
}

func TestEngineErrors(t *testing.T) {
	e := connect(t)
	r := &image.Resolver{Images: store(t), Engine: e}
	_, err := r.Resolve(t.Context(), "slipway.test/never:was")
	if !errors.Is(err, image.ErrNotFound) || !strings.Contains(err.Error(), `image "slipway.test/never:was" is not in the local store or Docker`) {
		t.Errorf("error %v", err)
	}
	s := store(t)
	img := compose(t, nil, "x", layer(t, s.Store(), "x", unique(100)))
	if _, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "oci:x")}, img, image.LoadOptions{}); err == nil {
		t.Error("a layout is taken for a name")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := image.LoadEngine(ctx, e, nil, img, image.LoadOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled load: %v", err)
	}
}

// A blob of several gzip members tells a wrong length: it is sent as it is.
func TestLoadMultiMemberGzip(t *testing.T) {
	s := store(t)
	content := unique(2 << 20)
	var blob bytes.Buffer
	h := sha256.New()
	for _, part := range [][]byte{tarOf(t, "f", content)[:1000], tarOf(t, "f", content)[1000:]} {
		h.Write(part)
		z := gzip.NewWriter(&blob)
		if _, err := z.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.Store().PutBlob(t.Context(), blob.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Store().NewLayer(layerstore.Entry{DiffID: "sha256:" + hex.EncodeToString(h.Sum(nil)), Digest: d.String(), Size: int64(blob.Len()), MediaType: types.OCILayer})
	if err != nil {
		t.Fatal(err)
	}
	e := &spy{Engine: connect(t)}
	remove(t, e, "slipway.test/members:1")
	w, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/members:1")}, compose(t, nil, "m", l), image.LoadOptions{})
	if err != nil || e.loads != 2 || w.Sent != 1 {
		t.Errorf("%+v, %v, %d loads", w, err, e.loads)
	}
}

// Whatever an engine makes of zstd, it gets the layer.
func TestLoadZstd(t *testing.T) {
	s := store(t).Store().As(layerstore.Zstd)
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	z := layerstore.NewCompressor(layerstore.Zstd).NewEncoder(w)
	_, err = z.Write(tarOf(t, "f", unique(3<<20)))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(z.DiffID()); err != nil {
		t.Fatal(err)
	}
	l, ok := s.Layer(z.DiffID())
	if !ok {
		t.Fatal("the store lost a layer")
	}
	e := &spy{Engine: connect(t)}
	remove(t, e, "slipway.test/zstd:1")
	img := compose(t, nil, "z", l)
	if m, err := img.Manifest(); err != nil || m.Layers[0].MediaType != types.OCILayerZStd {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	if w, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, "slipway.test/zstd:1")}, img, image.LoadOptions{}); err != nil || w.Sent != 1 || e.loads != 1 {
		t.Errorf("%+v, %v, %d loads", w, err, e.loads)
	}
	if have, err := e.Inspect(t.Context(), "slipway.test/zstd:1"); err != nil || have.Config.RootFS.DiffIDs[0].String() != z.DiffID() {
		t.Errorf("Docker has %+v, %v", have.Config, err)
	}
}

// A corrupt blob is reported as such, not as Docker's complaint about a short archive.
func TestLoadCorruptBlob(t *testing.T) {
	s := store(t)
	l := layer(t, s.Store(), "x", unique(1<<20))
	img := compose(t, nil, "x", l)
	d, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, s, d)
	_, err = image.LoadEngine(t.Context(), connect(t), nil, img, image.LoadOptions{})
	if err == nil || !strings.Contains(err.Error(), "is corrupt and was removed") {
		t.Errorf("error %v", err)
	}
}
