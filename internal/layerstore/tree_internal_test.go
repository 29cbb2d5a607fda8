package layerstore

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTreeOfAnotherTime believes no tree that is too old, from the future, or of another boot of the machine.
func TestTreeOfAnotherTime(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	k := TreeKey{DiffID: "sha256:" + hex.EncodeToString(make([]byte, 32)), Path: "/layers/a/b"}
	for what, tc := range map[string]struct {
		change func(*manifest)
		stays  bool // until somebody tidies
		found  bool
	}{
		"same":              {func(*manifest) {}, true, true},
		"too old":           {func(m *manifest) { m.Made = m.Made.Add(-maxTreeAge - time.Minute) }, true, false},
		"of the future":     {func(m *manifest) { m.Made = m.Made.Add(time.Hour) }, true, false},
		"of another boot":   {func(m *manifest) { m.Boot = "another" }, false, false},
		"of other contents": {func(m *manifest) { m.Sum = "00" }, false, false},
	} {
		made, err := s.MakeTree(t.Context(), k, func(root string) (TreeFacts, error) {
			return TreeFacts{}, os.Mkdir(filepath.Join(root, "layers"), 0o755)
		})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(filepath.Dir(made.Root), treeManifest)
		m, err := readManifest(path)
		if err != nil {
			t.Fatal(err)
		}
		tc.change(&m)
		if err := errors.Join(m.write(path), made.Close()); err != nil {
			t.Fatal(err)
		}
		tree, err := s.Tree(t.Context(), k)
		if (err == nil) != tc.found || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			tree.Close()
		}
		if _, err := os.Lstat(made.Root); (err == nil) != tc.stays {
			t.Errorf("%s: afterwards %v", what, err)
		}
		if err := os.RemoveAll(s.treeDir()); err != nil {
			t.Fatal(err)
		}
	}
}
