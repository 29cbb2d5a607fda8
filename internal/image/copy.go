package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// copyJobs is how many blobs move at once: enough to keep a registry's latency off the clock, few enough
// to leave the compressor a core.
const copyJobs = 4

// copyImage brings an image with all its blobs into a layer store, layers side by side, then config, then
// manifest, so that a manifest in the store never lacks a blob. It returns the index entry.
func copyImage(ctx context.Context, s *layerstore.Store, img v1.Image, what string, progress Progress) (Written, v1.Descriptor, error) {
	var w Written
	manifest, err := img.RawManifest()
	if err != nil {
		return w, v1.Descriptor{}, err
	}
	if _, err := parseManifest(manifest); err != nil {
		return w, v1.Descriptor{}, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return w, v1.Descriptor{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return w, v1.Descriptor{}, err
	}
	if w.Sent, w.Kept, err = copyLayers(ctx, s, layers, what, progress); err != nil {
		return w, v1.Descriptor{}, err
	}
	if w.ID, err = s.PutBlob(ctx, config); err != nil {
		return w, v1.Descriptor{}, err
	}
	if w.Digest, err = s.PutBlob(ctx, manifest); err != nil {
		return w, v1.Descriptor{}, err
	}
	w.ManifestSize = int64(len(manifest))
	d, err := describe(img, manifest)
	return w, d, err
}

// copyLayers brings layers into a store and counts those that were new and those that were there.
func copyLayers(ctx context.Context, s *layerstore.Store, layers []v1.Layer, what string, progress Progress) (sent, kept int, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copyJobs)
	seen := map[v1.Hash]bool{}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return 0, 0, errors.Join(err, g.Wait())
		}
		if seen[digest] {
			continue
		}
		seen[digest] = true
		g.Go(func() error {
			isNew, err := copyLayer(ctx, s, l, what, progress)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if isNew {
				sent++
			} else {
				kept++
			}
			return nil
		})
	}
	err = g.Wait()
	return sent, kept, err
}

// Keep brings one layer into a store, where it is then known by its diffID. The diffID is computed, not
// believed: what an image says of its layers could otherwise take the place of a layer that is made later.
func Keep(ctx context.Context, s *layerstore.Store, l v1.Layer) error {
	want, err := l.DiffID()
	if err != nil {
		return err
	}
	if _, ok := s.Any(want.String()); ok {
		return nil
	}
	return retry(ctx, func() error { return keep(ctx, s, l, want) })
}

func keep(ctx context.Context, s *layerstore.Store, l v1.Layer, want v1.Hash) error {
	w, err := s.Writer(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	rc, err := l.Compressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	z, err := layerstore.NewDecoder(io.TeeReader(rc, w))
	if err != nil {
		return fmt.Errorf("layer %s: %w", want, err)
	}
	defer z.Close()
	h := sha256.New()
	if _, err := io.Copy(h, z); err != nil {
		return fmt.Errorf("layer %s: %w", want, err)
	}
	if _, err := io.Copy(w, rc); err != nil { // what stands after the compressed stream
		return fmt.Errorf("layer %s: %w", want, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex {
		return fmt.Errorf("layer %s: its contents are of sha256:%s", want, got)
	}
	_, err = w.Commit(want.String())
	return err
}

func copyLayer(ctx context.Context, s *layerstore.Store, l v1.Layer, what string, progress Progress) (bool, error) {
	digest, err := l.Digest()
	if err != nil {
		return false, err
	}
	size, err := l.Size()
	if err != nil {
		return false, err
	}
	if s.Has(digest, size) {
		progress.step(Step{What: what, Digest: digest.String(), Done: size, Total: size, Kept: true})
		return false, nil
	}
	open := func() (io.ReadCloser, error) {
		rc, err := l.Compressed()
		if err != nil {
			return nil, err
		}
		return &meter{ReadCloser: rc, step: Step{What: what, Digest: digest.String(), Total: size}, progress: progress}, nil
	}
	err = retry(ctx, func() error { return s.ImportBlob(ctx, digest, size, open) })
	if err != nil {
		return false, fmt.Errorf("layer %s: %w", digest, err)
	}
	return true, nil
}

// retry runs f up to three times while its error is one that passes.
func retry(ctx context.Context, f func() error) error {
	wait := 200 * time.Millisecond
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == 3 || !transient(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		wait *= 5
	}
}

// meter reports what is read through it.
type meter struct {
	io.ReadCloser
	step     Step
	progress Progress
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if n > 0 {
		m.step.Done += int64(n)
		m.progress.step(m.step)
	}
	return n, err
}
