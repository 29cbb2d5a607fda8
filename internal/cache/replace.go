package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/cnb"
)

// encodeMetadata is the metadata file, byte for byte as the reference writes it.
func encodeMetadata(md cnb.CacheMetadata) ([]byte, error) {
	b, err := json.Marshal(md)
	if err != nil {
		return nil, fmt.Errorf("encode its metadata: %w", err)
	}
	return append(b, '\n'), nil
}

func (v *Volume) replace(ctx context.Context, ids []string, text []byte, layer func(diffID string) (v1.Layer, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write cache %s: %w", v.dir, err)
		}
	}()
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	waiting, cancel := context.WithTimeout(ctx, v.lockTime)
	defer cancel()
	unlock, err := lock(waiting, root)
	if err != nil {
		return err
	}
	defer unlock()
	r := &replacement{root: root, dropped: v.dropped, ids: ids, text: text, layer: layer}
	if err := r.tidy(); err != nil || r.same() {
		return err
	}
	for _, step := range r.steps() {
		if err := step(ctx); err != nil {
			return errors.Join(err, root.RemoveAll(stagingDir))
		}
	}
	return nil
}

// A replacement is one Replace under way. Its steps may end anywhere, with the process: the volume then has the old
// cache or the new one, whole.
type replacement struct {
	root     *os.Root
	dropped  func(diffID string) bool // layers that are not to be taken over; may be nil
	ids      []string
	text     []byte // of the metadata file; nil for a volume that has none
	layer    func(diffID string) (v1.Layer, error)
	uid, gid int // of what is written, when it is not ours; see owner
	foreign  bool
}

func (r *replacement) steps() []func(context.Context) error {
	return []func(context.Context) error{r.begin, r.stage, r.describe, r.moveAside, r.commit, r.settle}
}

// same says that the cache is already what it is to be.
func (r *replacement) same() bool {
	want := map[string]bool{}
	for _, id := range r.ids {
		if !r.has(id) {
			return false
		}
		want[id+".tar"] = true
	}
	if r.text != nil {
		b, err := cnb.ReadFileIn(r.root, path.Join(committedDir, metadataFile), maxMetadata)
		if err != nil || !bytes.Equal(b, r.text) {
			return false
		}
		want[metadataFile] = true
	}
	d, err := r.root.Open(committedDir)
	if err != nil {
		return false
	}
	defer d.Close()
	names, err := d.Readdirnames(len(want) + 1)
	if err != nil || len(names) != len(want) {
		return false
	}
	for _, n := range names {
		if !want[n] {
			return false
		}
	}
	return true
}

// has says whether the volume has a layer's file that may be taken over.
func (r *replacement) has(id string) bool {
	return hasTar(r.root, id) && (r.dropped == nil || !r.dropped(id))
}

// tidy cleans up after a process that died.
func (r *replacement) tidy() error {
	if movedAside(r.root) {
		if err := r.root.Rename(backupDir, committedDir); err != nil {
			return err
		}
	}
	return errors.Join(r.root.RemoveAll(stagingDir), r.root.RemoveAll(backupDir))
}

func (r *replacement) begin(context.Context) error {
	if err := r.root.Mkdir(stagingDir, 0o777); err != nil {
		return err
	}
	if err := r.owner(); err != nil {
		return err
	}
	return r.give(stagingDir)
}

// owner finds out whom the files belong to: who owns the directory. The reference's phases drop root before they
// write, and could not replace what is root's.
func (r *replacement) owner() error {
	fi, err := r.root.Stat(".")
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		r.uid, r.gid, r.foreign = int(st.Uid), int(st.Gid), st.Uid != 0
	}
	return nil
}

func (r *replacement) give(name string) error {
	if !r.foreign {
		return nil
	}
	return r.root.Lchown(name, r.uid, r.gid)
}

// stage brings every layer into staging: linked from the cache, which costs no reading, or written side by side.
func (r *replacement) stage(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, id := range r.ids {
		if r.link(id) {
			continue
		}
		l, err := r.layer(id)
		if err != nil {
			return errors.Join(fmt.Errorf("layer %s: %w", id, err), g.Wait())
		}
		g.Go(func() error {
			if err := r.write(ctx, id, l); err != nil {
				return fmt.Errorf("layer %s: %w", id, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// link takes a layer over from the cache. Where that is not possible (no such layer, a file of another user, a file
// system without links), the layer is asked for.
func (r *replacement) link(id string) bool {
	name := tarName(stagingDir, id)
	if !r.has(id) || r.root.Link(tarName(committedDir, id), name) != nil {
		return false
	}
	if isTar(r.root, name) { // looked at where nobody exchanges it any more
		return true
	}
	_ = r.root.RemoveAll(name) // else writing it fails
	return false
}

func (r *replacement) write(ctx context.Context, id string, l v1.Layer) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	h := sha256.New()
	if err := r.file(tarName(stagingDir, id), io.TeeReader(&contextReader{ctx: ctx, r: rc}, h)); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != id {
		return fmt.Errorf("its contents are of %s", got)
	}
	return nil
}

// file writes a file of the staging directory through to the disk.
func (r *replacement) file(name string, from io.Reader) error {
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, from, make([]byte, 256<<10))
	if err == nil && r.foreign {
		err = f.Chown(r.uid, r.gid)
	}
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	return errors.Join(err, f.Close())
}

// describe writes the metadata and makes staging complete on disk.
func (r *replacement) describe(context.Context) error {
	if r.text != nil {
		if err := r.file(path.Join(stagingDir, metadataFile), bytes.NewReader(r.text)); err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
	}
	return syncDir(r.root, stagingDir)
}

func (r *replacement) moveAside(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err // from here on, all that is left is quick
	}
	err := r.root.Rename(committedDir, backupDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (r *replacement) commit(context.Context) error {
	err := r.root.Rename(stagingDir, committedDir)
	if err == nil {
		return nil
	}
	if back := r.root.Rename(backupDir, committedDir); back != nil && !errors.Is(back, fs.ErrNotExist) {
		err = errors.Join(err, back)
	}
	return err
}

func (r *replacement) settle(context.Context) error {
	if err := syncDir(r.root, "."); err != nil {
		return err
	}
	if err := r.root.RemoveAll(backupDir); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil // the new cache stands; files of another user in the old one stay for who may remove them
}

// syncDir writes a directory's entries through to the disk.
func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // the file system has no such thing
	}
	return errors.Join(err, d.Close())
}

// contextReader ends reading when ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
