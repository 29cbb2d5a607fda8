package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
)

// A shallow clone pushes commits without their parents and says at which commits its history ends. A repository keeps
// that boundary in its file "shallow". git writes it when it moves the ref, and gives up where somebody else has written
// there since it began. So Keep, which lets a ref move later, notes the boundary elsewhere, and MoveRef brings it in.

// boundaries is the directory of a repository that has a file for each build that keeps a commit with a boundary: the
// commit, and then the boundary.
const boundaries = "boundaries"

// keepBoundary notes what a build keeps, in the place of what it kept before.
func keepBoundary(repo string, id build.ID, commit Hash, boundary []Hash) error {
	if len(boundary) == 0 {
		return dropBoundary(repo, id)
	}
	dir := filepath.Join(repo, boundaries)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "tmp-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.WriteString(lines(append([]Hash{commit}, boundary...)))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(f.Name(), filepath.Join(dir, string(id))), syncDir(dir), syncDir(repo))
}

func dropBoundary(repo string, id build.ID) error {
	if err := os.Remove(filepath.Join(repo, boundaries, string(id))); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// graftKept brings in the boundary of a commit that some build keeps.
func graftKept(repo string, commit Hash) error {
	kept, err := fs.Glob(os.DirFS(repo), boundaries+"/*")
	if err != nil {
		return err
	}
	for _, name := range kept {
		all, err := readHashes(filepath.Join(repo, name))
		if err != nil {
			return err
		}
		if len(all) > 0 && all[0] == commit {
			if err := graft(repo, all[1:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// boundary is the part of the client's boundary that commit needs: commits below it, whose parents are nowhere.
func (p *Push) boundary(ctx context.Context, commit Hash) ([]Hash, error) {
	if len(p.shallow) == 0 {
		return nil, nil
	}
	known, err := readShallow(p.repo)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Join(p.repos.dir, runDir, "tmp"), "shallow-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(lines(append(slices.Clone(known), p.shallow...)))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	var need []Hash
	for _, end := range p.shallow {
		if slices.Contains(known, end) {
			continue
		}
		// Is it there, below the commit, and is one of its parents not?
		raw, err := runCommand(p.git(ctx, "cat-file", "commit", string(end)))
		if err != nil {
			continue // the client's boundary may reach further than what it pushed
		}
		below := p.git(ctx, "merge-base", "--is-ancestor", string(end), string(commit))
		below.Env = append(below.Env, "GIT_SHALLOW_FILE="+f.Name())
		if _, err := runCommand(below); exited(err, 1) {
			continue
		} else if err != nil {
			return nil, err
		}
		missing, err := p.orphan(ctx, raw)
		if err != nil {
			return nil, err
		}
		if missing {
			need = append(need, end)
		}
	}
	return need, nil
}

// orphan tells whether a commit's parents are not all there.
func (p *Push) orphan(ctx context.Context, commit string) (bool, error) {
	for line := range strings.Lines(commit) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return false, nil
		}
		parent, ok := strings.CutPrefix(line, "parent ")
		if !ok {
			continue
		}
		h, err := ParseHash(parent)
		if err != nil {
			return false, err
		}
		if _, err := runCommand(p.git(ctx, "cat-file", "-e", string(h))); exited(err, 1) || exited(err, 128) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, nil
}

// graft adds to the repository's boundary, under git's own lock.
func graft(repo string, boundary []Hash) error {
	path := filepath.Join(repo, "shallow")
	lock, err := os.OpenFile(path+".lock", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("another push changes the boundary of the history: %w", err)
	}
	defer os.Remove(path + ".lock") // gone already when all went well
	known, err := readShallow(repo)
	if err == nil {
		all := append(known, boundary...)
		slices.Sort(all)
		_, err = lock.WriteString(lines(slices.Compact(all)))
	}
	if err := errors.Join(err, lock.Sync(), lock.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".lock", path), syncDir(repo))
}

func readShallow(repo string) ([]Hash, error) { return readHashes(filepath.Join(repo, "shallow")) }

// readHashes reads a file of them; one that is not there has none.
func readHashes(path string) ([]Hash, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Hash
	for line := range strings.Lines(string(b)) {
		h, err := ParseHash(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

func lines(hashes []Hash) string {
	var b strings.Builder
	for _, h := range hashes {
		b.WriteString(string(h) + "\n")
	}
	return b.String()
}
