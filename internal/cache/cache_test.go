package cache_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
)

// A content is the tar of a layer, and counts how often it is opened.
type content struct {
	id    string
	tar   []byte
	opens atomic.Int64
}

// contentOf is a layer with one file.
func contentOf(text string) *content {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "/layers/test_one/l/file", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		panic(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return &content{id: "sha256:" + hex.EncodeToString(sum[:]), tar: b.Bytes()}
}

func (c *content) layer(t testing.TB) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		c.opens.Add(1)
		return io.NopCloser(bytes.NewReader(c.tar)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// metadata is one buildpack's, with the first content in layer "a", the second in "b" and so on.
func metadata(cs ...*content) cnb.CacheMetadata {
	layers := map[string]cnb.LayerMetadata{}
	for i, c := range cs {
		layers[string(rune('a'+i))] = cnb.LayerMetadata{SHA: c.id, LayerMetadataFile: cnb.LayerMetadataFile{Data: map[string]any{"of": "<test>"}, Cache: true}}
	}
	return cnb.CacheMetadata{Buildpacks: []cnb.BuildpackLayers{{ID: "test/one", Version: "1.0", Layers: layers}}}
}

// from gives the contents, and fails the test where another layer is asked for.
func from(t testing.TB, cs ...*content) func(string) (v1.Layer, error) {
	return func(id string) (v1.Layer, error) {
		for _, c := range cs {
			if c.id == id {
				return c.layer(t), nil
			}
		}
		t.Errorf("layer %s was asked for", id)
		return nil, errors.New("not expected")
	}
}

func replace(t testing.TB, c cache.Cache, md cnb.CacheMetadata, layer func(string) (v1.Layer, error)) {
	t.Helper()
	if err := c.Replace(t.Context(), md, layer); err != nil {
		t.Fatal(err)
	}
}

func openVolume(t testing.TB, dir string) *cache.Volume {
	t.Helper()
	v, err := cache.OpenVolume(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// holds checks that a cache has exactly md and the contents, by reading them.
func holds(t testing.TB, c cache.Cache, md cnb.CacheMetadata, cs ...*content) {
	t.Helper()
	if got := c.Metadata(); !reflect.DeepEqual(got, md) {
		t.Errorf("%s: metadata %+v, want %+v", c.Name(), got, md)
	}
	for _, want := range cs {
		rc, err := c.Open(t.Context(), want.id)
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := io.ReadAll(rc)
		if err := errors.Join(err, rc.Close()); err != nil || !bytes.Equal(b, want.tar) {
			t.Errorf("%s: layer %s: %d bytes, %v", c.Name(), want.id, len(b), err)
		}
	}
}

func warned(t testing.TB, c cache.Cache, want ...string) {
	t.Helper()
	got := c.Warnings()
	if len(got) != len(want) {
		t.Errorf("%s: warnings %q, want %q", c.Name(), got, want)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s: warning %q, want %q", c.Name(), got[i], want[i])
		}
	}
}

// tree is the names of all that is below dir.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
