package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// images is where a phase's images are: a registry, a Docker engine (-daemon) or OCI layouts below a directory
// (-layout). Cache images are in a registry always.
type images struct {
	registry *image.Registry
	runtime  *docker.Runtime                       // with -daemon
	engine   image.Engine                          // the same
	layouts  string                                // with -layout: the directory
	scratch  func() (string, error)                // a directory for what an engine has to be asked for in whole
	launch   func(diffID string) (v1.Layer, error) // a layer of the launch cache
}

// open connects to what the inputs name, as the user that this process still is, and remembers the credentials of
// every image that is named.
func (c *command) open(ctx context.Context, names ...string) (err error) {
	c.images.registry, err = image.NewRegistry(image.RegistryOptions{
		Env: c.env.environ(), DockerConfig: c.env.dockerConfig(), Insecure: c.Insecure, UserAgent: "slipway-lifecycle/" + version,
	})
	if err != nil {
		return fail(err, exitFailed, "resolve keychain")
	}
	inRegistry := slices.Clone(c.bases)
	if !c.Layout {
		inRegistry = append(inRegistry, c.CacheImage)
	}
	if !c.Layout && !c.Daemon {
		inRegistry = append(inRegistry, names...)
	}
	var refs []image.Ref
	for _, n := range inRegistry {
		if ref, err := image.ParseRef(n); err == nil && ref.IsName() {
			refs = append(refs, ref)
		}
	}
	if err := c.images.registry.Remember(ctx, refs...); err != nil {
		return fail(err, exitFailed, "resolve keychain")
	}
	if c.Layout {
		c.images.layouts = c.LayoutDir
	}
	if c.Daemon {
		o := docker.FromEnv(c.env.environ(), c.env["HOME"])
		if path, ok := strings.CutPrefix(o.Host, "unix://"); ok {
			o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialAsRoot(ctx, "unix", path) }
		}
		if c.images.runtime, err = docker.New(ctx, o); err != nil {
			return fail(err, exitFailed, "initialize docker client")
		}
		c.images.engine = c.images.runtime.Images()
	}
	return nil
}

// errNoImage says that there is no such image, which often is all right.
var errNoImage = image.ErrNotFound

// find looks an image up where the phase's images are. The error wraps errNoImage where there is none.
func (m *images) find(ctx context.Context, name string) (*image.Image, error) {
	switch {
	case m.layouts != "":
		dir, err := m.layoutPath(name)
		if err != nil {
			return nil, err
		}
		return m.layoutAt(ctx, dir)
	case m.engine != nil:
		ref, err := image.ParseRef(name) // also the 64 digits of an ID, as analyzed.toml has them
		if err != nil {
			return nil, err
		}
		return m.inEngine(ctx, ref)
	}
	ref, err := image.ParseRef(name)
	if err != nil {
		return nil, err
	}
	img, err := m.registry.Image(ctx, ref, v1.Platform{})
	if _, ok := errors.AsType[*image.PlatformError](err); ok {
		// An image that is not in an index may be for another machine: it is rebased or built upon, not run.
		img, err = m.registry.Image(ctx, ref, v1.Platform{OS: "linux"})
	}
	if absent(err) {
		return nil, fmt.Errorf("%w: %w", errNoImage, err)
	}
	return img, err
}

// inEngine describes an image of the engine without reading it, where the engine's image store lets us.
func (m *images) inEngine(ctx context.Context, ref image.Ref) (*image.Image, error) {
	info, err := m.engine.EngineInfo(ctx)
	if err != nil {
		return nil, err
	}
	whole := &wholeImage{images: m, ref: ref}
	if info.ContainerStore {
		return whole.image(ctx)
	}
	return image.ViewEngine(ctx, m.engine, ref, func(diffID string) (v1.Layer, error) {
		if l, err := m.launch(diffID); err == nil {
			return l, nil
		}
		return whole.layer(ctx, diffID)
	})
}

// absent says that there simply is no such image.
func absent(err error) bool {
	if errors.Is(err, image.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	re, ok := errors.AsType[*image.RegistryError](err)
	return ok && re.Reason == image.ReasonNotFound
}

// wholeImage saves an image out of the engine when a layer of it is wanted: once. It is safe for concurrent use,
// because with -parallel the image and the cache are written side by side.
type wholeImage struct {
	*images
	mu  sync.Mutex
	ref image.Ref
	img *image.Image
}

func (w *wholeImage) image(ctx context.Context) (*image.Image, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.img != nil {
		return w.img, nil
	}
	dir, err := w.scratch()
	if err != nil {
		return nil, err
	}
	store, err := layerstore.Open(dir)
	if err != nil {
		return nil, err
	}
	kept, err := image.OpenImages(store)
	if err != nil {
		return nil, err
	}
	r := image.Resolver{Engine: w.engine, Images: kept, Policy: image.PullNever}
	w.img, err = r.InEngine(ctx, w.ref)
	return w.img, err
}

func (w *wholeImage) layer(ctx context.Context, diffID string) (v1.Layer, error) {
	img, err := w.image(ctx)
	if err != nil {
		return nil, err
	}
	h, err := v1.NewHash(diffID)
	if err != nil {
		return nil, err
	}
	return img.LayerByDiffID(h)
}

// layoutPath is the directory of an image below -layout-dir (platform, "OCI Image Layout"): registry, repository and
// tag or digest.
func (m *images) layoutPath(name string) (string, error) {
	if filepath.IsAbs(name) { // as analyzed.toml names it; it may be of another directory
		dir, _, _ := strings.Cut(name, "@")
		return dir, nil
	}
	ref, err := image.ParseRef(name)
	if err != nil {
		return "", err
	}
	last := ref.Tag()
	if d := ref.Digest(); d != "" {
		last = strings.Replace(d, ":", "/", 1)
	}
	return filepath.Join(m.layouts, ref.Repository(), last), nil
}

func (m *images) layoutAt(ctx context.Context, dir string) (*image.Image, error) {
	ref, err := layoutRef(dir, "")
	if err != nil {
		return nil, err
	}
	img, err := image.ReadLayout(ctx, ref, v1.Platform{})
	if err != nil {
		return nil, err
	}
	img.Reference = dir + "@" + img.ManifestDigest.String()
	return img, nil
}

// layoutRef is the layout in a directory as an image argument. A ':' in the path is not taken for a tag's, because a
// tag always follows it.
func layoutRef(dir, tag string) (image.Ref, error) {
	if tag == "" && strings.Contains(filepath.Base(dir), ":") {
		return image.Ref{}, fmt.Errorf("directory %s: a ':' in its name is not supported", dir)
	}
	if tag != "" {
		dir += ":" + tag
	}
	return image.ParseRef("oci:" + dir)
}

// identity is how analyzed.toml and labels name an image that was found: 64 digits in an engine, a digest reference
// in a registry, the path and the digest of a layout.
func (m *images) identity(img *image.Image) string {
	if m.engine != nil {
		return strings.TrimPrefix(img.EngineID, "sha256:")
	}
	return img.Reference
}

// readable reports whether a registry lets us read an image. In an engine or a layout nobody is asked.
func (m *images) readable(ctx context.Context, name string) error {
	if m.engine != nil || m.layouts != "" {
		return nil
	}
	ref, err := image.ParseRef(name)
	if err != nil {
		return err
	}
	return m.registry.CheckRead(ctx, ref)
}

// bestRunImage is the name of the run image or one of its mirrors: one in the target's registry if it can be read,
// else the first that can (platform, "Run Image Resolution").
func (m *images) bestRunImage(ctx context.Context, target string, run cnb.RunImageName) (string, error) {
	if run.Image == "" {
		return "", errors.New("missing run image metadata (-run-image)")
	}
	names := append([]string{run.Image}, run.Mirrors...)
	here, err := image.ParseRef(target)
	if err != nil {
		return "", err
	}
	var tried []string
	for _, sameRegistry := range []bool{true, false} {
		for _, n := range names {
			ref, err := image.ParseRef(n)
			if err == nil && (ref.Host() == here.Host()) == sameRegistry {
				err = m.readable(ctx, n)
				if err == nil {
					return n, nil
				}
			} else if err == nil {
				continue
			}
			tried = append(tried, fmt.Sprintf("%s: %v", n, err))
		}
	}
	return "", fmt.Errorf("failed to find accessible run image (%s)", strings.Join(tried, "; "))
}

// cacheStore opens the cache that the inputs name, nil for none.
func (c *command) cacheStore(ctx context.Context) (cache.Cache, error) {
	switch {
	case c.CacheImage != "":
		ref, err := image.ParseRef(c.CacheImage)
		if err != nil {
			return nil, fail(err, exitFailed, "create image cache")
		}
		found, err := cache.OpenImage(ctx, c.images.registry, ref, cache.ImageOptions{DeletePrevious: !c.API.AtLeast(0, 13)})
		if err != nil {
			return nil, fail(err, exitFailed, "create image cache")
		}
		return found, nil
	case c.CacheDir != "":
		v, err := cache.OpenVolume(c.CacheDir)
		if err != nil {
			return nil, fail(err, exitFailed, "create volume cache")
		}
		for _, w := range v.Warnings() {
			c.log.warnf("%s", w)
		}
		return v, nil
	}
	return nil, nil
}
