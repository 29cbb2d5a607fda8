package source

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// repository makes a git repository with two commits, of which the first has tags.
func repository(t *testing.T) (dir string, git func(args ...string) string) {
	t.Helper()
	dir = t.TempDir()
	git = func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main", "-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("1"), 0o644))
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	git("add", "a")
	git("commit", "-q", "-m", "one")
	return dir, git
}

func TestGit(t *testing.T) {
	dir, git := repository(t)
	git("remote", "add", "origin", "https://user:PASSWORD@example.com/o/r.git?token=x")
	git("tag", "light")
	git("tag", "-a", "-m", "m", "v1")
	one := git("rev-parse", "HEAD")
	want := &GitInfo{Commit: one, Branch: "main", Tags: []string{"light", "v1"}, Remote: "https://example.com/o/r.git"}
	check := func(what string, got *GitInfo) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	check("loose", Git(dir))
	check("from below", Git(filepath.Join(dir, "sub")))
	res, _, err := unpack(t, dir, nil)
	must(t, err)
	check("unpacked", res.Git)
	git("pack-refs", "--all")
	check("packed", Git(dir))
	git("gc", "-q")
	check("after gc", Git(dir))

	git("commit", "-q", "--allow-empty", "-m", "two")
	two := git("rev-parse", "HEAD")
	tree := filepath.Join(t.TempDir(), "tree")
	git("worktree", "add", "-q", "-b", "side/line", tree)
	want.Commit, want.Branch, want.Tags = two, "side/line", nil
	check("worktree", Git(tree))
	git("checkout", "-q", "--detach", one)
	want.Commit, want.Branch, want.Tags = one, "", []string{"light", "v1"}
	check("detached", Git(dir))
	md := want.Project()
	if md.Source.Type != "git" || md.Source.Version["commit"] != one || md.Source.Version["describe"] != "v1" || md.Source.Metadata["url"] != want.Remote {
		t.Errorf("%+v", md.Source)
	}
	if Git(t.TempDir()) != nil {
		t.Error("a repository where there is none")
	}
	if (*GitInfo)(nil).Project().Source != nil {
		t.Error("no repository is a git source")
	}
}

func TestGitHostile(t *testing.T) {
	outside := dirOf(t, []item{{name: "ref", text: strings.Repeat("a", 40)}})
	for name, items := range map[string][]item{
		"HEAD leads out":  {{name: ".git/HEAD", kind: tar.TypeSymlink, link: outside + "/ref"}},
		"ref leads out":   {{name: ".git/HEAD", text: "ref: refs/../../" + outside + "/ref"}},
		"HEAD is a FIFO":  {{name: ".git/HEAD", kind: tar.TypeFifo}},
		"HEAD is rubbish": {{name: ".git/HEAD", text: "\x1b[31m\n"}},
		".git leads out":  {{name: ".git", kind: tar.TypeSymlink, link: outside}},
		".git is a file":  {{name: ".git", text: "gitdir: " + outside}},
	} {
		if g := gitBelow(dirOf(t, items)); g != nil && (g.Commit != "" || g.Branch != "") {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

func TestCleanURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com/a.git":            "https://example.com/a.git",
		"https://tok@example.com/a":            "https://example.com/a",
		"https://u:p@example.com:8443/a?t=1#f": "https://example.com:8443/a",
		"ssh://git:pw@example.com/a":           "ssh://git@example.com/a",
		"git@example.com:o/r.git":              "git@example.com:o/r.git",
		"u:p@example.com:o/r.git":              "",
		"/home/me/repo":                        "",
		"file:///home/me/repo":                 "",
		"https://e.com/a\x1b[0m":               "",
		"":                                     "",
		"https://u:%zz@example.com/":           "",
	} {
		if got := cleanURL(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzCleanURL holds that a password does not come through.
func FuzzCleanURL(f *testing.F) {
	for _, s := range []string{"https://u:SECRET@h/p", "u:SECRET@h:p", "ssh://u:SECRET@h", "https://h/?SECRET", "git@h:p"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := cleanURL("https://user:SECRET@" + s)
		if strings.Contains(got, "SECRET") && !strings.Contains(s, "SECRET") {
			t.Errorf("%q gives %q", s, got)
		}
		if strings.ContainsAny(cleanURL(s), "\n\x1b") {
			t.Errorf("%q", s)
		}
	})
}

// FuzzNames holds that an accepted name or link stays inside.
func FuzzNames(f *testing.F) {
	f.Add("a/b", "../c")
	f.Add("./a//b/", "/x")
	f.Add("..", "../..")
	f.Fuzz(func(t *testing.T, name, target string) {
		n, err := clean(name)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%q", err)
			}
			return
		}
		if strings.HasPrefix(n, "/") || slices.Contains(strings.Split(n, "/"), "..") {
			t.Errorf("%q became %q", name, n)
		}
		if n == "" || strings.HasPrefix(target, "/") || !inside(n, target) {
			return
		}
		if p := filepath.Join("/top", filepath.Dir(n), target); p != "/top" && !strings.HasPrefix(p, "/top/") {
			t.Errorf("link %q to %q leads to %s", n, target, p)
		}
	})
}

// FuzzUnpack holds that whatever an archive is, unpacking it ends and leaves nothing outside its directory.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, app, false))
	f.Add(tarOf(f, app, true))
	f.Add(zipOf(f, app))
	f.Add(tarOf(f, []item{{name: "../x", text: "1"}}, false))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		src, dest := filepath.Join(dir, "src"), filepath.Join(dir, "dest")
		must(t, os.WriteFile(src, b, 0o644))
		must(t, os.Mkdir(dest, 0o755))
		_, err := Unpack(t.Context(), Request{Path: src, Dest: dest, UID: -1, GID: -1, Limits: Limits{Bytes: 1 << 20, Files: 1000}})
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q", err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Errorf("%v %v", entries, err)
		}
		filepath.WalkDir(dest, func(p string, d os.DirEntry, err error) error { os.Chmod(p, 0o755); return nil })
	})
}
