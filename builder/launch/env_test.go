package launch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestApplyLayer(t *testing.T) {
	for _, c := range []struct {
		name   string
		start  []string
		layers [][]EnvFile // one env directory each
		want   string      // the value of A
		unset  bool
	}{
		{name: "none overrides", start: []string{"A=old"}, layers: [][]EnvFile{{{"A", "new"}}}, want: "new"},
		{name: "override", start: []string{"A=old"}, layers: [][]EnvFile{{{"A.override", "new"}}}, want: "new"},
		{name: "default of a set one", start: []string{"A=old"}, layers: [][]EnvFile{{{"A.default", "new"}}}, want: "old"},
		{name: "default of an empty one", start: []string{"A="}, layers: [][]EnvFile{{{"A.default", "new"}}}, want: "new"},
		{name: "first default wins", layers: [][]EnvFile{{{"A.default", "1"}}, {{"A.default", "2"}}}, want: "1"},
		{name: "append", start: []string{"A=old"}, layers: [][]EnvFile{{{"A.append", "new"}}}, want: "oldnew"},
		{name: "append with delimiter", start: []string{"A=old"}, layers: [][]EnvFile{{{"A.append", "new"}, {"A.delim", ":"}}}, want: "old:new"},
		{name: "prepend", start: []string{"A=old"}, layers: [][]EnvFile{{{"A.prepend", "new"}, {"A.delim", ", "}}}, want: "new, old"},
		{name: "prepend to nothing", layers: [][]EnvFile{{{"A.prepend", "new"}, {"A.delim", ":"}}}, want: "new"},
		{name: "later layers come before", layers: [][]EnvFile{{{"A.prepend", "1"}}, {{"A.prepend", "2"}}}, want: "21"},
		{name: "a delimiter is the layer's own", layers: [][]EnvFile{{{"A.append", "1"}, {"A.delim", ":"}}, {{"A.append", "2"}}}, want: "12"},
		{name: "unknown suffix", layers: [][]EnvFile{{{"A.other", "x"}, {"A.prepend.x", "x"}}}, unset: true},
		{name: "delimiter alone", layers: [][]EnvFile{{{"A.delim", "x"}}}, unset: true},
		{name: "no name", layers: [][]EnvFile{{{".prepend", "x"}, {".gitkeep", ""}}}, unset: true},
		{name: "bytes as they are", layers: [][]EnvFile{{{"A", " x\n$B\n"}}}, want: " x\n$B\n"},
	} {
		e := NewEnv(c.start)
		for _, l := range c.layers {
			if err := e.ApplyLayer(Override, l); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got, ok := e.Lookup("A"); got != c.want || ok == c.unset {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, ok, c.want)
		}
	}
}

func TestDelimiterCountsForTheWholeLayer(t *testing.T) {
	e := NewEnv(nil)
	err := e.ApplyLayer(Override,
		[]EnvFile{{"A.append", "1"}, {"A.delim", ":"}}, []EnvFile{{"A.append", "2"}}, []EnvFile{{"A.append", "3"}, {"A.delim", "-"}})
	if got := e.Get("A"); err != nil || got != "1:2-3" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestApplyUserAndOperator(t *testing.T) {
	e := NewEnv([]string{"PATH=/bin", "A=1", "B=1"})
	if err := e.ApplyUser([]EnvFile{{"PATH", "/u"}, {"A", "u"}, {"C.prepend", "whole name"}}, BuildPaths()); err != nil {
		t.Fatal(err)
	}
	if err := e.ApplyOperator([]EnvFile{{"B", "o"}, {"D", "o"}, {"A.override", "o"}}); err != nil {
		t.Fatal(err)
	}
	want := []string{"A=o", "B=1", "C.prepend=whole name", "D=o", "PATH=/u:/bin"}
	if got := e.Environ(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadEnvFiles(t *testing.T) {
	for _, c := range []struct {
		file EnvFile
		want string
	}{
		{EnvFile{"A=B", "x"}, `env file "A=B": environment variable name "A=B" has a '=' in it: rename the file`},
		{EnvFile{"A=B.append", "x"}, `env file "A=B.append": environment variable name "A=B"`},
		{EnvFile{"A", "x\x00"}, `env file "A": the value has a NUL byte in it`},
		{EnvFile{"A\n", "x"}, `env file "A\n": environment variable name "A\n" has control characters`},
	} {
		err := NewEnv(nil).ApplyLayer(Override, []EnvFile{c.file})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	if err := NewEnv(nil).ApplyUser([]EnvFile{{"A=B", "x"}}, nil); err == nil {
		t.Error("a user's A=B is accepted")
	}
}

func TestReadEnvDir(t *testing.T) {
	dir := t.TempDir()
	for name, v := range map[string]string{"env/B": "2", "env/A.append": "1", "env/sub/C": "3", "outside": "secret"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(v), 0o644))
	}
	must(t, os.Symlink("B", filepath.Join(dir, "env/L")))
	must(t, os.Symlink("sub", filepath.Join(dir, "env/D")))
	want := []EnvFile{{"A.append", "1"}, {"B", "2"}, {"L", "2"}}
	if got, err := ReadEnvDir(filepath.Join(dir, "env")); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := ReadEnvDir(filepath.Join(dir, "absent")); err != nil || got != nil {
		t.Errorf("absent: %v, %v", got, err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, "env"))
	must(t, err)
	defer root.Close()
	if got, err := ReadEnvDirIn(root, "."); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	must(t, os.Symlink("../outside", filepath.Join(dir, "env/OUT")))
	if got, err := ReadEnvDirIn(root, "."); err == nil {
		t.Errorf("a link out of the root was followed: %v", got)
	}
	must(t, os.Remove(filepath.Join(dir, "env/OUT")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "env/F"), 0o644))
	start := time.Now()
	_, err = ReadEnvDirIn(root, ".")
	if err == nil || !strings.Contains(err.Error(), "not a regular file") || time.Since(start) > 20*time.Second {
		t.Errorf("FIFO: %v after %v", err, time.Since(start))
	}
	must(t, os.Remove(filepath.Join(dir, "env/F")))
	must(t, os.WriteFile(filepath.Join(dir, "env/BIG"), make([]byte, maxEnvValue+1), 0o644))
	if _, err = ReadEnvDir(filepath.Join(dir, "env")); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("large file: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzEnvFile holds that what is accepted can be an environment.
func FuzzEnvFile(f *testing.F) {
	f.Add("A.append", "x")
	f.Add("A=B", "")
	f.Add(".x", "\x00")
	f.Fuzz(func(t *testing.T, name, value string) {
		e := NewEnv([]string{"A=1"})
		if e.ApplyLayer(Override, []EnvFile{{name, value}}) != nil {
			return
		}
		for _, kv := range e.Environ() {
			k, _, ok := strings.Cut(kv, "=")
			if !ok || k == "" || strings.ContainsRune(kv, 0) {
				t.Errorf("%q", kv)
			}
		}
		if got := NewEnv(e.Environ()).Environ(); !slices.Equal(got, e.Environ()) {
			t.Errorf("%q is not %q", got, e.Environ())
		}
	})
}
