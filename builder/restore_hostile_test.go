package builder

import (
	"archive/tar"
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

func TestRestoreHostileCache(t *testing.T) {
	big := fileHdr("/layers/bp/x/f")
	root := dirHdr("/layers/bp/x")
	for _, c := range []struct {
		name    string
		entries []tar.Header
		want    string
	}{
		{"outside", []tar.Header{root, fileHdr("/etc/passwd")}, "lies outside of /layers/bp/x"},
		{"another layer", []tar.Header{root, fileHdr("/layers/bp/y/f")}, "lies outside"},
		{"another layer by prefix", []tar.Header{root, fileHdr("/layers/bp/xy")}, "lies outside"},
		{"dots", []tar.Header{root, fileHdr("/layers/bp/x/../y")}, "'..'"},
		{"through a link", []tar.Header{root, linkHdr("/layers/bp/x/d", "../../../outside"), fileHdr("/layers/bp/x/d/f")}, "file exists"},
		{"a link to the root", []tar.Header{root, linkHdr("/layers/bp/x/d", "/"), dirHdr("/layers/bp/x/d")}, "file exists"},
		{"file over a link", []tar.Header{root, linkHdr("/layers/bp/x/d", "../../../outside/f"), fileHdr("/layers/bp/x/d")}, "file exists"},
		{"the layer is a link", []tar.Header{linkHdr("/layers/bp/x", "/etc")}, "is not a directory"},
		{"a parent is a link", []tar.Header{linkHdr("/layers/bp", "/etc")}, "is not a directory"},
		{"hard link out", []tar.Header{root, {Typeflag: tar.TypeLink, Name: "/layers/bp/x/h", Linkname: "/etc/passwd"}}, "not in the layer"},
		{"hard link nowhere", []tar.Header{root, {Typeflag: tar.TypeLink, Name: "/layers/bp/x/h", Linkname: "/layers/bp/x/q/f"}}, "not in the layer"},
		{"device", []tar.Header{root, {Typeflag: tar.TypeChar, Name: "/layers/bp/x/null", Devmajor: 1, Devminor: 3}}, "no layer holds"},
		{"twice", []tar.Header{root, big, big}, "file exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuildDir(t)
			put(t, b.Root, "outside/")
			blob := tarWith(t, c.entries...)
			sha := diffIDOf(blob)
			warning := restoreOne(t, b, sha, blob)
			if !strings.Contains(warning, "layer bp:x is not restored from the cache") || !strings.Contains(warning, c.want) {
				t.Errorf("warning %q, want %q", warning, c.want)
			}
			if got := listing(t, b.Root); len(got) != 5 || got["layers/bp"] != "d" {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

// restoreOne restores the cached layer bp:x and returns the warning, if any.
func restoreOne(t testing.TB, b *buildDir, sha string, blob []byte) (warning string) {
	t.Helper()
	err := Restore(t.Context(), RestoreInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: b.Dirs, Group: bpGroup,
		Cache:  memCache{cnb.CacheMetadata{Buildpacks: metaOf(map[string]cnb.LayerMetadata{"x": layerMeta("c", sha)})}, map[string][]byte{sha: blob}},
		Limits: Limits{Bytes: 1 << 20, Entries: 1000},
		Emit: func(e Event) {
			if e.Kind == EventWarning {
				warning += e.Text
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return warning
}

func TestRestoreDamagedCache(t *testing.T) {
	good := tarWith(t, dirHdr("/layers/bp/x"), fileHdr("/layers/bp/x/f"))
	changed := bytes.Clone(good)
	changed[bytes.LastIndex(changed, []byte("/layers/bp/x/f"))] = '!' // in the file's contents
	large := fileHdr("/layers/bp/x/f")
	large.Size = 1 << 40
	var huge bytes.Buffer
	tw := tar.NewWriter(&huge)
	tw.WriteHeader(&large)
	for _, c := range []struct {
		name string
		sha  string
		blob []byte
		want string
	}{
		{"changed", diffIDOf(good), changed, "the cache is damaged: contents are sha256:"},
		{"cut", diffIDOf(good), good[:len(good)-2000], "unexpected EOF"},
		{"longer", diffIDOf(good), append(bytes.Clone(good), 'x'), "the cache is damaged"},
		{"empty", diffIDOf(good), nil, "the cache is damaged"},
		{"no tar", diffIDOf([]byte("x")), bytes.Repeat([]byte("x"), 5000), "read its tar"},
		{"bad diffID", "../../x", good, "no valid diffID"},
		{"a terabyte", diffIDOf(huge.Bytes()), huge.Bytes(), "larger than the limit of 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuildDir(t)
			if w := restoreOne(t, b, c.sha, c.blob); !strings.Contains(w, c.want) {
				t.Errorf("warning %q, want %q", w, c.want)
			}
			if got := listing(t, b.Host("/layers")); len(got) != 1 {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

// dropCache is told what could not be restored.
type dropCache struct {
	memCache
	dropped *[]string
}

func (c dropCache) Drop(diffID string) error {
	*c.dropped = append(*c.dropped, diffID)
	return nil
}

// TestRestoreDrops tells the cache of contents that are damaged, and of no others.
func TestRestoreDrops(t *testing.T) {
	good := tarWith(t, dirHdr("/layers/bp/x"), fileHdr("/layers/bp/x/f"))
	bad, sbom := diffIDOf([]byte("bad")), diffIDOf([]byte("sbom"))
	layers := map[string]cnb.LayerMetadata{"x": layerMeta("c", diffIDOf(good)), "y": layerMeta("c", bad)}
	var dropped []string
	err := Restore(t.Context(), RestoreInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: newBuildDir(t).Dirs, Group: bpGroup,
		Cache: dropCache{memCache{
			cnb.CacheMetadata{BOM: cnb.LayerSHA{SHA: sbom}, Buildpacks: metaOf(layers)},
			map[string][]byte{diffIDOf(good): good, bad: good[:1024], sbom: good},
		}, &dropped},
	})
	if err != nil || !slices.Equal(dropped, []string{bad, sbom}) {
		t.Errorf("dropped %q, %v; want %q", dropped, err, []string{bad, sbom})
	}
}

// FuzzRestore makes sure that no tar in a cache puts anything outside of its layer.
func FuzzRestore(f *testing.F) {
	f.Add(tarWith(f, dirHdr("/layers/bp/x"), fileHdr("/layers/bp/x/f")))
	f.Add(tarWith(f, dirHdr("/layers/bp/x"), linkHdr("/layers/bp/x/d", ".."), fileHdr("/layers/bp/x/d/f")))
	f.Add(tarWith(f, dirHdr("/layers/bp/x/./y/"), tar.Header{Typeflag: tar.TypeLink, Name: "layers/bp/x/h", Linkname: "layers/bp/x/y"}))
	f.Fuzz(func(t *testing.T, blob []byte) {
		b := newBuildDir(t)
		restoreOne(t, b, diffIDOf(blob), blob)
		for p := range listing(t, b.Root) {
			if !slices.Contains([]string{"launcher", "layers", "layers/bp", "layers/bp/x", "layers/bp/x.toml", "workspace"}, p) && !strings.HasPrefix(p, "layers/bp/x/") {
				t.Errorf("%q was made", p)
			}
		}
	})
}
