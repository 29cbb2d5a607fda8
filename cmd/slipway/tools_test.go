package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUnpackedToolIsKnownAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return at
	}
	self, other := write("slipway", "self"), write("other", "self")
	tool, marker := write("lifecycle-0123", "a tool"), filepath.Join(dir, "lifecycle.of")
	if _, ok := unpacked(marker, self); ok {
		t.Error("known without a marker")
	}
	noteUnpacked(marker, self, tool)
	if at, ok := unpacked(marker, self); !ok || at != tool {
		t.Errorf("unpacked = %q, %v; want %q", at, ok, tool)
	}
	if _, ok := unpacked(marker, other); ok {
		t.Error("another slipway takes what this one unpacked for its own")
	}
	write("lifecycle-0123", "a tool that somebody changed")
	if _, ok := unpacked(marker, self); ok {
		t.Error("a changed tool is trusted")
	}
	write("lifecycle.of", "../../etc/passwd\n")
	if _, ok := unpacked(marker, self); ok {
		t.Error("a garbled marker is trusted")
	}
	if left, err := filepath.Glob(marker + "-*"); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
