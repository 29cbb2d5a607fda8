package index_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/index"
)

// TestFind searches by words, language and target, in what an index says and in what is known besides.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	for _, name := range []string{"acme/go", "acme/mongo", "acme/go-build", "acme/engine", "acme/node-engine", "zz/jvm", "zz/go"} {
		n, err := index.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		files[n.Path()] = row(name, "1.0.0", "a", false)
	}
	write(t, dir, files)
	tree, err := index.ReadDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	x := open(t, tree)
	known := index.Facts{
		"acme/engine": {Description: "Installs Go, fast", Targets: []string{"linux/amd64"}},
		"zz/jvm":      {Keywords: []string{"Java"}, Targets: []string{"linux"}},
		"zz/go":       {Uses: 2, Targets: []string{"linux/arm64"}},
	}
	for _, tt := range []struct {
		q    index.Query
		want string
	}{
		{index.Query{Text: "go"}, "zz/go acme/go acme/go-build acme/mongo acme/engine"},
		{index.Query{Language: "golang"}, "zz/go acme/go acme/engine acme/go-build"},
		{index.Query{Language: "go", Target: "linux/arm64"}, "zz/go acme/go acme/go-build"},
		{index.Query{Target: "linux/amd64"}, "zz/jvm acme/engine acme/go acme/mongo acme/go-build acme/node-engine"},
		{index.Query{Text: "engine", Language: "javascript"}, "acme/node-engine"},
		{index.Query{Text: "fast installs"}, "acme/engine"},
		{index.Query{Language: "java"}, "zz/jvm"},
		{index.Query{Language: "cobol"}, ""},
		{index.Query{Text: "zz", Target: "windows"}, ""},
	} {
		var got []string
		for _, h := range x.Find(tt.q, known) {
			got = append(got, h.Name.String())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%+v finds %s, want %s", tt.q, s, tt.want)
		}
	}
}

// TestNote: what was noted is there, uses are counted whoever notes at the same time, and a damaged file is as none.
func TestNote(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "registries")
	n := index.Name{NS: "acme", Name: "java"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := index.OpenSet(dir)
			if err == nil {
				err = s.Note(n, index.Fact{Version: "1.0.0", Description: "compiles", Targets: []string{"linux"}, Seen: at}, true)
			}
			if err == nil {
				err = s.Note(index.Name{NS: "acme", Name: fmt.Sprint("b", i)}, index.Fact{Description: strings.Repeat("x", 5000), Seen: at}, false)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := index.OpenSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	known := s.Facts()
	if f := known["acme/java"]; f.Uses != 8 || f.Description != "compiles" || !f.Seen.Equal(at) || len(known) != 9 {
		t.Errorf("%d: %+v", len(known), f)
	}
	if f := known["acme/b1"]; len(f.Description) != 1000 || f.Uses != 0 {
		t.Errorf("%d bytes, %d uses", len(f.Description), f.Uses)
	}
	if err := os.WriteFile(filepath.Join(dir, "facts.json"), []byte(`{"acme/java":`), 0o644); err != nil {
		t.Fatal(err)
	}
	if known := s.Facts(); len(known) != 0 {
		t.Errorf("%+v", known)
	}
}
