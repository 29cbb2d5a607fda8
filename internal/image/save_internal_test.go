package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// archiveEngine answers Save with given bytes; nothing else is asked of it.
type archiveEngine struct {
	Engine
	b   []byte
	err error
}

func (a archiveEngine) Save(_ context.Context, _ []string, w io.Writer) error {
	_, err := w.Write(a.b)
	return errors.Join(a.err, err)
}

type entry struct {
	name, link string
	b          []byte
}

func archiveOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.b)), Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(e.b); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func hashOf(t *testing.T, s string) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The archives of engines differ: what each writes for one image of two equal layers.
func TestSavedArchives(t *testing.T) {
	layer := archiveOf(t, entry{name: "file", b: []byte("content")})
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%q,%q]}}`, sum(layer), sum(layer))
	id := sum(config)
	table := func(config string, layers ...string) []byte {
		b, err := json.Marshal([]legacyManifest{{Config: config, RepoTags: nil, Layers: layers}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := z.EncodeAll(layer, nil)
	desc := v1.Descriptor{MediaType: types.OCILayerZStd, Digest: hashOf(t, sum(packed)), Size: int64(len(packed))}
	manifest, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{desc, desc},
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hashOf(t, id), Size: int64(len(config))}})
	if err != nil {
		t.Fatal(err)
	}
	hex := func(s string) string { return strings.TrimPrefix(s, "sha256:") }
	tests := []struct {
		name, id string
		entries  []entry
		err      string
	}{
		{name: "classic with a linked layer", id: id, entries: []entry{
			{name: "one/VERSION", b: []byte("1.0")}, {name: "one/json", b: []byte("{}")}, {name: "one/layer.tar", b: layer},
			{name: "two/layer.tar", link: "../one/layer.tar"}, {name: hex(id) + ".json", b: config},
			{name: "manifest.json", b: table(hex(id)+".json", "one/layer.tar", "two/layer.tar")}, {name: "repositories", b: []byte("{}")}}},
		{name: "classic as a layout", id: id, entries: []entry{
			{name: blobName(sum(layer)), b: layer}, {name: blobName(id), b: config}, {name: "index.json", b: []byte("{}")},
			{name: "manifest.json", b: table(blobName(id), blobName(sum(layer)), blobName(sum(layer)))}}},
		{name: "containerd", id: sum(manifest), entries: []entry{
			{name: blobName(sum(packed)), b: packed}, {name: blobName(id), b: config}, {name: blobName(sum(manifest)), b: manifest},
			{name: "manifest.json", b: table(blobName(id), blobName(sum(packed)))}}},
		{name: "containerd without a layer", id: sum(manifest), err: "lacks layer", entries: []entry{
			{name: blobName(id), b: config}, {name: blobName(sum(manifest)), b: manifest}, {name: "manifest.json", b: []byte("[]")}}},
		{name: "another image", id: sum(nil), err: "no config with digest", entries: []entry{
			{name: "l.tar", b: layer}, {name: "c", b: config}, {name: "manifest.json", b: table("c", "l.tar", "l.tar")}}},
		{name: "another layer", id: id, err: "is not " + sum(layer), entries: []entry{
			{name: "l.tar", b: archiveOf(t)}, {name: "c", b: config}, {name: "manifest.json", b: table("c", "l.tar", "l.tar")}}},
		{name: "a loop of links", id: id, err: "is not " + sum(layer), entries: []entry{
			{name: "a", link: "b"}, {name: "b", link: "a"}, {name: "c", b: config}, {name: "manifest.json", b: table("c", "a", "b")}}},
		{name: "too few layers", id: id, err: "has 1 layers, the config 2", entries: []entry{
			{name: "l.tar", b: layer}, {name: "c", b: config}, {name: "manifest.json", b: table("c", "l.tar")}}},
		{name: "nothing", id: id, err: "no readable manifest.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := layerstore.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			img, err := saveImage(t.Context(), archiveEngine{b: archiveOf(t, tt.entries...)}, tt.id, s, nil)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if raw, err := img.RawConfigFile(); err != nil || !bytes.Equal(raw, config) {
				t.Errorf("config %s, %v", raw, err)
			}
			ls, err := img.Layers()
			if err != nil || len(ls) != 2 {
				t.Fatal(ls, err)
			}
			rc, err := ls[1].Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, layer) {
				t.Errorf("layer: %v", err)
			}
		})
	}
	s, err := layerstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := saveImage(t.Context(), archiveEngine{err: errors.New("engine went away")}, id, s, nil); err == nil || !strings.Contains(err.Error(), "engine went away") {
		t.Errorf("an engine that breaks off: %v", err)
	}
	if _, err := saveImage(t.Context(), archiveEngine{b: archiveOf(t, tests[0].entries...)[:1500]}, id, s, nil); err == nil {
		t.Error("a truncated archive is accepted")
	}
}
