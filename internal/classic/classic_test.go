package classic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func tree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i+1 < len(files); i += 2 {
		at := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(files[i+1]), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestIs(t *testing.T) {
	both := []string{"bin/detect", "#!/bin/sh\n", "bin/compile", "#!/bin/sh\n"}
	for name, c := range map[string]struct {
		files []string
		want  bool
	}{
		"classic":                 {both, true},
		"with one of the index":   {append([]string{"buildpack.toml", "[buildpack]\nname = \"Ruby\"\n"}, both...), true},
		"a CNB that is both":      {append([]string{"buildpack.toml", "api = \"0.10\"\n"}, both...), false},
		"without detect":          {[]string{"bin/compile", "#!/bin/sh\n"}, false},
		"a directory for compile": {[]string{"bin/detect", "#!/bin/sh\n", "bin/compile/x", ""}, false},
	} {
		if got := Is(tree(t, c.files...)); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestOrigin(t *testing.T) {
	for in, want := range map[Origin]string{
		{Name: "heroku-buildpack-nodejs", Ref: "v1.20.3"}: "classic/heroku-buildpack-nodejs 1.20.3",
		{Name: "My Pack!", Ref: "refs/tags/2.0.0"}:        "classic/my-pack 2.0.0",
		{Name: "App", Ref: "v1.2"}:                        "classic/buildpack 0.0.0",
		{Name: "..", Ref: "main"}:                         "classic/buildpack 0.0.0",
	} {
		if got := in.ID() + " " + in.Version(); got != want {
			t.Errorf("%+v: %s, want %s", in, got, want)
		}
	}
}

func TestConvert(t *testing.T) {
	shim := filepath.Join(tree(t, "shim", "a program"), "shim")
	from := tree(t, "bin/detect", "#!/bin/sh\n", "bin/compile", "#!/bin/bash\n", "lib/x.sh", "x", ".git/HEAD", "ref")
	if err := os.Symlink("x.sh", filepath.Join(from, "lib", "y.sh")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(from, "lib", "x.sh"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	if err := Convert(from, Origin{Name: "x", URL: "https://git.test/x.git", Commit: "abc"}, shim, to); err != nil {
		t.Fatal(err)
	}
	toml, err := os.ReadFile(filepath.Join(to, "buildpack.toml"))
	if err != nil || !strings.Contains(string(toml), `id = "classic/x"`) || !strings.Contains(string(toml), `commit = "abc"`) {
		t.Errorf("%s, %v", toml, err)
	}
	if fi, err := os.Stat(filepath.Join(to, Dir, "lib", "y.sh")); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", fi, err)
	}
	if _, err := os.Stat(filepath.Join(to, Dir, ".git")); err == nil {
		t.Error("the history is copied too")
	}
	if b, err := os.ReadFile(filepath.Join(to, "bin", "build")); err != nil || string(b) != "a program" {
		t.Errorf("bin/build: %q, %v", b, err)
	}
	if Is(to) {
		t.Error("what comes out is classic still")
	}
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"not executable": {func(d string) error { return os.Chmod(filepath.Join(d, "bin", "compile"), 0o640) }, "bin/compile has mode -rw-r-----"},
		"Windows": {func(d string) error {
			return os.WriteFile(filepath.Join(d, "bin", "detect"), []byte("#!/bin/sh\r\nexit 0\r\n"), 0o755)
		}, `bin/detect, line 1: it ends as lines of Windows do`},
		"a link out": {func(d string) error { return os.Symlink("../../etc/passwd", filepath.Join(d, "lib")) }, "lib is a link to ../../etc/passwd, which is not in the buildpack"},
	} {
		dir := tree(t, "bin/detect", "#!/bin/sh\n", "bin/compile", "#!/bin/sh\n")
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if err := Convert(dir, Origin{Name: "x"}, shim, filepath.Join(t.TempDir(), "to")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
