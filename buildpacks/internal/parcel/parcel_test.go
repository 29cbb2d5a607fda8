package parcel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/buildpacks/libcnb/v2"
)

func TestFaultsSayWhoseTheyAre(t *testing.T) {
	cause := errors.New("connection refused")
	ours := Ours("try again", "could not get %s: %w", "x", cause)
	if !errors.Is(ours, cause) || ours.Error() != "could not get x: connection refused" {
		t.Errorf("%v", ours)
	}
	text := Explain("slipway/x", ours)
	for _, want := range []string{"ERROR slipway/x: could not get x: connection refused\n", "not your app's fault", "What to do: try again"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if text := Explain("slipway/x", Yours("change it", "your file: line %d", 3)); strings.Contains(text, "not your") || !strings.Contains(text, "line 3") {
		t.Error(text)
	}
}

func TestEnv(t *testing.T) {
	e := ParseEnv([]string{"B=2", "A=x=y", "broken"})
	if got := strings.Join(e.With("C=").List(), " "); got != "A=x=y B=2 C=" {
		t.Error(got)
	}
	if got := (Env{"L": " a, b\nc "}).Words("L"); strings.Join(got, "|") != "a|b|c" {
		t.Error(got)
	}
	if _, err := (Env{"F": "maybe"}).Flag("F"); err == nil {
		t.Error("maybe is accepted")
	}
	if on, err := (Env{"F": "True"}).Flag("F"); err != nil || !on {
		t.Error(on, err)
	}
}

func TestKeysKeepBorders(t *testing.T) {
	if KeyOf("a", "bc") == KeyOf("ab", "c") || KeyOf("a") == KeyOf("a", "") {
		t.Error("two inputs, one key")
	}
}

func TestTreeKeySeesEachChange(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) {
		t.Helper()
		file := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	skip := func(rel string, _ fs.DirEntry) bool { return rel == ".git" }
	key := func() string {
		t.Helper()
		k, err := TreeKey(dir, skip)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write("a/b", "1", 0o644)
	write(".git/HEAD", "x", 0o644)
	seen := map[string]string{key(): "start"}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"content", func() { write("a/b", "2", 0o644) }},
		{"exec bit", func() { write("a/b", "2", 0o755) }},
		{"new file", func() { write("c", "", 0o644) }},
		{"link", func() { os.Symlink("a/b", filepath.Join(dir, "l")) }},
	} {
		step.do()
		k := key()
		if other, ok := seen[k]; ok {
			t.Errorf("%s: same key as %s", step.name, other)
		}
		seen[k] = step.name
	}
	before := key()
	write(".git/HEAD", "y", 0o644)
	os.Chtimes(filepath.Join(dir, "a/b"), time.Unix(0, 0), time.Unix(0, 0))
	if key() != before {
		t.Error("what does not count changes the key")
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := TreeKey(dir, skip); err == nil {
		t.Error("a FIFO is accepted")
	}
}

func TestReadTextRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "Procfile"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadText(dir, "Procfile"); err == nil {
		t.Error("a FIFO is read")
	}
	if _, ok, err := ReadText(dir, "none"); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestSBOMIsReproducible(t *testing.T) {
	by := libcnb.Buildpack{Info: libcnb.BuildpackInfo{ID: "slipway/x", Version: "0.1.0"}}
	a := Component{Name: "a", Version: "1", PURL: "pkg:npm/a@1", License: "MIT"}
	b := Component{Name: "b", Version: "2", PURL: "pkg:npm/b@2", SHA512: "00"}
	var texts [][]byte
	for _, list := range [][]Component{{a, b}, {b, a, b}} {
		file := filepath.Join(t.TempDir(), "x.sbom.cdx.json")
		if err := WriteSBOM(file, by, list); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("the order of the components shows")
	}
	var doc struct {
		BOMFormat  string
		Components []struct{ PURL string }
	}
	if err := json.Unmarshal(texts[0], &doc); err != nil || doc.BOMFormat != "CycloneDX" || len(doc.Components) != 2 {
		t.Errorf("%+v, %v", doc, err)
	}
}

func TestCommand(t *testing.T) {
	var seen bytes.Buffer
	_, err := Command{Path: "/bin/ls", Args: []string{"/no/such/directory"}, Dir: "/", Env: Env{"LC_ALL": "C"}, Out: &seen}.Run(t.Context())
	e, ok := errors.AsType[*CommandError](err)
	if !ok || e.Code == 0 || !strings.Contains(e.Tail, "No such file") || !strings.Contains(seen.String(), "No such file") {
		t.Fatalf("%v, %q", err, seen.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = Command{Path: "/bin/sleep", Args: []string{"60"}, Dir: "/"}.Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestCopyTreeKeepsLinksAndModes(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	os.MkdirAll(filepath.Join(src, "d"), 0o755)
	os.WriteFile(filepath.Join(src, "d/x"), []byte("x"), 0o755)
	os.Symlink("d/x", filepath.Join(src, "l"))
	if err := CopyTree(src, dst); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(dst, "l")); err != nil || target != "d/x" {
		t.Error(target, err)
	}
	if info, err := os.Stat(filepath.Join(dst, "d/x")); err != nil || info.Mode().Perm() != 0o755 {
		t.Error(info, err)
	}
}
