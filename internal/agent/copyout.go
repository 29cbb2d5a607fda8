package agent

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent/wire"
)

// What CopyOut brings at most.
const (
	maxCopyBytes = 512 << 20
	maxCopyFiles = 20_000
	maxCopyDepth = 64
)

// copyRequest asks for the files below a directory of a build.
type copyRequest struct {
	Dirs builder.Dirs `json:"dirs"`
	From string       `json:"from"`
}

// CopyOut copies the regular files below from, a path as executables see it, to the directory to of this machine, as
// this process's user. Links and special files are left out; from not being there is fine. What arrives is untrusted:
// nothing is written outside to, and not more than 512 MiB.
func (c *Collector) CopyOut(ctx context.Context, d builder.Dirs, from, to string) error {
	body, err := encode(copyRequest{d, from})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("make directory for %s: %w", from, err)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return fmt.Errorf("open directory for %s: %w", from, err)
	}
	defer root.Close()
	call, err := c.conn.Start("copy", body)
	if err != nil {
		return c.fault(ctx, "copy", err)
	}
	got := make(chan error, 1)
	go func() {
		r := call.Reader(0)
		err := receiveFiles(r, root)
		_, _ = io.Copy(io.Discard, r)
		got <- err
	}()
	_, err = call.Wait(ctx)
	rerr := <-got
	if err != nil {
		return c.fault(ctx, "copy", err)
	}
	if rerr != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, rerr)
	}
	return nil
}

func receiveFiles(r io.Reader, root *os.Root) error {
	tr := tar.NewReader(io.LimitReader(r, maxCopyBytes+maxCopyFiles*2048))
	left := int64(maxCopyBytes)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what the collector sends: %w", err)
		}
		left -= h.Size // of what arrives, not of what is sent: a sparse entry is small on its way
		if n >= maxCopyFiles || h.Typeflag != tar.TypeReg || left < 0 {
			return fmt.Errorf("the collector sends more, or something else, than files")
		}
		if err := root.MkdirAll(path.Dir(h.Name), 0o755); err != nil {
			return err
		}
		f, err := root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NONBLOCK, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, tr)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}

// sendFiles is the collector's side.
func sendFiles(ctx context.Context, call *wire.Call, r copyRequest) (any, error) {
	root, err := os.OpenRoot(r.Dirs.Host("/"))
	if err != nil {
		return nil, fmt.Errorf("open the build's directory: %w", err)
	}
	defer root.Close()
	s := &fileSender{ctx: ctx, root: root, tw: tar.NewWriter(call.Writer(0))}
	err = s.dir(rel(r.From), "", 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("copy %s: %w", r.From, err)
	}
	return nil, s.tw.Close()
}

type fileSender struct {
	ctx   context.Context // of this one call
	root  *os.Root
	tw    *tar.Writer
	files int
	bytes int64
}

func (s *fileSender) dir(dir, as string, depth int) error {
	if depth > maxCopyDepth {
		return fmt.Errorf("directories are nested deeper than %d", maxCopyDepth)
	}
	entries, err := fs.ReadDir(s.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, to := path.Join(dir, e.Name()), path.Join(as, e.Name())
		switch {
		case context.Cause(s.ctx) != nil:
			return context.Cause(s.ctx)
		case e.IsDir():
			err = s.dir(name, to, depth+1)
		case e.Type().IsRegular():
			err = s.file(name, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *fileSender) file(name, as string) error {
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return err
	}
	s.files++
	s.bytes += fi.Size()
	if s.files > maxCopyFiles || s.bytes > maxCopyBytes {
		return fmt.Errorf("more than %d files or %d bytes", maxCopyFiles, int64(maxCopyBytes))
	}
	if err := s.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: as, Size: fi.Size(), Mode: 0o644}); err != nil {
		return err
	}
	_, err = io.CopyN(s.tw, f, fi.Size())
	return err
}
