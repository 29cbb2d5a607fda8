package parcel

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/buildpacks/libcnb/v2"
)

// keyName is the field of a layer's metadata that holds its key.
const keyName = "key"

// KeyOf is one digest of everything a layer depends on; parts keep their borders ("a","bc" is not "ab","c").
func KeyOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		writePart(h, p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writePart(w io.Writer, p string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(p)))
	w.Write(n[:])
	io.WriteString(w, p)
}

// FileKey is the content of the file, or "" when there is none: a part for KeyOf.
func FileKey(name string, max int64) (string, error) {
	b, err := readCapped(name, max)
	if os.IsNotExist(err) {
		return "", nil
	}
	return string(b), err
}

// TreeKey digests names, exec bits, link targets and contents below dir, in order. skip leaves out an entry
// (and what is below it) by its path relative to dir. Anything but files, directories and links is an error:
// reading a FIFO would never end.
func TreeKey(dir string, skip func(rel string, d fs.DirEntry) bool) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if skip != nil && skip(rel, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case d.IsDir():
			return nil
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			writePart(h, "link "+rel)
			writePart(h, target)
			return err
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", rel)
		}
		return hashFile(h, name, rel)
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func hashFile(h io.Writer, name, rel string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	writePart(h, fmt.Sprintf("file %s %t %d", rel, info.Mode()&0o111 != 0, info.Size()))
	_, err = io.Copy(h, f)
	return err
}

// Fresh says that a restored layer was made for key.
func Fresh(l libcnb.Layer, key string) bool {
	k, _ := l.Metadata[keyName].(string)
	return k == key
}

// Note gives a layer its key and facts that a later build wants to read.
func Note(l *libcnb.Layer, key string, facts map[string]string) {
	l.Metadata = map[string]any{keyName: key}
	for k, v := range facts {
		l.Metadata[k] = v
	}
}

// Fact reads what Note wrote.
func Fact(l libcnb.Layer, name string) string {
	s, _ := l.Metadata[name].(string)
	return s
}
