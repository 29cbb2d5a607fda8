package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder"
)

// What a Listing tells at most. Files beyond it are in Count and Bytes alone.
const (
	maxListed    = 40_000
	maxListing   = 10 << 20 // of the files, as JSON
	maxListedEnv = 200
	maxEnvText   = 4096
)

// A Listing is what a layer's directory holds.
type Listing struct {
	Files []ListedFile `json:"files,omitempty"` // sorted by path, without directories; as many as there is room for
	Count int          `json:"count"`
	Bytes int64        `json:"bytes"` // of regular files
	// Env is the files of the layer's environment directories: path ("env.build/CPATH.append") to text, 4 KiB of each.
	Env map[string]string `json:"env,omitempty"`
}

// A ListedFile is one file of a Listing.
type ListedFile struct {
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"`
	Size int64       `json:"size,omitempty"`
	Sum  string      `json:"sum,omitempty"`  // SHA-256 of a regular file, hexadecimal
	Link string      `json:"link,omitempty"` // target of a symbolic link
}

type listRequest struct {
	Dirs builder.Dirs `json:"dirs"`
	Path string       `json:"path"`
}

// List tells what is below a directory of a build, which p names as executables see it. No process of a buildpack may
// run any more. It follows no link and opens regular files only.
func (c *Collector) List(ctx context.Context, d builder.Dirs, p string) (*Listing, error) {
	out := &Listing{}
	return out, c.call(ctx, "list", listRequest{d, p}, out)
}

func list(ctx context.Context, r listRequest) (*Listing, error) {
	below, ok := strings.CutPrefix(path.Clean(r.Path), r.Dirs.Layers+"/")
	if !ok {
		return nil, fmt.Errorf("list %s: it is not below %s", r.Path, r.Dirs.Layers)
	}
	root, err := os.OpenRoot(r.Dirs.Host(r.Dirs.Layers))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Path, err)
	}
	defer root.Close()
	dir, err := root.OpenRoot(filepath.FromSlash(below))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Path, err)
	}
	defer dir.Close()
	l := &lister{ctx: ctx, left: maxListing, out: &Listing{Env: map[string]string{}}, buf: make([]byte, 256<<10)}
	if err := l.dir(dir, "", 0); err != nil {
		return nil, fmt.Errorf("list %s: %w", r.Path, err)
	}
	slices.SortFunc(l.out.Files, func(a, b ListedFile) int { return strings.Compare(a.Path, b.Path) })
	return l.out, nil
}

type lister struct {
	ctx  context.Context // of this one listing
	out  *Listing
	left int // bytes that there is room for
	buf  []byte
}

// dir adds the entries of a directory, whose path in the listing is prefix.
func (l *lister) dir(dir *os.Root, prefix string, depth int) error {
	if depth > maxTreeDepth {
		return fmt.Errorf("directories are nested deeper than %d", maxTreeDepth)
	}
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := context.Cause(l.ctx); err != nil {
			return err
		}
		if err := l.entry(dir, name, path.Join(prefix, name), depth); err != nil {
			return fmt.Errorf("%s: %w", path.Join(prefix, name), err)
		}
	}
	return nil
}

func (l *lister) entry(dir *os.Root, name, at string, depth int) error {
	fi, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		sub, err := dir.OpenRoot(name)
		if err != nil {
			return err
		}
		defer sub.Close()
		return l.dir(sub, at, depth+1)
	}
	l.out.Count++
	file := ListedFile{Path: at, Mode: fi.Mode()}
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		file.Link, err = dir.Readlink(name)
	case fi.Mode().IsRegular():
		file.Size = fi.Size()
		l.out.Bytes += fi.Size()
		if l.hasRoom() {
			file.Sum, err = l.sum(dir, name, at)
		}
	}
	if err != nil || !l.hasRoom() {
		return err
	}
	text, err := encode(file)
	if l.left -= len(text); l.left > 0 {
		l.out.Files = append(l.out.Files, file)
	}
	return err
}

func (l *lister) hasRoom() bool { return l.left > 0 && len(l.out.Files) < maxListed }

// sum is the digest of a regular file. The text of one that sets a variable is noted.
func (l *lister) sum(dir *os.Root, name, at string) (string, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	var head strings.Builder
	if setsVariable(at) && len(l.out.Env) < maxListedEnv {
		_, err = io.CopyN(io.MultiWriter(h, &head), f, maxEnvText)
		l.out.Env[at] = head.String()
	}
	if err == nil {
		_, err = io.CopyBuffer(h, f, l.buf)
	}
	if err != nil && err != io.EOF {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// setsVariable tells whether a file of a layer is one of its environment (buildpack, "Provided by the Buildpacks").
func setsVariable(at string) bool {
	parts := strings.Split(at, "/")
	switch parts[0] {
	case "env", "env.build":
		return len(parts) == 2
	case "env.launch":
		return len(parts) == 2 || len(parts) == 3
	}
	return false
}
