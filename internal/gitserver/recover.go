package gitserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// Recover puts the repositories right after a process that had them open was killed: quarantines, half-written packs
// and locks go, and so does what Push.Keep kept for builds that need it no more. It is called once, before the first
// push; the moves that were recorded and not made come after it (MoveRef, then Release). Nothing of the work grows with
// the size of a repository.
func (r *Repos) Recover(ctx context.Context, needed func(app, kept build.ID) bool) error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("recover repositories: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if err := context.Cause(ctx); err != nil {
			return errors.Join(append(errs, fmt.Errorf("recover repositories: %w", err))...)
		}
		name, kind, _ := strings.Cut(e.Name(), ".")
		app, err := build.ParseID(name)
		if err != nil {
			continue // run
		}
		if kind == "git" {
			err = r.recover(ctx, app, needed)
		} else { // half made, or half deleted
			err = os.RemoveAll(filepath.Join(r.dir, e.Name()))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("recover repository of app %s: %w", app, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Repos) recover(ctx context.Context, app build.ID, needed func(app, kept build.ID) bool) error {
	repo := r.path(app)
	if err := sweep(repo, true); err != nil {
		return err
	}
	kept, err := keptIn(repo)
	if err != nil {
		return err
	}
	for _, id := range kept {
		if !needed(app, id) {
			if err := r.Release(ctx, app, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep removes what gits that are not alive any more left in a repository. Locks that refs are made under are looked
// for on request.
func sweep(repo string, locks bool) error {
	patterns := []string{"objects/tmp_objdir-*", "objects/incoming-*", "objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/??/tmp_obj_*", "objects/pack/*.keep", "gc.pid", boundaries + "/tmp-*"}
	if locks {
		patterns = append(patterns, "*.lock", "objects/info/*.lock")
	}
	for _, p := range patterns {
		found, err := fs.Glob(os.DirFS(repo), p)
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := os.RemoveAll(filepath.Join(repo, f)); err != nil {
				return err
			}
		}
	}
	if !locks {
		return nil
	}
	return filepath.WalkDir(filepath.Join(repo, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".lock") && !d.IsDir() {
			err = os.Remove(path)
		}
		return err
	})
}

// keptIn lists what is kept in a repository. It reads the files, because a git per repository would make a start slow.
func keptIn(repo string) (kept []build.ID, err error) {
	var loose []fs.DirEntry
	for _, dir := range []string{hidden, boundaries} {
		some, err := os.ReadDir(filepath.Join(repo, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		loose = append(loose, some...)
	}
	add := func(name string) {
		if id, err := build.ParseID(name); err == nil {
			kept = append(kept, id)
		}
	}
	for _, e := range loose {
		add(e.Name())
	}
	packed, err := os.Open(filepath.Join(repo, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	}
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	s := bufio.NewScanner(packed)
	for s.Scan() {
		if _, name, ok := strings.Cut(s.Text(), " "+hidden); ok {
			add(name)
		}
	}
	return kept, s.Err()
}

// The bounds of Maintain.
const (
	maintainFor   = 10 * time.Minute
	pruneAfter    = "1.day.ago" // longer than a push may wait for its build
	manyPacks     = "20"
	manyLooseObjs = "1000"
)

// Maintain repacks the repository of an app when pushes have left enough behind and nobody is using it, and removes what
// gits that were killed left there. Pushes that begin meanwhile are not held up. done is false when somebody was there.
func (r *Repos) Maintain(ctx context.Context, app build.ID) (done bool, err error) {
	repo, err := r.at(app)
	if err != nil {
		return false, err
	}
	leave, ok := r.gates.tidy(app, func() { err = sweep(repo, false) })
	defer leave()
	if err != nil || !ok {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, maintainFor)
	defer cancel()
	// The settings of command come first, so that these hold.
	_, err = r.run(ctx, repo, "-c", "gc.auto="+manyLooseObjs, "-c", "gc.autoPackLimit="+manyPacks, "-c", "gc.pruneExpire="+pruneAfter, "gc", "--auto", "--quiet")
	if err != nil {
		return false, fmt.Errorf("maintain repository of app %s: %w", app, err)
	}
	return true, nil
}
