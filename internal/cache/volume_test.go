package cache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/layerstore"
)

const metadataFile = "io.buildpacks.lifecycle.cache.metadata"

func tarFile(dir string, c *content) string { return filepath.Join(dir, "committed", c.id+".tar") }

// TestVolumeFormat looks at the files: names, bytes, modes, owner.
func TestVolumeFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 { // what root writes belongs to whom the directory belongs to
		uid = 1234
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	a, b, sbom := contentOf("a"), contentOf("b"), contentOf("sbom")
	md := metadata(b, a, b)
	md.BOM.SHA = sbom.id
	md.Buildpacks = append(md.Buildpacks, cnb.BuildpackLayers{ID: "test/two", Version: "2", Layers: map[string]cnb.LayerMetadata{}})
	v := openVolume(t, dir)
	if v.Name() != dir || !v.Exists() {
		t.Errorf("a new volume: %s, %v", v.Name(), v.Exists())
	}
	replace(t, v, md, from(t, a, b, sbom))
	holds(t, v, md, a, b, sbom)

	want := []string{"committed", "committed/" + metadataFile}
	for _, c := range []*content{a, b, sbom} {
		want = append(want, "committed/"+c.id+".tar")
		got, err := os.ReadFile(tarFile(dir, c))
		if err != nil || !bytes.Equal(got, c.tar) {
			t.Errorf("%s: %v", tarFile(dir, c), err)
		}
	}
	slices.Sort(want)
	if got := tree(t, dir); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	for _, name := range want {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		umask := os.FileMode(syscall.Umask(0o22))
		syscall.Umask(int(umask))
		mode := 0o666 &^ umask
		if fi.IsDir() {
			mode = 0o777 &^ umask
		}
		if fi.Mode().Perm() != mode || int(fi.Sys().(*syscall.Stat_t).Uid) != uid {
			t.Errorf("%s: mode %s, owner %d", name, fi.Mode(), fi.Sys().(*syscall.Stat_t).Uid)
		}
	}
	text := `{"sbom":{"sha":"SBOM"},"buildpacks":[{"key":"test/one","version":"1.0","layers":{` +
		`"a":{"sha":"B","data":{"of":"\u003ctest\u003e"},"build":false,"launch":false,"cache":true},` +
		`"b":{"sha":"A","data":{"of":"\u003ctest\u003e"},"build":false,"launch":false,"cache":true},` +
		`"c":{"sha":"B","data":{"of":"\u003ctest\u003e"},"build":false,"launch":false,"cache":true}}},` +
		`{"key":"test/two","version":"2","layers":{}}]}` + "\n"
	text = strings.NewReplacer(`"A"`, `"`+a.id+`"`, `"B"`, `"`+b.id+`"`, `"SBOM"`, `"`+sbom.id+`"`).Replace(text)
	if got, err := os.ReadFile(filepath.Join(dir, "committed", metadataFile)); err != nil || string(got) != text {
		t.Errorf("metadata %v\n%s, want\n%s", err, got, text)
	}
	again := openVolume(t, dir)
	holds(t, again, md, a, b, sbom)
	warned(t, again)
}

// TestVolumeReuse takes unchanged layers over without reading or writing them.
func TestVolumeReuse(t *testing.T) {
	dir := t.TempDir()
	a, b, c := contentOf("a"), contentOf("b"), contentOf("c")
	replace(t, openVolume(t, dir), metadata(a, b), from(t, a, b))
	before := stat(t, tarFile(dir, a))
	a.opens.Store(0)

	v := openVolume(t, dir)
	replace(t, v, metadata(a, c), from(t, c))
	holds(t, openVolume(t, dir), metadata(a, c), a, c)
	if !os.SameFile(before, stat(t, tarFile(dir, a))) {
		t.Error("an unchanged layer was written again")
	}
	if v.HasLayer(b.id) || !v.HasLayer(a.id) || !v.HasLayer(c.id) {
		t.Error("the volume has other layers than its metadata")
	}
	if n := a.opens.Load(); n != 0 {
		t.Errorf("an unchanged layer was opened %d times", n)
	}
	// With nothing changed, nothing is written at all.
	file := stat(t, filepath.Join(dir, "committed", metadataFile))
	replace(t, v, metadata(a, c), from(t))
	if !os.SameFile(file, stat(t, filepath.Join(dir, "committed", metadataFile))) {
		t.Error("unchanged metadata was written again")
	}
	// What does not belong there is no reason to keep a cache.
	write(t, filepath.Join(dir, "committed", "stray"), "")
	replace(t, v, metadata(a, c), from(t))
	if _, err := os.Stat(filepath.Join(dir, "committed", "stray")); err == nil {
		t.Error("a stray file is still there")
	}
	replace(t, v, cnb.CacheMetadata{}, from(t))
	if got := tree(t, dir); !slices.Equal(got, []string{"committed", "committed/" + metadataFile}) {
		t.Errorf("an empty cache has %q", got)
	}
}

func stat(t testing.TB, path string) os.FileInfo {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// TestVolumeErrors leaves the cache as it was.
func TestVolumeErrors(t *testing.T) {
	dir := t.TempDir()
	a, b, c := contentOf("a"), contentOf("b"), contentOf("c")
	v := openVolume(t, dir)
	replace(t, v, metadata(a), from(t, a))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	wrong := func(string) (v1.Layer, error) { return c.layer(t), nil }
	for _, tc := range []struct {
		what  string
		ctx   context.Context
		md    cnb.CacheMetadata
		layer func(string) (v1.Layer, error)
		want  string
	}{
		{"another layer", t.Context(), metadata(a, b), wrong, "its contents are of " + c.id},
		{"no layer", t.Context(), metadata(b), func(string) (v1.Layer, error) { return nil, errors.New("gone") }, "gone"},
		{"cancelled", cancelled, metadata(b), from(t, b), "canceled"},
		{"no digest", t.Context(), metadata(&content{id: "../../etc"}), from(t), "not a sha256 digest"},
	} {
		if err := v.Replace(tc.ctx, tc.md, tc.layer); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.what, err)
		}
		holds(t, openVolume(t, dir), metadata(a), a)
		holds(t, v, metadata(a), a)
		if got := tree(t, dir); len(got) != 3 {
			t.Errorf("%s: files %q", tc.what, got)
		}
	}
	if _, err := v.Open(cancelled, a.id); !errors.Is(err, context.Canceled) {
		t.Errorf("open, cancelled: %v", err)
	}
	if _, err := cache.OpenVolume(tarFile(dir, a)); err == nil {
		t.Error("a file was opened as a volume")
	}
}

// TestVolumeLeavings opens what processes that died have left, of either engine.
func TestVolumeLeavings(t *testing.T) {
	a, b := contentOf("a"), contentOf("b")
	for _, tc := range []struct {
		what  string
		leave func(dir string)
		had   []*content
		warn  []string
	}{
		{"staging", func(dir string) {
			write(t, filepath.Join(dir, "staging", b.id+".tar"), "half")
			write(t, filepath.Join(dir, "staging", metadataFile), "{")
		}, []*content{a, b}, nil},
		{"staging is a file", func(dir string) { write(t, filepath.Join(dir, "staging"), "") }, []*content{a, b}, nil},
		{"old backup", func(dir string) { write(t, filepath.Join(dir, "committed-backup", a.id+".tar"), "old") }, []*content{a, b}, nil},
		{"moved aside", func(dir string) {
			rename(t, filepath.Join(dir, "committed"), filepath.Join(dir, "committed-backup"))
			write(t, filepath.Join(dir, "staging", metadataFile), "{}")
		}, []*content{a, b}, nil},
		{"no tar", func(dir string) { remove(t, tarFile(dir, b)) }, []*content{a}, []string{"lacks the contents of layer test/one:b"}},
		{"empty tar", func(dir string) { write(t, tarFile(dir, b), "") }, []*content{a}, []string{"lacks the contents of layer test/one:b"}},
		{"no metadata", func(dir string) { remove(t, filepath.Join(dir, "committed", metadataFile)) }, nil, nil},
		{"broken metadata", func(dir string) { write(t, filepath.Join(dir, "committed", metadataFile), `{"sbom":`) }, nil, []string{"is not used"}},
		{"empty metadata", func(dir string) { write(t, filepath.Join(dir, "committed", metadataFile), "") }, nil, []string{"is not used"}},
		{"only staging", func(dir string) {
			rename(t, filepath.Join(dir, "committed"), filepath.Join(dir, "staging"))
		}, nil, nil},
	} {
		dir := t.TempDir()
		replace(t, openVolume(t, dir), metadata(a, b), from(t, a, b))
		tc.leave(dir)
		v := openVolume(t, dir)
		warned(t, v, tc.warn...)
		md := metadata(tc.had...)
		if tc.had == nil {
			md = cnb.CacheMetadata{}
		}
		holds(t, v, md, tc.had...)
		replace(t, v, metadata(a, b), from(t, a, b))
		again := openVolume(t, dir)
		holds(t, again, metadata(a, b), a, b)
		warned(t, again)
		if got := tree(t, dir); len(got) != 4 {
			t.Errorf("%s: files %q", tc.what, got)
		}
	}
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// TestVolumeDrop has damaged contents written anew.
func TestVolumeDrop(t *testing.T) {
	dir := t.TempDir()
	a, b := contentOf("a"), contentOf("b")
	v := openVolume(t, dir)
	replace(t, v, metadata(a, b), from(t, a, b))
	write(t, tarFile(dir, b), "damaged")
	if err := v.Drop(b.id); err != nil {
		t.Fatal(err)
	}
	holds(t, v, metadata(a), a)
	if err := v.Drop("../../x"); err == nil {
		t.Error("dropped what is no layer")
	}
	replace(t, v, metadata(a, b), from(t, b))
	holds(t, openVolume(t, dir), metadata(a, b), a, b)
}

// TestLaunchCache keeps the layers of an app image and makes layers of them again.
func TestLaunchCache(t *testing.T) {
	dir := t.TempDir()
	a, b := contentOf("a"), contentOf(strings.Repeat("b", 3<<20))
	v := openVolume(t, dir)
	if v.HasLayer(a.id) {
		t.Error("an empty cache has a layer")
	}
	if err := v.ReplaceLayers(t.Context(), []string{a.id, b.id, a.id}, from(t, a, b)); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) != 3 {
		t.Errorf("files %q", got)
	}
	v = openVolume(t, dir)
	warned(t, v)
	l, err := v.Layer(b.id)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Layer(l); err != nil {
		t.Error(err)
	}
	var packed bytes.Buffer
	z := layerstore.NewEncoder(&packed)
	if _, err := z.Write(b.tar); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	want, _, err := v1.SHA256(&packed)
	if got, gerr := l.Digest(); err != nil || gerr != nil || got != want {
		t.Errorf("digest %s, %v, %v; want that of every other layer, %s", got, err, gerr, want)
	}
	rc, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil { // unread
		t.Error(err)
	}
	// A half-present cache, and a damaged one, are a miss.
	write(t, tarFile(dir, b), string(b.tar[:len(b.tar)-512]))
	if _, err := v.Layer(b.id); err == nil || v.HasLayer(b.id) {
		t.Errorf("a damaged layer: %v, is there: %v", err, v.HasLayer(b.id))
	}
	if _, err := v.Layer(b.id); err == nil {
		t.Error("a layer that is gone was found")
	}
	if err := v.ReplaceLayers(t.Context(), []string{a.id, b.id}, from(t, b)); err != nil || !v.HasLayer(b.id) {
		t.Errorf("filled again: %v", err)
	}
}

// TestVolumeMetadataRoundTrip keeps numbers and store.toml as another engine wrote them.
func TestVolumeMetadataRoundTrip(t *testing.T) {
	dir := t.TempDir()
	a := contentOf("a")
	text := `{"sbom":{"sha":""},"buildpacks":[{"key":"test/one","version":"1","layers":{"a":{"sha":"` + a.id +
		`","data":{"big":9007199254740993,"f":1.50},"build":true,"launch":false,"cache":true}},"store":{"metadata":{"n":1}}}]}` + "\n"
	write(t, tarFile(dir, a), string(a.tar))
	write(t, filepath.Join(dir, "committed", metadataFile), text)
	v := openVolume(t, dir)
	got, err := json.Marshal(v.Metadata())
	if err != nil || string(got)+"\n" != text {
		t.Errorf("%v\n%s, want\n%s", err, got, text)
	}
}

// TestVolumeVerify: a layer that is not what its name says is told and dropped, and the next Replace writes it anew.
func TestVolumeVerify(t *testing.T) {
	dir := t.TempDir()
	v := openVolume(t, dir)
	one, two := contentOf("one"), contentOf("two")
	md := metadata(one, two)
	replace(t, v, md, from(t, one, two))
	write(t, tarFile(dir, one), "other")
	if err := v.Verify(t.Context(), two.id); err != nil {
		t.Error(err)
	}
	err := v.Verify(t.Context(), one.id)
	if err == nil || !strings.Contains(err.Error(), "expected layer contents to have SHA '"+one.id+"'; found 'sha256:") {
		t.Errorf("error %v", err)
	}
	replace(t, v, md, from(t, one))
	holds(t, v, md, one, two)
}
