package image_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/internal/image"
)

func TestWriteSparseLayout(t *testing.T) {
	s := store(t)
	dir := filepath.Join(t.TempDir(), "base", "x")
	for _, label := range []string{"one", "two", "two"} {
		img := compose(t, nil, label, layer(t, s.Store(), "a", unique(1000)))
		if err := image.WriteSparseLayout(t.Context(), dir, img); err != nil {
			t.Fatal(err)
		}
		got, err := image.ReadLayout(t.Context(), ref(t, "oci:"+dir), v1.Platform{})
		if err != nil {
			t.Fatal(err)
		}
		want, id := digests(t, img)
		if have, haveID := digests(t, got); have != want || haveID != id {
			t.Errorf("digest %s, want %s", have, want)
		}
		ls, _ := got.Layers()
		if _, err := ls[0].Compressed(); err == nil {
			t.Error("there is a layer")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".tmp*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// extended writes a layout as an extender does: two layers of a base, two of extensions, blobs for the latter only.
func extended(t *testing.T) (dir string, blobs []string) {
	t.Helper()
	s := store(t)
	img := compose(t, nil, "x", layer(t, s.Store(), "a", unique(100)), layer(t, s.Store(), "b", unique(100)), layer(t, s.Store(), "c", unique(100)), layer(t, s.Store(), "d", unique(100)))
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.History = []v1.History{
		{CreatedBy: "base"}, {CreatedBy: "nothing", EmptyLayer: true}, {CreatedBy: "base"},
		{CreatedBy: "Layer: 'RUN c', Created by extension: e"}, {CreatedBy: "Layer: 'RUN d', Created by extension: f"},
	}
	cf.Config.User = "1:1"
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	at := filepath.Join(dir, "image")
	if _, err := image.WriteLayout(t.Context(), ref(t, "oci:"+at), nil, img, nil); err != nil {
		t.Fatal(err)
	}
	ls, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, filepath.Join(at, "blobs", "sha256", d.Hex))
	}
	if err := errors.Join(os.Remove(blobs[0]), os.Remove(blobs[1])); err != nil {
		t.Fatal(err)
	}
	return dir, blobs
}

func TestReadExtended(t *testing.T) {
	dir, _ := extended(t)
	e, err := image.ReadExtended(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Layers) != 2 || e.Layers[0].Index != 2 || e.Layers[1].Index != 3 || !strings.HasSuffix(e.Layers[0].History.CreatedBy, ": e") || !strings.HasSuffix(e.Layers[1].History.CreatedBy, ": f") || e.Config.Config.User != "1:1" {
		t.Errorf("%+v", e)
	}
	for _, l := range e.Layers {
		r, err := l.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || len(b) == 0 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		r.Close()
	}
	for _, none := range []string{t.TempDir(), filepath.Join(dir, "absent")} {
		if e, err := image.ReadExtended(none); e != nil || err != nil {
			t.Errorf("%v, %v", e, err)
		}
	}
}

func TestReadExtendedHostile(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string, blobs []string) error
		want   string
	}{
		"another image":    {func(dir string, _ []string) error { return os.Mkdir(filepath.Join(dir, "b"), 0o755) }, "it has 2 entries"},
		"no layout":        {func(dir string, _ []string) error { return os.Remove(filepath.Join(dir, "image/index.json")) }, "index.json"},
		"a link":           {func(dir string, _ []string) error { return relink(dir) }, "is not a directory"},
		"missing blob":     {func(_ string, b []string) error { return os.Remove(b[3]) }, "comes from an extension and has no blob"},
		"first is missing": {func(_ string, b []string) error { return os.Remove(b[2]) }, "comes from an extension and has no blob"},
		"FIFO": {func(_ string, b []string) error {
			return errors.Join(os.Remove(b[2]), exec.Command("mkfifo", b[2]).Run())
		}, "not a regular file"},
		"link out":          {func(_ string, b []string) error { return errors.Join(os.Remove(b[2]), os.Symlink("/etc/passwd", b[2])) }, "not a regular file"},
		"other bytes":       {func(_ string, b []string) error { return os.WriteFile(b[2], []byte("other"), 0o644) }, "its content differs from its digest"},
		"more bytes":        {func(_ string, b []string) error { return appendTo(b[2]) }, "layer"},
		"an index of two":   {func(dir string, _ []string) error { return doubled(filepath.Join(dir, "image/index.json")) }, "lists 2 images"},
		"an index of a lot": {func(dir string, _ []string) error { return os.Truncate(filepath.Join(dir, "image/index.json"), 1<<30) }, "read the extended run image"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, blobs := extended(t)
			if err := c.change(dir, blobs); err != nil {
				t.Fatal(err)
			}
			e, err := image.ReadExtended(dir)
			if err == nil {
				for _, l := range e.Layers {
					var r io.ReadCloser
					if r, err = l.Open(); err != nil {
						break
					}
					_, err = io.Copy(io.Discard, r)
					r.Close()
					if err != nil {
						break
					}
				}
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func relink(dir string) error {
	return errors.Join(os.Rename(filepath.Join(dir, "image"), dir+".moved"), os.Symlink(dir+".moved", filepath.Join(dir, "x")))
}

func appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("more")
	return errors.Join(err, f.Close())
}

func doubled(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	s := string(b)
	from, to := strings.Index(s, "["), strings.LastIndex(s, "]")
	return os.WriteFile(path, []byte(s[:to]+","+s[from+1:to]+s[to:]), 0o644)
}
