package rootfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/internal/rootfs"
)

// TestOverlay mounts many directories, with and without a writable one.
func TestOverlay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: what is seen is that mounting is refused")
		if err := (rootfs.Overlay{Lower: []string{"/usr", "/etc"}}).Mount(t.TempDir()); err == nil {
			t.Error("mounted without being root")
		}
		return
	}
	for _, n := range []int{1, 2, 50, 400} {
		for _, writable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d-%v", n, writable), func(t *testing.T) { overlay(t, n, writable, rootfs.Overlay.Mount) })
			if n > 1 && n < 100 {
				t.Run(fmt.Sprintf("old-%d-%v", n, writable), func(t *testing.T) { overlay(t, n, writable, rootfs.Overlay.MountOld) })
			}
		}
	}
}

func overlay(t *testing.T, n int, writable bool, mount func(rootfs.Overlay, string) error) {
	base := filepath.Join(t.TempDir(), `a, b: c\d`)
	mkdir := func(name string) string {
		dir := filepath.Join(base, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	var o rootfs.Overlay
	for i := range n {
		lower := mkdir(fmt.Sprintf("a rather long name, with a colon: %d", i))
		for _, name := range []string{"same", fmt.Sprint(i)} {
			if err := os.WriteFile(filepath.Join(lower, name), fmt.Append(nil, i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		o.Lower = append(o.Lower, lower)
	}
	if writable {
		o.Upper, o.Work = mkdir("upper"), mkdir("work")
	}
	dir := mkdir("merged")
	if err := mount(o, dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rootfs.Unmount(dir); err != nil {
			t.Error(err)
		}
		if names, _ := os.ReadDir(dir); len(names) > 0 {
			t.Errorf("still mounted: %v", names)
		}
	}()
	if names, err := os.ReadDir(dir); err != nil || len(names) != n+1 {
		t.Errorf("%d names (%v), want %d", len(names), err, n+1)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "same")); err != nil || string(b) != "0" {
		t.Errorf("the topmost does not win: %q, %v", b, err)
	}
	err := os.WriteFile(filepath.Join(dir, "same"), []byte("new"), 0o644)
	if (err == nil) != writable {
		t.Errorf("write: %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(o.Lower[0], "same")); string(b) != "0" {
		t.Errorf("a write reached the directory below: %q", b)
	}
}
