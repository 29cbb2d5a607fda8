package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A Store keeps images ready to be mounted: each layer unpacked once, by diffID, and images by the digest of their
// config. It belongs to root. Any number of processes may use one directory; what is there is complete, for it
// appears by rename. It is safe for concurrent use.
type Store struct{ dir string }

// OpenStore makes the directory a store if it is not one yet.
func OpenStore(dir string) (*Store, error) {
	s := &Store{dir: dir}
	// Nobody but root enters: layers hold files that are setuid and files of anybody's.
	for _, d := range []string{dir, s.layers(), s.images(), s.staging()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open the store of root filesystems: %w", err)
		}
	}
	return s, nil
}

// Dir is the store's directory.
func (s *Store) Dir() string { return s.dir }

func (s *Store) layers() string  { return filepath.Join(s.dir, "layers") }
func (s *Store) images() string  { return filepath.Join(s.dir, "images") }
func (s *Store) staging() string { return filepath.Join(s.dir, "staging") }

// ErrNoImage is wrapped when an image was never added, or its layers are gone.
var ErrNoImage = errors.New("image is not unpacked")

// Has says whether the image with that config digest ("sha256:...") is there with all layers, and counts as a use.
func (s *Store) Has(id string) bool {
	_, err := s.Image(id)
	return err == nil
}

// Add unpacks what is missing of an image and returns its id, the config's digest. Layers are unpacked side by side.
// A layer whose bytes are not what the config promises is an error, and nothing of it stays.
func (s *Store) Add(ctx context.Context, img v1.Image) (string, error) {
	id, err := img.ConfigName()
	if err != nil {
		return "", err
	}
	if s.Has(id.String()) {
		return id.String(), nil
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return "", err
	}
	if sum := sha256.Sum256(config); hex.EncodeToString(sum[:]) != id.Hex {
		return "", fmt.Errorf("unpack image %s: its config has another digest", id)
	}
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	if len(layers) > MaxLower {
		return "", fmt.Errorf("unpack image %s: it has %d layers, and %d is the most", id, len(layers), MaxLower)
	}
	unlock, err := s.lock(unix.LOCK_SH)
	if err != nil {
		return "", err
	}
	defer unlock()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, l := range layers {
		g.Go(func() error { return s.addLayer(gctx, l) })
	}
	if err := g.Wait(); err != nil {
		return "", fmt.Errorf("unpack image %s: %w", id, err)
	}
	tmp, err := os.CreateTemp(s.staging(), "image-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name()) // after the rename there is nothing to remove
	_, err = tmp.Write(config)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return "", err
	}
	to := filepath.Join(s.images(), id.Hex)
	if fi, err := os.Lstat(to); err == nil && fi.IsDir() { // nothing that we made
		if err := os.RemoveAll(to); err != nil {
			return "", err
		}
	}
	return id.String(), os.Rename(tmp.Name(), to)
}

func (s *Store) addLayer(ctx context.Context, l v1.Layer) error {
	diffID, err := l.DiffID()
	if err != nil {
		return err
	}
	if !valid(diffID) {
		return fmt.Errorf("layer %q: not a diffID", diffID)
	}
	final := filepath.Join(s.layers(), diffID.Hex)
	if fi, err := os.Lstat(final); err == nil {
		if fi.IsDir() {
			return nil
		}
		if err := os.Remove(final); err != nil {
			return err
		}
	}
	staged, err := os.MkdirTemp(s.staging(), "layer-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(staged)
	dir := filepath.Join(staged, "fs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	r, err := l.Uncompressed()
	if err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	defer r.Close()
	h := sha256.New()
	tee := io.TeeReader(r, h)
	if err := unpack(ctx, tee, dir, DefaultLimits); err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	if _, err := io.Copy(io.Discard, tee); err != nil { // what comes after the tar's end counts too
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != diffID.Hex {
		return fmt.Errorf("layer %s: its content is sha256:%s", diffID, got)
	}
	// One sync of the file system before the name appears: after a power cut a layer is whole or not there.
	if err := syncFS(dir); err != nil {
		return err
	}
	err = os.Rename(dir, final)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil // another process was faster
	}
	return err
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func valid(h v1.Hash) bool {
	b, err := hex.DecodeString(h.Hex)
	return err == nil && h.Algorithm == "sha256" && len(b) == sha256.Size
}

// An Image is an image of the store.
type Image struct {
	Config *v1.ConfigFile
	// Lower are its layers' directories as Overlay wants them, the topmost first. One that the image has twice is there
	// once, where it is highest: nothing of it shows from below itself.
	Lower []string
}

// Image finds an image by its id. An absent one is ErrNoImage.
func (s *Store) Image(id string) (*Image, error) {
	h, err := v1.NewHash(id)
	if err != nil || !valid(h) {
		return nil, fmt.Errorf("image %q: %w", id, ErrNoImage)
	}
	path := filepath.Join(s.images(), h.Hex)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", id, ErrNoImage)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != h.Hex {
		return nil, errors.Join(fmt.Errorf("image %s: its config is damaged: %w", id, ErrNoImage), os.Remove(path))
	}
	img := &Image{Config: &v1.ConfigFile{}}
	if err := json.Unmarshal(b, img.Config); err != nil {
		return nil, fmt.Errorf("image %s: %w", id, err)
	}
	for _, d := range slices.Backward(img.Config.RootFS.DiffIDs) {
		dir := filepath.Join(s.layers(), d.Hex)
		if fi, err := os.Lstat(dir); !valid(d) || err != nil || !fi.IsDir() {
			return nil, fmt.Errorf("image %s: layer %s is gone: %w", id, d, ErrNoImage)
		}
		if !slices.Contains(img.Lower, dir) {
			img.Lower = append(img.Lower, dir)
		}
	}
	if len(img.Lower) == 0 {
		return nil, fmt.Errorf("image %s has no layers", id)
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // a use, for Prune; without it the image goes earlier
	return img, nil
}

// Lock keeps Prune from removing anything as long as it is held.
func (s *Store) Lock() (unlock func(), err error) { return s.lock(unix.LOCK_SH) }

func (s *Store) lock(how int) (func(), error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the store of root filesystems: %w", err), f.Close())
	}
	return func() { f.Close() }, nil
}

// Prune removes images that were not used for so long, the layers that none of the others has, and what dead
// processes left. It does nothing while a container of the store runs.
func (s *Store) Prune(unused time.Duration) (removed int, err error) {
	unlock, err := s.lock(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer unlock()
	images, err := os.ReadDir(s.images())
	if err != nil {
		return 0, err
	}
	keep := map[string]bool{}
	for _, e := range images {
		path := filepath.Join(s.images(), e.Name())
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > unused {
			if err := os.Remove(path); err != nil {
				return removed, err
			}
			removed++
			continue
		}
		b, err := os.ReadFile(path)
		var config v1.ConfigFile
		if err != nil || json.Unmarshal(b, &config) != nil {
			continue
		}
		for _, d := range config.RootFS.DiffIDs {
			keep[d.Hex] = true
		}
	}
	layers, err := os.ReadDir(s.layers())
	if err != nil {
		return removed, err
	}
	for _, l := range layers {
		if !keep[l.Name()] {
			if err := os.RemoveAll(filepath.Join(s.layers(), l.Name())); err != nil {
				return removed, err
			}
		}
	}
	staged, err := os.ReadDir(s.staging())
	if err != nil {
		return removed, err
	}
	for _, f := range staged {
		if err := os.RemoveAll(filepath.Join(s.staging(), f.Name())); err != nil {
			return removed, err
		}
	}
	return removed, nil
}
