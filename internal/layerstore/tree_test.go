package layerstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
)

func treeKey(n int) layerstore.TreeKey {
	return layerstore.TreeKey{DiffID: digestOf(fmt.Append(nil, n)), Path: "/layers/a_b/c", UID: os.Getuid(), GID: os.Getgid()}
}

// fillTree makes files of every kind that a layer has.
func fillTree(root string) (layerstore.TreeFacts, error) {
	var errs []error
	for i := range 30 {
		dir := filepath.Join(root, "layers", "a_b", "c", fmt.Sprintf("d%d", i%5), fmt.Sprintf("e%d", i))
		errs = append(errs, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "f"), []byte("some text"), 0o644),
			os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600), os.Symlink("f", filepath.Join(dir, "l")))
	}
	return layerstore.TreeFacts{Bytes: 270, Exact: true}, errors.Join(errs...)
}

func makeTree(t *testing.T, s *layerstore.Store, k layerstore.TreeKey) *layerstore.Tree {
	t.Helper()
	tree, err := s.MakeTree(t.Context(), k, fillTree)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTree(t *testing.T) {
	s := open(t)
	if _, err := s.Tree(t.Context(), treeKey(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tree that nobody made: %v", err)
	}
	made := makeTree(t, s, treeKey(1))
	for range 3 {
		found, err := s.Tree(t.Context(), treeKey(1))
		if err != nil || found.Root != made.Root || found.TreeFacts != made.TreeFacts {
			t.Fatalf("%+v, %v, want %+v", found, err, made)
		}
		defer found.Close()
	}
	for what, change := range map[string]func(*layerstore.TreeKey){
		"diffID": func(k *layerstore.TreeKey) { k.DiffID = digestOf(nil) },
		"path":   func(k *layerstore.TreeKey) { k.Path = "/layers/a_b/d" },
		"user":   func(k *layerstore.TreeKey) { k.UID++ },
		"group":  func(k *layerstore.TreeKey) { k.GID++ },
	} {
		k := treeKey(1)
		change(&k)
		if _, err := s.Tree(t.Context(), k); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("another %s: %v", what, err)
		}
	}
	bad := errors.New("bad")
	if _, err := s.MakeTree(t.Context(), treeKey(2), func(string) (layerstore.TreeFacts, error) { return layerstore.TreeFacts{}, bad }); !errors.Is(err, bad) {
		t.Errorf("a tree that cannot be filled: %v", err)
	}
	if names := treeNames(t, s); len(names) != 1 {
		t.Errorf("there is %v", names)
	}
	if _, err := s.MakeTree(t.Context(), layerstore.TreeKey{DiffID: "sha256:../.."}, fillTree); err == nil {
		t.Error("no digest, and a tree")
	}
}

func treeNames(t *testing.T, s *layerstore.Store) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Dir(), "trees"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestTreeDamaged changes trees and their manifests in a hundred ways: each is a miss, and goes.
func TestTreeDamaged(t *testing.T) {
	s := open(t)
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tree := makeTree(t, s, treeKey(1))
		root := tree.Root
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		what := damage(t, rnd, root)
		if tree, err := s.Tree(t.Context(), treeKey(1)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("seed %d: after %s: %+v, %v", seed, what, tree, err)
		}
		if _, err := os.Lstat(filepath.Dir(root)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("seed %d: after %s it is still there: %v", seed, what, err)
		}
	}
}

// damage changes something of a tree, and says what.
func damage(t *testing.T, rnd *rand.Rand, root string) string {
	t.Helper()
	var files, all []string
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if p != root {
			all = append(all, p)
		}
		if err == nil && e.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(filepath.Dir(root), "manifest")
	file, any := files[rnd.IntN(len(files))], all[rnd.IntN(len(all))]
	flip := func(at string) error {
		b, err := os.ReadFile(at)
		if err != nil || len(b) == 0 {
			return errors.Join(err, os.WriteFile(at, []byte("x"), 0o644))
		}
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		f, err := os.OpenFile(at, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		return errors.Join(err, f.Close())
	}
	mode := os.FileMode(0o700)
	if fi, err := os.Lstat(file); err == nil && fi.Mode().Perm() == mode {
		mode = 0o711
	}
	damages := []struct {
		what string
		do   func() error
	}{
		{"a flipped byte in " + file, func() error { return flip(file) }},
		{"a longer " + file, func() error {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		}},
		{"a rewritten " + file, func() error { // same bytes, same size, same mtime
			fi, err := os.Stat(file)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(file)
			return errors.Join(err, os.WriteFile(file, b, 0), os.Chtimes(file, fi.ModTime(), fi.ModTime()))
		}},
		{"no " + any, func() error { return os.RemoveAll(any) }},
		{"mode of " + file, func() error { return os.Chmod(file, mode) }},
		{"one more name beside " + any, func() error { return os.WriteFile(any+".more", nil, 0o644) }},
		{"a link in place of " + file, func() error { return errors.Join(os.Rename(file, file+".was"), os.Symlink(file+".was", file)) }},
		{"a second name of " + file, func() error {
			return os.Link(file, filepath.Join(filepath.Dir(filepath.Dir(root)), "second"+fmt.Sprint(rnd.Uint64())))
		}},
		{"no tree", func() error { return os.RemoveAll(root) }},
		{"a link in place of the tree", func() error { return errors.Join(os.Rename(root, root+"2"), os.Symlink(root+"2", root)) }},
		{"no manifest", func() error { return os.Remove(manifest) }},
		{"a short manifest", func() error { return os.Truncate(manifest, rnd.Int64N(200)) }},
		{"a flipped byte in the manifest", func() error { return flip(manifest) }},
		{"a link in place of the manifest", func() error {
			return errors.Join(os.Rename(manifest, manifest+"2"), os.Symlink(manifest+"2", manifest))
		}},
	}
	d := damages[rnd.IntN(len(damages))]
	time.Sleep(5 * time.Millisecond) // longer than the kernel's clock takes for a step
	if err := d.do(); err != nil {
		t.Fatal(d.what, err)
	}
	return d.what
}

// TestTreeInUse removes nothing that somebody uses, and makes a new one beside it.
func TestTreeInUse(t *testing.T) {
	s := open(t)
	used := makeTree(t, s, treeKey(1))
	if err := os.WriteFile(filepath.Join(used.Root, "more"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tree(t.Context(), treeKey(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("found what is damaged: %v", err)
	}
	next := makeTree(t, s, treeKey(1))
	if found, err := s.Tree(t.Context(), treeKey(1)); err != nil || found.Root != next.Root {
		t.Errorf("%+v, %v, want %s", found, err, next.Root)
	} else {
		found.Close()
	}
	long := time.Now().Add(-48 * time.Hour)
	for _, n := range treeNames(t, s) {
		if err := os.Chtimes(filepath.Join(s.Dir(), "trees", n), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := s.Prune(nil, time.Hour); err != nil || p.Trees != 0 {
		t.Errorf("pruned %+v, %v", p, err)
	}
	next.Close()
	if p, err := s.Prune(nil, time.Hour); err != nil || p.Trees != 1 || p.Bytes != 270 {
		t.Errorf("pruned %+v, %v", p, err)
	}
	used.Close()
	if p, err := s.Prune(nil, time.Hour); err != nil || p.Trees != 1 {
		t.Errorf("pruned %+v, %v", p, err)
	}
	if names := treeNames(t, s); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// TestTreesTidied keeps what a cache names, and what somebody has just made.
func TestTreesTidied(t *testing.T) {
	s := open(t)
	tar, diffID := tarOf(t, "one", "1")
	put(t, s, tar)
	if err := s.Cache("app").Replace(cnb.CacheMetadata{}, []string{diffID}); err != nil {
		t.Fatal(err)
	}
	named := treeKey(1)
	named.DiffID = diffID
	for _, k := range []layerstore.TreeKey{named, treeKey(2)} {
		makeTree(t, s, k).Close()
	}
	if err := os.Mkdir(filepath.Join(s.Dir(), "trees", "new-died"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.TidyTrees(t.Context()); err != nil || len(treeNames(t, s)) != 3 {
		t.Errorf("%v, left %v", err, treeNames(t, s))
	}
	before := time.Now().Add(-2 * time.Hour)
	for _, n := range treeNames(t, s) {
		if err := os.Chtimes(filepath.Join(s.Dir(), "trees", n), before, before); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.TidyTrees(t.Context()); err != nil || len(treeNames(t, s)) != 1 {
		t.Errorf("%v, left %v", err, treeNames(t, s))
	}
	if tree, err := s.Tree(t.Context(), named); err != nil {
		t.Error(err)
	} else {
		tree.Close()
	}
}
