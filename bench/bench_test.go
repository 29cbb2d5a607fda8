package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedianAndRatio(t *testing.T) {
	s := func(ns ...int) (ds []time.Duration) {
		for _, n := range ns {
			ds = append(ds, time.Duration(n)*time.Second)
		}
		return ds
	}
	if got := median(s(9, 1, 2)); got != 2*time.Second {
		t.Errorf("median of an odd number = %v", got)
	}
	if got := median(s(4, 1, 2, 9)); got != 3*time.Second {
		t.Errorf("median of an even number = %v", got)
	}
	// A round that was slow for both changes no ratio.
	if got := ratio(s(1, 10, 1), s(2, 20, 2)); got != 0.5 {
		t.Errorf("ratio = %v", got)
	}
	if got := ratio(nil, s(1)); got != 0 {
		t.Errorf("ratio of nothing = %v", got)
	}
}

func TestTableTellsOursFirst(t *testing.T) {
	var b bytes.Buffer
	writeTable(&b, "A case", []*row{
		{name: "slipway", ours: true, times: []time.Duration{time.Second, 3 * time.Second, 2 * time.Second}},
		{name: "pack", times: []time.Duration{2 * time.Second, 6 * time.Second, 4 * time.Second}},
		{name: "was left out"},
	})
	for _, want := range []string{"A case", "slipway takes", "2.000 s", "1.000 s .. 3.000 s", "0.50 x"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "left out") {
		t.Errorf("a row without runs is shown:\n%s", b.String())
	}
}

func TestModulesAreTheSameForASeed(t *testing.T) {
	const size = 2_000_000
	make := func(seed uint64) (text string, bytes int) {
		dir := t.TempDir()
		if err := writeModules(dir, size, seed); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			all.WriteString(strings.TrimPrefix(path, dir) + "\n" + string(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all.String(), all.Len()
	}
	one, n := make(1)
	if again, _ := make(1); again != one {
		t.Error("the same seed made other files")
	}
	if other, _ := make(2); other == one {
		t.Error("another seed made the same files")
	}
	if n < size || n > 2*size {
		t.Errorf("%d bytes for %d", n, size)
	}
}

func TestParse(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"SLIPWAY": self, "RUN_IMAGE": "other/run"}[name] }
	o, err := parse([]string{"-pack", "", "-runs", "3"}, getenv, &bytes.Buffer{})
	if err != nil || o.slipway != self || o.runImage != "other/run" || o.pack != "" || o.runs != 3 {
		t.Errorf("parse = %+v, %v", o, err)
	}
	for _, args := range [][]string{{"-runs", "0"}, {"extra"}, {"-slipway", "/nonexistent"}} {
		if _, err := parse(args, getenv, &bytes.Buffer{}); err == nil {
			t.Errorf("parse(%q): no error", args)
		}
	}
}
