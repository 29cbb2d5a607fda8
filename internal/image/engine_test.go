package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// engine is the Docker engine that the tests' environment names. They need one.
type engine struct{ *docker.Runtime }

func connect(t testing.TB) engine {
	t.Helper()
	home, _ := os.UserHomeDir()
	rt, err := docker.New(t.Context(), docker.FromEnv(os.Environ(), home))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine{rt}
}

func notFound(err error) error {
	if errors.Is(err, container.ErrNoImage) {
		return errors.Join(image.ErrNotFound, err)
	}
	return err
}

func (e engine) Inspect(ctx context.Context, ref string) (image.EngineImage, error) {
	im, err := e.Runtime.Inspect(ctx, ref)
	if err != nil {
		return image.EngineImage{}, notFound(err)
	}
	out := image.EngineImage{ID: im.ID, RepoTags: im.Tags, RepoDigests: im.RepoDigests, Size: im.Size}
	out.Config = v1.ConfigFile{OS: im.OS, Architecture: im.Architecture, Variant: im.Variant, Config: v1.Config{Env: im.Env, Labels: im.Labels}}
	for _, d := range im.DiffIDs {
		h, err := v1.NewHash(d)
		if err != nil {
			return out, err
		}
		out.Config.RootFS.DiffIDs = append(out.Config.RootFS.DiffIDs, h)
	}
	return out, nil
}

func (e engine) Remove(ctx context.Context, ref string) error {
	return notFound(e.Runtime.Remove(ctx, ref))
}

func (e engine) EngineInfo(ctx context.Context) (image.EngineInfo, error) {
	in, err := e.Runtime.Info(ctx)
	return image.EngineInfo{Version: in.Version, OS: in.OS, Arch: in.Architecture, ContainerStore: in.ContainerdStore}, err
}

// spy counts what is loaded into and saved out of an engine.
type spy struct {
	image.Engine
	loads, saves int
	bytes        int64
	failLoad     func() error
}

func (s *spy) Load(ctx context.Context, r io.Reader) error {
	s.loads++
	if s.failLoad != nil {
		if err := s.failLoad(); err != nil {
			return err
		}
	}
	c := &counter{r: r}
	err := s.Engine.Load(ctx, c)
	s.bytes += c.n
	return err
}

func (s *spy) Save(ctx context.Context, refs []string, w io.Writer) error {
	s.saves++
	return s.Engine.Save(ctx, refs, w)
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// store is a layer store with its images.
func store(t testing.TB) *image.Images {
	t.Helper()
	s, err := layerstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	i, err := image.OpenImages(s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func ref(t testing.TB, s string) image.Ref {
	t.Helper()
	r, err := image.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// layer makes a layer of one file, as the collector would.
func layer(t testing.TB, s *layerstore.Store, name string, content []byte) v1.Layer {
	t.Helper()
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	z := layerstore.NewEncoder(w)
	h := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(z, h))
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	_, err = tw.Write(content)
	if err := errors.Join(err, tw.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	id := "sha256:" + hex.EncodeToString(h.Sum(nil))
	if _, err := w.Commit(id); err != nil {
		t.Fatal(err)
	}
	l, ok := s.Layer(id)
	if !ok {
		t.Fatal("the store lost a layer")
	}
	return l
}

// compose puts layers on a base (nil: nothing), with a label to tell images apart.
func compose(t testing.TB, base v1.Image, label string, layers ...v1.Layer) v1.Image {
	t.Helper()
	if base == nil {
		base = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	var adds []mutate.Addendum
	for _, l := range layers {
		adds = append(adds, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "test", Created: v1.Time{Time: time.Unix(1, 0).UTC()}}})
	}
	img, err := mutate.Append(base, adds...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", runtime.GOARCH, v1.Time{Time: time.Unix(1, 0).UTC()}
	c.Config.Labels = map[string]string{"test": label, "run": t.Name()}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

// tarOf is a tar of one file.
func tarOf(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	_, err := tw.Write(content)
	if err := errors.Join(err, tw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unique is content that no other run has loaded before.
func unique(n int) []byte {
	b := bytes.Repeat([]byte("slipway "), n/8+1)[:n]
	copy(b, time.Now().Format(time.RFC3339Nano))
	return b
}

func digests(t testing.TB, img v1.Image) (manifest, config v1.Hash) {
	t.Helper()
	m, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

// remove drops test images from the engine.
func remove(t testing.TB, e image.Engine, refs ...string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, r := range refs {
			if err := e.Remove(ctx, r); err != nil && !errors.Is(err, image.ErrNotFound) {
				t.Error(err)
			}
		}
	})
}

// pinnedEngine says of every image that it was pulled by a digest.
type pinnedEngine struct {
	image.Engine
	digest string
}

func (p pinnedEngine) Inspect(ctx context.Context, ref string) (image.EngineImage, error) {
	im, err := p.Engine.Inspect(ctx, ref)
	im.RepoDigests = []string{p.digest}
	return im, err
}
