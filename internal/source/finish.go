package source

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// finish checks the links, gives directories their owners, modes and times, and sums everything up.
func (w *writer) finish() error {
	names := make([]string, 0, len(w.entries))
	files := false
	for n, e := range w.entries {
		names = append(names, n)
		files = files || e.kind != 'd'
	}
	if !files {
		if w.keep.match != nil {
			return fmt.Errorf("no file is left after include and exclude of %s", DescriptorName)
		}
		return fmt.Errorf("it has no files: there is nothing to build")
	}
	slices.Sort(names)
	h := sha256.New()
	for _, n := range names {
		e := w.entries[n]
		e.hash(h, n)
		if e.kind == 'l' {
			// Through other links a link can get further up than its own text says.
			if _, err := w.root.Stat(n); err != nil && strings.Contains(err.Error(), "escapes") {
				return leadsOut(n, e.link)
			}
		}
	}
	slices.Reverse(names) // what is in a directory before the directory
	for _, n := range names {
		if e := w.entries[n]; e.kind == 'd' {
			if err := w.seal(n, e); err != nil {
				return err
			}
		}
	}
	w.res.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return w.seal(".", &entry{mode: 0o755})
}

func (w *writer) seal(name string, e *entry) error {
	if w.uid != -1 || w.gid != -1 {
		if err := w.root.Lchown(name, w.uid, w.gid); err != nil {
			return fmt.Errorf("set the owner of %q: %w", short(name), err)
		}
	}
	if err := w.root.Chmod(name, e.mode); err != nil {
		return fmt.Errorf("set the mode of %q: %w", short(name), err)
	}
	if !e.mtime.IsZero() {
		if err := w.root.Chtimes(name, e.mtime, e.mtime); err != nil {
			return fmt.Errorf("set the time of %q: %w", short(name), err)
		}
	}
	return nil
}

// hash adds an entry to the digest of the source, each part with its length before it.
func (e *entry) hash(h hash.Hash, name string) {
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part([]byte{e.kind})
	part([]byte(name))
	part(fmt.Appendf(nil, "%04o", e.mode))
	switch e.kind {
	case 'f':
		part(e.sum[:])
	case 'l':
		part([]byte(e.link))
	}
}
