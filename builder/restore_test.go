package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

// memCache is a cache in memory.
type memCache struct {
	metadata cnb.CacheMetadata
	blobs    map[string][]byte
}

func (c memCache) Metadata() cnb.CacheMetadata { return c.metadata }

func (c memCache) Open(_ context.Context, diffID string) (io.ReadCloser, error) {
	b, ok := c.blobs[diffID]
	if !ok {
		return nil, errors.New("not in the cache")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func diffIDOf(b []byte) string {
	h := sha256.New()
	h.Write(b)
	return sum(h)
}

// cacheOf is the cache that an export leaves.
func cacheOf(t *testing.T, b *buildDir, ex *Exported) memCache {
	t.Helper()
	c := memCache{metadata: *ex.Cache, blobs: map[string][]byte{}}
	for _, l := range ex.CacheLayers {
		c.blobs[l.DiffID] = blobOf(t, b, l.DiffID)
	}
	return c
}

func blobOf(t *testing.T, b *buildDir, diffID string) []byte {
	t.Helper()
	l, err := b.sink.Get(diffID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// listing is every path below dir with what it is: "d", contents, or "-> target".
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			out[rel] = "d"
		case d.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(p)
			out[rel] = "-> " + target
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			out[rel] = string(b)
			return err
		default:
			out[rel] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	b := sample(t)
	if err := os.Chmod(b.Host("/layers/a_b/both/bin/tool"), 0o751); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(b.Host("/layers/a_b/both/bin"), 0o555); err != nil {
		t.Fatal(err)
	}
	writable := func(b *buildDir) {
		t.Cleanup(func() { os.Chmod(b.Host("/layers/a_b/both/bin"), 0o755) }) // or the directory cannot be removed
	}
	writable(b)
	ex := b.export(t, nil)
	img := b.compose(t, runImage(t), ex, nil)
	var events []Event
	analyzed, err := Analyze(AnalyzeInput{
		PlatformAPI: cnb.NewestPlatformAPI, Previous: img, PreviousReference: "app@sha256:0", Run: runImage(t), RunReference: "r", RunName: "r",
		Emit: func(e Event) { events = append(events, e) },
	})
	if err != nil || len(events) > 0 {
		t.Fatalf("%v, %v", err, events)
	}
	next := newBuildDir(t)
	writable(next)
	if err := os.Chmod(next.Host("/layers"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = Restore(t.Context(), RestoreInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: next.Dirs, Group: b.group, Previous: analyzed.Metadata, Cache: cacheOf(t, b, ex),
		SBOM: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(blobOf(t, b, analyzed.Metadata.BOM.SHA))), nil
		},
		Emit: func(e Event) { events = append(events, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a_b": "d", "a_b/both": "d", "a_b/both/bin": "d", "a_b/both/lib": "d", "a_b/cached": "d",
		"a_b/both/bin/tool": "a_b/both/bin/tool", "a_b/both/hard": "a_b/both/bin/tool", "a_b/both/lib/x": "-> ../bin/tool", "a_b/cached/data": "a_b/cached/data",
		"a_b/both.toml": "[metadata]\n  v = \"1\"\n", "a_b/cached.toml": "[metadata]\n  n = 3\n", "a_b/launched.toml": "",
		"a_b/store.toml":         "[metadata]\n  k = \"v\"\n",
		"a_b/both.sbom.cdx.json": "a_b/both.sbom.cdx.json", "a_b/launched.sbom.spdx.json": "a_b/launched.sbom.spdx.json",
	}
	got := listing(t, next.Host("/layers"))
	for _, p := range sortedKeys(want) {
		if g, ok := got[p]; !ok || g != want[p] {
			t.Errorf("%s is %q, want %q", p, g, want[p])
		}
		delete(got, p)
	}
	if len(got) > 0 {
		t.Errorf("too much: %q", got)
	}
	for p, mode := range map[string]fs.FileMode{"bin/tool": 0o751, "bin": 0o555 | fs.ModeDir} {
		if fi, err := os.Lstat(next.Host("/layers/a_b/both/" + p)); err != nil || fi.Mode() != mode {
			t.Errorf("%s: %v, %v", p, fi.Mode(), err)
		}
	}
	for _, e := range events {
		if e.Kind == EventWarning {
			t.Errorf("warning: %s", e.Text)
		}
	}
	// What came back is what was there: the next export of it gives the same layers.
	next.group, next.built = b.group, b.built
	put(t, next.Host("/layers"), "a_b/launched/f", "a_b/build.sbom.syft.json")
	put(t, next.Host("/workspace"), "app.js", "static/logo", "a/x", "a-b/y")
	again := next.export(t, nil)
	for i, l := range again.Layers {
		if l.DiffID != ex.Layers[i].DiffID {
			t.Errorf("%s changed", l.ID)
		}
	}
}

// layerMeta is metadata with the types given as letters.
func layerMeta(types, sha string) cnb.LayerMetadata {
	return cnb.LayerMetadata{SHA: sha, LayerMetadataFile: cnb.LayerMetadataFile{
		Launch: strings.Contains(types, "l"), Build: strings.Contains(types, "b"), Cache: strings.Contains(types, "c"),
	}}
}

func metaOf(layers map[string]cnb.LayerMetadata) []cnb.BuildpackLayers {
	return []cnb.BuildpackLayers{{ID: "bp", Version: "1", Layers: layers}}
}

var bpGroup = cnb.Group{Elements: []cnb.GroupElement{{Ref: cnb.Ref{ID: "bp", Version: "1"}}}}

// tarWith is a tar with the directories /layers and /layers/bp and then hs; a regular file holds its own name.
func tarWith(t testing.TB, hs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range append([]tar.Header{{Typeflag: tar.TypeDir, Name: "/layers", Mode: 0o755}, {Typeflag: tar.TypeDir, Name: "/layers/bp", Mode: 0o755}}, hs...) {
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = int64(len(h.Name))
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(tw, h.Name)
		}
	}
	tw.Close()
	return b.Bytes()
}

func dirHdr(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}
func fileHdr(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}
}
func linkHdr(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}
}

func TestRestoreTable(t *testing.T) {
	blob := tarWith(t, dirHdr("/layers/bp/x"), fileHdr("/layers/bp/x/f"))
	sha := diffIDOf(blob)
	other := "sha256:" + strings.Repeat("0", 64)
	const toml, data = "toml", "data"
	for _, c := range []struct {
		name       string
		app, cache string // types; "" is absent
		appSHA     string
		api        cnb.API
		want       []string
	}{
		{"launch", "l", "", sha, cnb.NewestPlatformAPI, []string{toml}},
		{"launch and build", "lb", "", sha, cnb.NewestPlatformAPI, nil},
		{"launch and cache", "lc", "lc", sha, cnb.NewestPlatformAPI, []string{toml, data}},
		{"all", "lbc", "lbc", sha, cnb.NewestPlatformAPI, []string{toml, data}},
		{"launch and cache, gone from the cache", "lc", "", sha, cnb.NewestPlatformAPI, nil},
		{"launch and cache, other contents in the cache", "lc", "lc", other, cnb.NewestPlatformAPI, nil},
		{"launch and cache, gone from the image", "", "lc", "", cnb.NewestPlatformAPI, []string{toml, data}},
		{"launch and cache, gone from the image, before 0.14", "", "lc", "", cnb.API{Major: 0, Minor: 13}, nil},
		{"cache", "", "c", "", cnb.NewestPlatformAPI, []string{toml, data}},
		{"build and cache", "", "bc", "", cnb.API{Major: 0, Minor: 7}, []string{toml, data}},
		{"build, in the cache by mistake", "", "b", "", cnb.NewestPlatformAPI, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuildDir(t)
			in := RestoreInput{PlatformAPI: c.api, Dirs: b.Dirs, Group: bpGroup}
			if c.app != "" {
				in.Previous.Buildpacks = metaOf(map[string]cnb.LayerMetadata{"x": layerMeta(c.app, c.appSHA)})
			}
			cache := memCache{blobs: map[string][]byte{sha: blob}}
			if c.cache != "" {
				cache.metadata.Buildpacks = metaOf(map[string]cnb.LayerMetadata{"x": layerMeta(c.cache, sha)})
			}
			in.Cache = cache
			if err := Restore(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			got := listing(t, b.Host("/layers"))
			_, hasTOML := got["bp/x.toml"]
			_, hasData := got["bp/x/f"]
			if hasTOML != slices.Contains(c.want, toml) || hasData != slices.Contains(c.want, data) {
				t.Errorf("got %q, want %v", got, c.want)
			}
		})
	}
}

func TestRestoreOnlyTheGroup(t *testing.T) {
	b := newBuildDir(t)
	meta := []cnb.BuildpackLayers{
		{ID: "gone", Layers: map[string]cnb.LayerMetadata{"x": layerMeta("l", "")}, Store: &cnb.StoreTOML{}},
		{ID: "bp", Layers: map[string]cnb.LayerMetadata{"../../x": layerMeta("l", ""), "build": layerMeta("l", ""), "ok": layerMeta("l", "")}},
	}
	if err := Restore(t.Context(), RestoreInput{PlatformAPI: cnb.NewestPlatformAPI, Dirs: b.Dirs, Group: bpGroup, Previous: cnb.LayersMetadata{Buildpacks: meta}}); err != nil {
		t.Fatal(err)
	}
	if got := sortedKeys(listing(t, b.Root)); !slices.Equal(got, []string{"launcher", "layers", "layers/bp", "layers/bp/ok.toml", "workspace"}) {
		t.Errorf("%q", got)
	}
}

func TestRestoreOwners(t *testing.T) {
	b := newBuildDir(t)
	if b.UID == 0 {
		b.UID, b.GID = 1234, 1235 // only root can give files away
	}
	blob := tarWith(t, dirHdr("/layers/bp/x"), dirHdr("/layers/bp/x/d"), fileHdr("/layers/bp/x/d/f"), linkHdr("/layers/bp/x/l", "/nowhere"),
		tar.Header{Typeflag: tar.TypeFifo, Name: "/layers/bp/x/p", Mode: 0o644})
	if w := restoreOne(t, b, diffIDOf(blob), blob); w != "" {
		t.Fatal(w)
	}
	for _, p := range []string{"", ".toml", "/d", "/d/f", "/l", "/p"} {
		fi, err := os.Lstat(b.Host("/layers/bp/x" + p))
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != b.UID || int(st.Gid) != b.GID {
			t.Errorf("x%s belongs to %d:%d", p, st.Uid, st.Gid)
		}
	}
}

func TestRestoreSkipLayers(t *testing.T) {
	b := sample(t)
	ex := b.export(t, nil)
	next := newBuildDir(t)
	err := Restore(t.Context(), RestoreInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: next.Dirs, Group: b.group, Previous: ex.Metadata, Cache: cacheOf(t, b, ex), SkipLayers: true,
		SBOM: func(context.Context) (io.ReadCloser, error) { return nil, errors.New("asked for") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := sortedKeys(listing(t, next.Host("/layers"))); !slices.Equal(got, []string{"a_b", "a_b/store.toml"}) {
		t.Errorf("%q", got)
	}
}

func TestRestoreSBOMs(t *testing.T) {
	blob := tarWith(t, fileHdr("/layers/sbom/launch/bp/x/sbom.cdx.json"), fileHdr("/layers/sbom/launch/bp/sbom.cdx.json"),
		fileHdr("/layers/sbom/launch/bp/../../../e/sbom.cdx.json"), fileHdr("/layers/sbom/launch/bp/x/sbom.evil.json"),
		fileHdr("/layers/sbom/launch/other/x/sbom.cdx.json"), linkHdr("/layers/sbom/launch/bp/y/sbom.cdx.json", "/etc/passwd"),
		fileHdr("/layers/sbom/launch/bp/build/sbom.spdx.json"))
	sha := diffIDOf(blob)
	for _, c := range []struct {
		name    string
		api     cnb.API
		blob    []byte
		want    []string
		warning bool
	}{
		{"good", cnb.NewestPlatformAPI, blob, []string{"bp", "bp/x.sbom.cdx.json", "bp/x.toml"}, false},
		{"before 0.8", cnb.OldestPlatformAPI, blob, []string{"bp", "bp/x.toml"}, false},
		{"damaged", cnb.NewestPlatformAPI, blob[:1024], []string{"bp", "bp/x.toml"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuildDir(t)
			warned := false
			err := Restore(t.Context(), RestoreInput{
				PlatformAPI: c.api, Dirs: b.Dirs, Group: bpGroup,
				Previous: cnb.LayersMetadata{BOM: &cnb.LayerSHA{SHA: sha}, Buildpacks: metaOf(map[string]cnb.LayerMetadata{"x": layerMeta("l", sha)})},
				SBOM:     func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.blob)), nil },
				Emit:     func(e Event) { warned = warned || e.Kind == EventWarning },
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := sortedKeys(listing(t, b.Host("/layers"))); !slices.Equal(got, c.want) || warned != c.warning {
				t.Errorf("%q, warning %v", got, warned)
			}
		})
	}
}

func TestRestoreEndsWithItsContext(t *testing.T) {
	b := sample(t)
	ex := b.export(t, nil)
	next := newBuildDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Restore(ctx, RestoreInput{PlatformAPI: cnb.NewestPlatformAPI, Dirs: next.Dirs, Group: b.group, Previous: ex.Metadata, Cache: cacheOf(t, b, ex)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
