package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/child"
)

// A Push is a push whose objects are in quarantine: nothing of it is in the repository yet. It is valid until
// Receiver.Push returns.
type Push struct {
	App     build.App
	Actor   build.Actor
	Updates []Update // at least one; their refs stood at Old when the push was let in
	Options []string // of `git push -o`, as the client wrote them: hostile
	// Out is the client's terminal, behind "remote: ". What is written is there at once; while nothing is, git keeps the
	// connection alive. It takes finished text: who writes somebody else's cleans it first. It never blocks for long:
	// a client that does not read for a minute is taken for gone, and what is written from then on is dropped.
	Out io.Writer
	// Gone is closed when the client went away. The push goes on: when Receiver.Push returns nil the refs move as if
	// nobody had left, and an error ends it.
	Gone <-chan struct{}

	session    *session
	repos      *Repos
	repo       string
	quarantine string   // the directory of the objects that came with the push
	objects    []string // the environment in which git sees them
	shallow    []Hash
	limits     Limits
}

// Stands returns nil while the ref is where the push found it, and else a *Refusal that says "fetch first". It waits
// while another push of the app settles.
func (p *Push) Stands(ctx context.Context, u Update) error {
	now, err := p.Current(ctx, u.Ref)
	if err == nil && now != u.Old {
		return moved(u, now)
	}
	return err
}

// Current is where a ref of the app stands, as Repos.Ref tells; but a push does not wait for itself.
func (p *Push) Current(ctx context.Context, ref RefName) (Hash, error) {
	if p.session.settling() {
		return p.repos.ref(ctx, p.App.ID, ref)
	}
	return p.repos.Ref(ctx, p.App.ID, ref)
}

// Settle says that the decision is about to be made: from now until the push has ended, and its refs have moved or not,
// Repos.Ref and the Stands of other pushes of the app wait. Call it between the last Stands and the record that lets
// the app's next build begin; a push that is let through without it settles when Receiver.Push returns.
func (p *Push) Settle() { p.session.settle(p.repos) }

// git is a git that sees the pushed objects.
func (p *Push) git(ctx context.Context, args ...string) *exec.Cmd {
	cmd := p.repos.command(ctx, p.repo, args...)
	cmd.Env = append(cmd.Env, p.objects...)
	return cmd
}

// Archive is the tree of a pushed commit as a tar: all that was committed, whatever .gitattributes say about exports,
// with the ends of lines that a checkout would have. It is looked at first, and a *Refusal when it has too many files
// or bytes. The archive ends with an error when git fails or ctx is done; who reads closes it.
func (p *Push) Archive(ctx context.Context, commit Hash) (io.ReadCloser, error) {
	if err := p.survey(ctx, commit); err != nil {
		return nil, err
	}
	return archiveOf(p.git(ctx, "archive", "--format=tar", string(commit)), commit)
}

// Subject is the first words of a pushed commit's message, as its author wrote them: hostile.
func (p *Push) Subject(ctx context.Context, commit Hash) (string, error) {
	text, err := runCommand(p.git(ctx, "log", "--no-walk", "--no-color", "--no-show-signature", "--encoding=UTF-8", "--format=%<(300,trunc)%s", string(commit)))
	return strings.TrimSpace(text), err
}

func archiveOf(cmd *exec.Cmd, commit Hash) (io.ReadCloser, error) {
	a := &archive{cmd: cmd}
	cmd.Stderr = &a.stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = child.Start(cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", commit.Short(), err)
	}
	a.out = out
	return a, nil
}

// An archive is the output of a git that may yet fail.
type archive struct {
	cmd    *exec.Cmd
	out    io.ReadCloser
	stderr child.Tail
	err    error // of the end, once there was one
	ended  bool
}

func (a *archive) Read(b []byte) (int, error) {
	if a.ended {
		return 0, a.err
	}
	n, err := a.out.Read(b)
	if err == nil {
		return n, nil
	}
	a.end()
	if a.err == nil {
		a.err = err // io.EOF
	}
	return n, a.err
}

func (a *archive) end() {
	a.ended = true
	if err := child.Wait(a.cmd); err != nil {
		a.err = &gitError{verb: "archive", stderr: a.stderr.String(), err: err}
	}
}

// Close ends git where the archive was not read to its end.
func (a *archive) Close() error {
	if !a.ended {
		_ = a.cmd.Cancel() // or it has ended by itself
		a.out.Close()
		a.end()
	}
	return nil
}

// Keep makes a commit of the push, and all below it, survive the quarantine and a crash, for a build: with it the ref
// can be moved at any time later (Repos.MoveRef) until Repos.Release is called. Keep before the intended update is
// recorded. A second Keep for one build takes the place of the first.
func (p *Push) Keep(ctx context.Context, id build.ID, commit Hash) error {
	if err := p.keep(ctx, id, commit); err != nil {
		return fmt.Errorf("keep %s for build %s: %w", commit.Short(), id, err)
	}
	return nil
}

func (p *Push) keep(ctx context.Context, id build.ID, commit Hash) error {
	boundary, err := p.boundary(ctx, commit)
	if err != nil {
		return err
	}
	if err := p.link(); err != nil {
		return err
	}
	if err := keepBoundary(p.repo, id, commit, boundary); err != nil {
		return err
	}
	_, err = p.repos.run(ctx, p.repo, "update-ref", hidden+string(id), string(commit))
	return err
}

// link gives the objects in the quarantine a second name in the repository. A pack gets its index last: without it the
// pack is not there. Whoever moves the quarantine later finds the names taken by the same files, and is content.
func (p *Push) link() error {
	if p.quarantine == "" {
		return nil
	}
	objects := filepath.Join(p.repo, "objects")
	var last []string
	touched := map[string]bool{}
	link := func(name string) error {
		to := filepath.Join(objects, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		touched[filepath.Dir(to)] = true
		if err := os.Link(filepath.Join(p.quarantine, name), to); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return nil
	}
	names, err := fs.Glob(os.DirFS(p.quarantine), "*/*")
	if err != nil {
		return err
	}
	for _, name := range names {
		switch dir := filepath.Dir(name); {
		case strings.HasSuffix(name, ".idx"):
			last = append(last, name)
		case dir == "pack" && (strings.HasSuffix(name, ".pack") || strings.HasSuffix(name, ".rev")), len(dir) == 2:
			if err := link(name); err != nil {
				return err
			}
		}
	}
	for _, name := range last {
		if err := link(name); err != nil {
			return err
		}
	}
	for dir := range touched {
		if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
			return err
		}
	}
	return nil
}
