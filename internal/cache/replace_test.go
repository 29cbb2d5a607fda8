package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
)

func mdOf(texts ...string) cnb.CacheMetadata {
	layers := map[string]cnb.LayerMetadata{}
	for _, text := range texts {
		layers[text] = cnb.LayerMetadata{SHA: idOf(text), LayerMetadataFile: cnb.LayerMetadataFile{Cache: true}}
	}
	return cnb.CacheMetadata{Buildpacks: []cnb.BuildpackLayers{{ID: "test/one", Layers: layers}}}
}

func idOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func layerOf(texts ...string) func(string) (v1.Layer, error) {
	return func(id string) (v1.Layer, error) {
		for _, text := range texts {
			if idOf(text) == id {
				return static.NewLayer([]byte(text), types.OCIUncompressedLayer), nil
			}
		}
		return nil, errNoLayer
	}
}

// TestReplaceKilled ends after each step, as a process that is killed does, and finds the old cache or the new one.
func TestReplaceKilled(t *testing.T) {
	steps := len((&replacement{}).steps())
	old, next := mdOf("one", "two"), mdOf("two", "three")
	for n := range steps + 1 {
		for _, first := range []bool{false, true} { // whether there is a cache before
			dir := t.TempDir()
			v, err := OpenVolume(dir)
			if err != nil {
				t.Fatal(err)
			}
			if !first {
				if err := v.Replace(t.Context(), old, layerOf("one", "two")); err != nil {
					t.Fatal(err)
				}
			}
			kill(t, dir, next, n)
			v, err = OpenVolume(dir)
			if err != nil {
				t.Fatal(err)
			}
			if w := v.Warnings(); len(w) > 0 {
				t.Errorf("after %d steps: %q", n, w)
			}
			want, has := old, []string{"one", "two"}
			switch {
			case n >= steps-1:
				want, has = next, []string{"two", "three"}
			case first:
				want, has = cnb.CacheMetadata{}, nil
			}
			if got := v.Metadata(); !reflect.DeepEqual(got, want) {
				t.Errorf("after %d steps: metadata %+v, want %+v", n, got, want)
			}
			for _, text := range has {
				check(t, v, text)
			}
			if err := v.Replace(t.Context(), next, layerOf("two", "three")); err != nil {
				t.Errorf("after %d steps, again: %v", n, err)
			}
			check(t, v, "two")
			check(t, v, "three")
			names, err := os.ReadDir(dir)
			if err != nil || len(names) != 1 {
				t.Errorf("after %d steps, again: %v, %v", n, names, err)
			}
		}
	}
}

// kill does the first n steps of a Replace.
func kill(t *testing.T, dir string, md cnb.CacheMetadata, n int) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ids, err := layersOf(md)
	if err != nil {
		t.Fatal(err)
	}
	text, err := encodeMetadata(md)
	if err != nil {
		t.Fatal(err)
	}
	r := &replacement{root: root, ids: ids, text: text, layer: layerOf("two", "three")}
	for _, step := range r.steps()[:n] {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func check(t *testing.T, v *Volume, text string) {
	t.Helper()
	rc, err := v.Open(t.Context(), idOf(text))
	if err != nil {
		t.Error(err)
		return
	}
	defer rc.Close()
	if b, err := io.ReadAll(rc); err != nil || !bytes.Equal(b, []byte(text)) {
		t.Errorf("layer %s: %q, %v", text, b, err)
	}
}

// TestReplaceLocked does not wait for ever for who holds the lock, and readers do not wait at all.
func TestReplaceLocked(t *testing.T) {
	dir := t.TempDir()
	v, err := OpenVolume(dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	unlock, err := lock(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	if _, err := OpenVolume(dir); err != nil || time.Since(started) > 10*time.Second {
		t.Errorf("opened after %s: %v", time.Since(started), err)
	}
	v.lockTime = 100 * time.Millisecond
	if err := v.Replace(t.Context(), mdOf("one"), layerOf("one")); err == nil || !strings.Contains(err.Error(), "another build writes it") {
		t.Errorf("replaced what is locked: %v", err)
	}
	v.lockTime = lockTime
	go func() {
		time.Sleep(200 * time.Millisecond)
		unlock()
	}()
	if err := v.Replace(t.Context(), mdOf("one"), layerOf("one")); err != nil {
		t.Error(err)
	}
	check(t, v, "one")
}

// TestReplaceTurns has builds that end at once write one after the other.
func TestReplaceTurns(t *testing.T) {
	dir := t.TempDir()
	texts := []string{"one", "two", "three", "four"}
	done := make(chan error, len(texts)) // room for all, so that none waits for the test
	for _, text := range texts {
		go func() {
			v, err := OpenVolume(dir)
			if err == nil {
				err = v.Replace(context.Background(), mdOf(text), layerOf(text))
			}
			done <- err
		}()
	}
	for range texts {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	v, err := OpenVolume(dir)
	if err != nil || len(v.Warnings()) > 0 || len(v.Metadata().Buildpacks) != 1 {
		t.Fatalf("%v, %q, %+v", err, v.Warnings(), v.Metadata())
	}
	for text := range v.Metadata().Buildpacks[0].Layers {
		check(t, v, text)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "committed", "*.tar")); err != nil || len(files) != 1 {
		t.Errorf("%q, %v", files, err)
	}
}

// TestLinkExchanged does not take over what is no file by the time it is linked.
func TestLinkExchanged(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	id := idOf("x")
	for _, d := range []string{committedDir, stagingDir} {
		if err := root.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.Symlink("/etc/passwd", tarName(committedDir, id)); err != nil {
		t.Fatal(err)
	}
	r := &replacement{root: root}
	if r.link(id) {
		t.Error("a link was taken over")
	}
}
