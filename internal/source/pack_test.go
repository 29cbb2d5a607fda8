package source

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// packed packs a directory and unpacks that: the digest, and the names of files and links.
func packed(t *testing.T, req PackRequest) (string, []string) {
	t.Helper()
	var b bytes.Buffer
	if _, err := Pack(t.Context(), req, &b); err != nil {
		t.Fatal(err)
	}
	archive, dest := filepath.Join(t.TempDir(), "source.tgz"), t.TempDir()
	must(t, os.WriteFile(archive, b.Bytes(), 0o600))
	res, err := Unpack(t.Context(), Request{Path: archive, Dest: dest, UID: -1, GID: -1})
	must(t, err)
	var names []string
	must(t, filepath.WalkDir(dest, func(p string, d os.DirEntry, err error) error {
		if !d.IsDir() {
			rel, _ := filepath.Rel(dest, p)
			names = append(names, rel)
		}
		return err
	}))
	return res.Digest, names
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(text), 0o644))
	}
	return dir
}

// TestPackIsUnpack packs directories and wants what a build of the directory itself would get.
func TestPackIsUnpack(t *testing.T) {
	for name, descriptor := range map[string]string{
		"all":     "",
		"exclude": "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\nexclude = [\"lib\", \"*.log\", \"/deep/er\"]\n",
		"include": "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\ninclude = [\"*.go\", \"project.toml\", \"deep/er/\"]\n",
		"negated": "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\nexclude = [\"deep/*\", \"!deep/er\"]\n",
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"main.go": "package main", "a.log": "x", "lib/x.go": "x", "deep/er/y": "y", "deep/z.go": "", strings.Repeat("n", 200): "long"}
			if descriptor != "" {
				files["project.toml"] = descriptor
			}
			dir := tree(t, files)
			must(t, os.Chmod(filepath.Join(dir, "main.go"), 0o755))
			must(t, os.Chmod(filepath.Join(dir, "deep"), 0o750))
			must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
			must(t, os.Symlink("../main.go", filepath.Join(dir, "lib", "link")))
			res, err := Unpack(t.Context(), Request{Path: dir, Dest: t.TempDir(), UID: -1, GID: -1})
			must(t, err)
			if got, names := packed(t, PackRequest{Dir: dir}); got != res.Digest {
				t.Errorf("packed and unpacked %s, unpacked %s: %q", got, res.Digest, names)
			}
		})
	}
}

func TestPackIgnores(t *testing.T) {
	repo := tree(t, map[string]string{
		".git/HEAD": "ref: refs/heads/main", ".gitignore": "*.tmp\n/app/only-top\n",
		"app/main.go": "", "app/x.tmp": "", "app/only-top": "", "app/sub/only-top": "",
		"app/.gitignore": "# a comment\nnode_modules/\n*.log\r\n!keep.log\n/build\n\\#odd\n", "app/keep.log": "", "app/drop.log": "",
		"app/node_modules/a/index.js": "", "app/build/out": "", "app/sub/build": "", "app/#odd": "",
		"app/sub/.gitignore": "secret\n", "app/sub/secret": "", "app/secret": "", "app/vendor/.git": "gitdir: elsewhere",
	})
	_, got := packed(t, PackRequest{Dir: filepath.Join(repo, "app")})
	want := []string{".gitignore", "keep.log", "main.go", "secret", "sub/.gitignore", "sub/build", "sub/only-top"}
	if !slices.Equal(got, want) {
		t.Errorf("packed %q, want %q", got, want)
	}
	_, got = packed(t, PackRequest{Dir: filepath.Join(repo, "app"), Ignored: true})
	for _, name := range []string{"node_modules/a/index.js", "x.tmp", "only-top"} {
		if !slices.Contains(got, name) {
			t.Errorf("with what is ignored: packed %q, without %s", got, name)
		}
	}
	if slices.Contains(got, "vendor/.git") {
		t.Errorf("packed %q: a .git", got)
	}
}

func TestPackRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		link   string
		limits Limits
		want   string
	}{
		"nothing":     {want: "there is nothing to build"},
		"all ignored": {files: map[string]string{".gitignore": "*"}, want: "no file is left after project.toml and .gitignore"},
		"a link out":  {files: map[string]string{"a": ""}, link: "../x", want: `leads out of the app directory`},
		"too large":   {files: map[string]string{"a": "12345"}, limits: Limits{Bytes: 4}, want: "more than 4 bytes"},
		"too many":    {files: map[string]string{"a": "", "b": ""}, limits: Limits{Files: 1}, want: "more than 1 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, c.files)
			if c.link != "" {
				must(t, os.Symlink(c.link, filepath.Join(dir, "link")))
			}
			_, err := Pack(t.Context(), PackRequest{Dir: dir, Limits: c.limits}, &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Pack(ctx, PackRequest{Dir: tree(t, map[string]string{"a": ""})}, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over: %v", err)
	}
}
