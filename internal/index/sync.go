package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/child"
)

// A Synced is what a sync did.
type Synced struct {
	Index    string        `json:"index"`
	Revision string        `json:"revision,omitempty"`
	Before   string        `json:"before,omitempty"` // revision
	Versions int           `json:"versions"`
	Added    int           `json:"added"`   // versions, less those that are gone
	Fetched  int64         `json:"fetched"` // bytes that the copy of the repository has grown by
	Took     time.Duration `json:"took"`
	Faults   []Fault       `json:"faults,omitempty"`
	More     int           `json:"more_faults,omitempty"`
	Held     string        `json:"held,omitempty"`
}

// Sync brings the read model of an index up to its source, and returns what it did. Several at once, of several
// processes too, follow each other; who reads meanwhile has what was there. An upstream that has rewritten its history is
// not followed, and Held says so, unless accept: what was resolved yesterday should mean the same tomorrow.
func (s *Set) Sync(ctx context.Context, name string, accept bool) (Synced, error) {
	return s.sync(ctx, name, accept, 0)
}

// sync is Sync, unless the index was synced in the last time older when its turn comes: then that is errFresh.
func (s *Set) sync(ctx context.Context, name string, accept bool, older time.Duration) (out Synced, err error) {
	src, ok := s.source(name)
	if !ok {
		return Synced{}, s.unknownIndex(name)
	}
	if name == s.kept {
		return Synced{Index: name}, nil
	}
	defer func() {
		if err != nil && !errors.Is(err, errFresh) {
			out, err = Synced{}, &SyncError{name, err}
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, maxSync, fmt.Errorf("it took longer than %s", maxSync))
	defer cancel()
	start := time.Now()
	dir := s.dirOf(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return out, err
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return out, err
	}
	defer unlock()
	model := filepath.Join(dir, "model")
	if info, err := os.Stat(model); err == nil && time.Since(info.ModTime()) < older {
		return out, errFresh
	}
	removeLeft(dir)
	out.Index = name
	before, _ := s.head(name) // one that cannot be read is made anew
	out.Before = before.Revision
	head := Head{Name: name, Source: src.URL}
	var tree *Tree
	if src.IsGit() {
		tree, err = syncGit(ctx, filepath.Join(dir, "repo.git"), src.URL, accept, before, &head, &out)
	} else {
		tree, err = ReadPath(ctx, src.URL)
	}
	if err != nil {
		return out, err
	}
	if tree != nil {
		err = WriteModel(model, head, tree)
	} else {
		err = os.Chtimes(model, time.Time{}, time.Now()) // as of now nothing is newer
	}
	if err != nil {
		return out, err
	}
	after, err := s.head(name)
	if err != nil {
		return out, err
	}
	out.Revision, out.Versions, out.Added, out.Faults, out.More = after.Revision, after.Versions, after.Versions-before.Versions, after.Faults, after.MoreFaults
	out.Took = time.Since(start)
	return out, nil
}

// removeLeft takes away what syncs left behind that were killed.
func removeLeft(dir string) {
	for _, pattern := range []string{".model-*", "repo.git/objects/pack/tmp_*", "repo.git/*.lock", "repo.git/refs/slipway/*.lock"} {
		left, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, p := range left {
			_ = os.Remove(p)
		}
	}
}

// head is what the read model of an index says of itself; the zero Head where there is none.
func (s *Set) head(name string) (Head, error) {
	x, err := Open(filepath.Join(s.dirOf(name), "model"))
	if errors.Is(err, fs.ErrNotExist) {
		return Head{}, nil
	}
	if err != nil {
		return Head{}, err
	}
	return x.Head, x.Close()
}

// Refs of the copy of an index's repository.
const (
	refIncoming = "refs/slipway/incoming"
	refCurrent  = "refs/slipway/current"
)

// syncGit fetches what is new, and gives the tree where the read model is to be written anew.
func syncGit(ctx context.Context, repo, url string, accept bool, before Head, head *Head, out *Synced) (*Tree, error) {
	g := gitRepo{repo}
	if _, err := os.Stat(filepath.Join(repo, "HEAD")); errors.Is(err, fs.ErrNotExist) {
		if _, err := g.run(ctx, "init", "--quiet", "--bare", "--", repo); err != nil {
			return nil, err
		}
	}
	size := sizeOf(repo)
	if _, err := g.run(ctx, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", url, "+HEAD:"+refIncoming); err != nil {
		return nil, fmt.Errorf("git fetch %s: %w", url, err)
	}
	out.Fetched = max(0, sizeOf(repo)-size)
	incoming, err := g.run(ctx, "rev-parse", "--verify", refIncoming+"^{commit}")
	if err != nil {
		return nil, err
	}
	if head.Revision = incoming; incoming == before.Revision && before.Held == "" && before.Source == url {
		return nil, nil
	}
	if !accept && before.Revision != "" && before.Source == url {
		if held, err := g.rewritten(ctx, before.Revision, incoming); err != nil {
			return nil, err
		} else if held {
			head.Revision = before.Revision
			head.Held = fmt.Sprintf("the history of %s was rewritten: %.12s does not follow %.12s, which is kept (slipway registry sync --accept %s takes it)", url, incoming, before.Revision, head.Name)
			out.Held = head.Held
		}
	}
	tree, err := g.tree(ctx, head.Revision)
	if err != nil {
		return nil, err
	}
	if _, err := g.run(ctx, "update-ref", refCurrent, head.Revision); err != nil {
		return nil, err
	}
	// What every sync leaves as files of their own becomes one file now and then. Where it cannot, that costs room alone.
	_, _ = g.run(ctx, "-c", fmt.Sprintf("gc.auto=%d", looseObjects), "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
	return tree, nil
}

// looseObjects is about how many objects of git lie in files of their own before they are packed: some days of syncs.
const looseObjects = 500

// rewritten says whether a commit that was read before is no part of the history of the one that has come. Where the
// copy of the repository has lost it there is nothing to keep, and nothing to compare.
func (g gitRepo) rewritten(ctx context.Context, before, incoming string) (bool, error) {
	if _, err := g.run(ctx, "cat-file", "-e", before+"^{commit}"); err != nil {
		return false, context.Cause(ctx)
	}
	_, err := g.run(ctx, "merge-base", "--is-ancestor", before, incoming)
	if cause := context.Cause(ctx); cause != nil {
		return false, cause
	}
	return err != nil, nil
}

// gitRepo is a bare repository of ours.
type gitRepo struct{ dir string }

func (g gitRepo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{
		"--git-dir", g.dir, "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0",
		"-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30",
	}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:ssh:file", "LC_ALL=C")
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run gives the first line that git prints.
func (g gitRepo) run(ctx context.Context, args ...string) (string, error) {
	cmd := g.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := child.Start(cmd); err != nil {
		return "", fmt.Errorf("start git: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return "", gitError(ctx, err, stderr.String())
	}
	first, _, _ := strings.Cut(stdout.String(), "\n")
	return first, nil
}

// gitError is what git said last.
func gitError(ctx context.Context, err error, stderr string) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	for _, l := range lines {
		if text, ok := strings.CutPrefix(l, "fatal: "); ok {
			return errors.New(text)
		}
	}
	if last := lines[len(lines)-1]; last != "" {
		return errors.New(last)
	}
	return err
}

// tree reads a commit.
func (g gitRepo) tree(ctx context.Context, commit string) (*Tree, error) {
	cmd := g.command(ctx, "archive", "--format=tar", commit)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(cmd); err != nil {
		return nil, fmt.Errorf("start git: %w", err)
	}
	t, err := ReadTar(ctx, out)
	if err != nil {
		_ = cmd.Cancel()
	}
	if werr := cmd.Wait(); werr != nil && err == nil {
		err = gitError(ctx, werr, stderr.String())
	}
	return t, err
}

// sizeOf is the bytes of the files below dir.
func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}

// lock waits for a file lock.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
