package fetch

import (
	"context"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/internal/source"
)

// The test binary is also the askpass of the gits that the tests run.
func TestMain(m *testing.M) {
	if IsAskpass(os.Args, os.Environ()) {
		os.Exit(Askpass(context.Background(), os.Args, os.Environ(), os.Stdout))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/slipway-build/slipway/internal/child.serve")) // it ends with the process
}

// repo is a repository of the test's own.
type repo struct {
	t   testing.TB
	dir string
}

func newRepo(t testing.TB) *repo {
	t.Helper()
	r := &repo{t, filepath.Join(t.TempDir(), "app.git")}
	must(t, os.Mkdir(r.dir, 0o755))
	r.git("", "init", "--quiet", "--bare", "--initial-branch=main")
	return r
}

func (r *repo) git(stdin string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = r.dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@b", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) blob(content string) string { return r.git(content, "hash-object", "-w", "--stdin") }

// tree makes a tree of entries "mode kind hash\tname".
func (r *repo) tree(entries ...string) string {
	slices.SortFunc(entries, func(a, b string) int { return strings.Compare(a[strings.Index(a, "\t"):], b[strings.Index(b, "\t"):]) })
	return r.git(strings.Join(entries, "\n")+"\n", "mktree")
}

// commit commits a tree to a branch.
func (r *repo) commit(branch, tree string, parents ...string) Commit {
	args := []string{"commit-tree", "-m", "x"}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	h := r.git("", append(args, tree)...)
	if branch != "" {
		r.git("", "update-ref", "refs/heads/"+branch, h)
	}
	return Commit(h)
}

// app is a small tree, with attributes that would leave files out of an export.
func (r *repo) app(version string) string {
	return r.tree(
		"100644 blob "+r.blob("secret.txt export-ignore\nsubst export-subst\n")+"\t.gitattributes",
		"100644 blob "+r.blob(version)+"\tversion", "100644 blob "+r.blob("all of it")+"\tsecret.txt", "100644 blob "+r.blob("$Format:%H$")+"\tsubst",
		"100755 blob "+r.blob("#!/bin/sh\n")+"\trun", "120000 blob "+r.blob("version")+"\tlink",
		"160000 commit "+strings.Repeat("1", 40)+"\tsub",
	)
}

// backend serves repositories by git's own http-backend.
func backend(t testing.TB, root string) http.Handler {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	must(t, err)
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Root: "/", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + root},
	}
}

// fetcher may reach 127.0.0.1 alone. Nothing may be left of its fetches.
func fetcher(t testing.TB, ca string) *Fetcher {
	t.Helper()
	f := &Fetcher{Dialer: allow("127.0.0.1/32"), CAFile: ca, Dir: t.TempDir()}
	t.Cleanup(func() {
		if left, err := os.ReadDir(f.Dir); len(left) != 0 || err != nil {
			t.Errorf("%v is left, %v", left, err)
		}
		processes, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, p := range processes {
			if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), f.Dir) {
				t.Errorf("process %s is left: %q", p, b)
			}
		}
	})
	return f
}

func gitURL(t testing.TB, s string) GitURL {
	t.Helper()
	u, err := ParseGitURL(s)
	must(t, err)
	return u
}

// get fetches a tree and unpacks it, and lists its files with their content.
func get(t testing.TB, f *Fetcher, req GitRequest) (Commit, map[string]string, error) {
	t.Helper()
	req.Limits.Memory = 1 << 50 // of which the race detector in askpass maps much
	sources, err := OpenSources(t.TempDir())
	must(t, err)
	var commit Commit
	kept, err := sources.Write(t.Context(), 1<<30, func(w io.Writer) (err error) {
		commit, err = f.Git(t.Context(), req, w)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	path, err := sources.Path(kept.Key)
	must(t, err)
	dest := t.TempDir()
	if _, err := source.Unpack(t.Context(), source.Request{Path: path, Dest: dest, UID: -1, GID: -1}); err != nil {
		return "", nil, err
	}
	files := map[string]string{}
	must(t, filepath.WalkDir(dest, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dest {
			return err
		}
		name, _ := filepath.Rel(dest, p)
		if fi, err := d.Info(); err != nil || d.Type()&os.ModeSymlink == 0 && fi.Mode()&0o022 != 0 {
			t.Errorf("%s has mode %v, and not that of a checkout (%v)", name, fi.Mode(), err)
		}
		switch {
		case d.IsDir():
			files[name+"/"] = ""
		case d.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			files[name] = "-> " + to
			return err
		default:
			b, err := os.ReadFile(p)
			files[name] = string(b)
			return err
		}
		return nil
	}))
	return commit, files, nil
}
