package rootfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// FuzzAdd: whatever a layer's tar holds, nothing appears outside the store, and what is refused leaves nothing in it.
func FuzzAdd(f *testing.F) {
	for _, h := range []tar.Header{
		{Name: "a/b", Typeflag: tar.TypeReg, Size: 1}, {Name: "../x", Typeflag: tar.TypeReg}, {Name: "l", Linkname: "/", Typeflag: tar.TypeSymlink},
		{Name: ".wh.a", Typeflag: tar.TypeReg}, {Name: "h", Linkname: "a/b", Typeflag: tar.TypeLink}, {Name: "d/", Typeflag: tar.TypeDir, Mode: 0o7777},
		{Name: "c", Typeflag: tar.TypeChar}, {Name: "p", Typeflag: tar.TypeFifo}, {Name: "x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v"}},
	} {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for range 2 {
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				f.Fatal(err)
			}
		}
		w.Close()
		f.Add(buf.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		if err != nil {
			return // not even bytes that can be hashed
		}
		s := open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = s.Add(ctx, imageOf(t, l))
		if names, _ := os.ReadDir(filepath.Dir(s.Dir())); len(names) != 1 {
			t.Errorf("beside the store: %v", names)
		}
		if err == nil {
			return
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %q", err)
		}
		for _, d := range []string{"layers", "images", "staging"} {
			if names, _ := os.ReadDir(filepath.Join(s.Dir(), d)); len(names) > 0 {
				t.Errorf("refused (%v), but left in %s: %v", err, d, names)
			}
		}
	})
}
