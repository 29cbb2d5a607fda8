package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/build"
)

// Repos is a directory of bare repositories, one for each app. Safe for concurrent use. One process at a time may have
// the directory open.
type Repos struct {
	dir, git string
	gates    gates
}

// runDir is the directory in Repos that holds no repository: hooks, sockets, an empty home.
const runDir = "run"

// OpenRepos opens dir, and makes it where it is not there. git is the stock git binary. The hook is the executable of
// this process, whose main calls Hook when IsHook says so.
func OpenRepos(dir, git string) (*Repos, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open repositories: %w", err)
	}
	if git, err = exec.LookPath(git); err == nil {
		git, err = filepath.Abs(git)
	}
	if err != nil {
		return nil, fmt.Errorf("open repositories: find git: %w", err)
	}
	run := filepath.Join(dir, runDir)
	if err := os.RemoveAll(run); err != nil { // sockets and temporary files of a process that was killed
		return nil, fmt.Errorf("open repositories: %w", err)
	}
	for _, d := range []string{"hooks", "home", "tmp"} {
		if err := os.MkdirAll(filepath.Join(run, d), 0o700); err != nil {
			return nil, fmt.Errorf("open repositories: %w", err)
		}
	}
	r := &Repos{dir: dir, git: git}
	// What it names is the file that runs, also after an upgrade has put another in its place. It is no link to that: when
	// this process is killed its /proc goes before its gits do, and one that looks for its hook then and finds a link to
	// nothing has none, and takes the push. A script whose interpreter is gone is a hook that fails.
	if err := os.WriteFile(r.hook(), fmt.Appendf(nil, "#!/proc/%d/exe\n", os.Getpid()), 0o700); err != nil {
		return nil, fmt.Errorf("open repositories: %w", err)
	}
	if err := r.guarded(); err != nil {
		return nil, fmt.Errorf("open repositories: %w", err)
	}
	return r, nil
}

func (r *Repos) hook() string { return filepath.Join(r.dir, runDir, "hooks", hookName) }

// guarded is asked before every push: git takes whatever comes where it finds no hook.
func (r *Repos) guarded() error {
	if err := unix.Access(r.hook(), unix.X_OK); err != nil {
		return fmt.Errorf("the hook %s cannot be run: %w", r.hook(), err)
	}
	return nil
}

func (r *Repos) path(app build.ID) string { return filepath.Join(r.dir, string(app)+".git") }

// at is the repository of an app; build.ErrNotFound when there is none.
func (r *Repos) at(app build.ID) (string, error) {
	repo := r.path(app)
	if _, err := os.Stat(filepath.Join(repo, "HEAD")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = build.ErrNotFound
		}
		return "", fmt.Errorf("repository of app %s: %w", app, err)
	}
	return repo, nil
}

// attributes outrank those of a pushed tree: what is built is the commit, all of it and as it was committed.
const attributes = "* -export-ignore -export-subst\n"

// Create makes the repository of an app. One that is there stays, and only its HEAD, what a clone checks out, is set to
// the deploy branch.
func (r *Repos) Create(ctx context.Context, app build.ID, branch string) error {
	head, err := ParseRef(heads + branch)
	if err != nil {
		return err
	}
	repo, err := r.at(app)
	if errors.Is(err, build.ErrNotFound) {
		repo, err = r.path(app), r.create(ctx, app)
	}
	if err == nil && !standsAt(repo, head) {
		_, err = r.run(ctx, repo, "symbolic-ref", "HEAD", string(head))
	}
	if err != nil {
		return fmt.Errorf("create repository of app %s: %w", app, err)
	}
	return nil
}

// standsAt tells whether the HEAD of a repository is a ref. It starts no git, so that to ask for all repositories is
// cheap.
func standsAt(repo string, head RefName) bool {
	b, err := os.ReadFile(filepath.Join(repo, "HEAD"))
	return err == nil && string(b) == "ref: "+string(head)+"\n"
}

// Apps lists the apps that have a repository.
func (r *Repos) Apps() (apps []build.ID, err error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".git"); ok {
			if app, err := build.ParseID(name); err == nil {
				apps = append(apps, app)
			}
		}
	}
	return apps, nil
}

// create makes a repository under another name first, so that one that is there is whole.
func (r *Repos) create(ctx context.Context, app build.ID) error {
	making, err := os.MkdirTemp(r.dir, string(app)+".making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(making)
	if _, err := r.run(ctx, making, "init", "--quiet", "--bare", "--template=", "--object-format=sha1", making); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(making, "info"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(making, "info", "attributes"), []byte(attributes), 0o600); err != nil {
		return err
	}
	err = os.Rename(making, r.path(app))
	if _, there := r.at(app); err != nil && there == nil {
		return nil // somebody else made it in this moment
	}
	return errors.Join(err, syncDir(r.dir))
}

// Delete removes the repository of an app, and is content with none. Pushes that are under way fail.
func (r *Repos) Delete(_ context.Context, app build.ID) error {
	gone, err := os.MkdirTemp(r.dir, string(app)+".gone-")
	if err == nil {
		err = os.Rename(r.path(app), filepath.Join(gone, "git"))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete repository of app %s: %w", app, err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("delete repository of app %s: %w", app, err)
	}
	return nil
}

// Ref is where a ref stands, Zero when it is not there. While a push that its receiver has let through is about to move
// refs of the app, it waits: what it tells is not about to change by that.
func (r *Repos) Ref(ctx context.Context, app build.ID, ref RefName) (Hash, error) {
	if err := r.gates.settled(ctx, app); err != nil {
		return "", fmt.Errorf("read %s of app %s: %w", ref, app, err)
	}
	return r.ref(ctx, app, ref)
}

func (r *Repos) ref(ctx context.Context, app build.ID, ref RefName) (Hash, error) {
	repo, err := r.at(app)
	if err != nil {
		return "", err
	}
	out, err := r.run(ctx, repo, "show-ref", "--verify", "--hash", string(ref))
	if e, ok := errors.AsType[*gitError](err); ok && strings.Contains(e.stderr, "not a valid ref") {
		return Zero, nil
	}
	if err == nil {
		var h Hash
		if h, err = ParseHash(out); err == nil {
			return h, nil
		}
	}
	return "", fmt.Errorf("read %s of app %s: %w", ref, app, err)
}

// MoveRef moves a ref from where it must stand, for a push whose client and process are gone: the objects must be in
// the repository (see Push.Keep). A ref that stands at its new place already is a success, so that a move can be done
// again after a crash. One that stands elsewhere is build.ErrConflict.
func (r *Repos) MoveRef(ctx context.Context, app build.ID, u Update) error {
	repo, err := r.at(app)
	if err != nil {
		return err
	}
	args := []string{"update-ref", string(u.Ref), string(u.New), string(u.Old)}
	if u.Deletes() {
		args = []string{"update-ref", "-d", string(u.Ref), string(u.Old)}
	} else if err := graftKept(repo, u.New); err != nil {
		return fmt.Errorf("move %s of app %s: %w", u.Ref, app, err)
	}
	if _, err = r.run(ctx, repo, args...); err == nil {
		return nil
	}
	now, readErr := r.Ref(ctx, app, u.Ref)
	switch {
	case readErr != nil:
		return errors.Join(err, readErr)
	case now == u.New:
		return nil
	case now != u.Old:
		return fmt.Errorf("move %s of app %s from %s to %s: it is at %s: %w", u.Ref, app, u.Old.Short(), u.New.Short(), now.Short(), build.ErrConflict)
	}
	return fmt.Errorf("move %s of app %s: %w", u.Ref, app, err)
}

// Release lets go of what Push.Keep kept for a build, and is content with nothing.
func (r *Repos) Release(ctx context.Context, app, kept build.ID) error {
	repo, err := r.at(app)
	if errors.Is(err, build.ErrNotFound) {
		return nil
	}
	if err == nil {
		_, err = r.run(ctx, repo, "update-ref", "-d", hidden+string(kept))
		err = errors.Join(err, dropBoundary(repo, kept))
	}
	if err != nil {
		return fmt.Errorf("release what build %s kept: %w", kept, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
