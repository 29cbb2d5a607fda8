package gitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/child"
)

// A File is a file of a commit that the service itself makes.
type File struct {
	Path string // as git has it; made of checked names
	Text []byte
}

// Commit puts a commit on a branch, in which one file is another than before, and moves the branch: when it returns that
// is on disk. parent is where the branch must stand, Zero where it must not be there; build.ErrConflict tells that it stands
// elsewhere. The work does not grow with the number of files. author is who the change is by, in words; any text is taken.
func (r *Repos) Commit(ctx context.Context, app build.ID, branch RefName, parent Hash, author, message string, f File) (Hash, error) {
	repo, err := r.at(app)
	if err != nil {
		return "", err
	}
	// Who asks may go away; a git that is killed on the way would leave what keeps the next one out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	leave := r.gates.use(app, func() { _ = sweep(repo, false) }) // Recover does what fails
	killed := false
	defer func() { leave(killed) }()
	now := time.Now().Unix()
	var in bytes.Buffer
	fmt.Fprintf(&in, "commit %s\nmark :1\n", branch)
	fmt.Fprintf(&in, "author %s <> %d +0000\n", plainName(author), now)
	fmt.Fprintf(&in, "committer slipway <slipway@localhost> %d +0000\n", now)
	fmt.Fprintf(&in, "data %d\n%s\n", len(message), message)
	if parent != Zero {
		fmt.Fprintf(&in, "from %s\n", parent)
	}
	fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n", f.Path, len(f.Text))
	in.Write(f.Text)
	in.WriteString("\nget-mark :1\ndone\n")
	cmd := r.command(ctx, repo, "-c", "fastimport.unpackLimit=100", "fast-import", "--quiet", "--done", "--date-format=raw")
	cmd.Stdin = &in
	out, err := runCommand(cmd)
	if err == nil {
		return ParseHash(out)
	}
	killed = ctx.Err() != nil
	if at, rerr := r.ref(ctx, app, branch); rerr == nil && at != parent {
		return "", fmt.Errorf("commit to %s: it is at %s: %w", branch.Short(), at.Short(), build.ErrConflict)
	}
	return "", fmt.Errorf("commit to %s: %w", branch.Short(), err)
}

// commitFor is the most that one commit may take.
const commitFor = 2 * time.Minute

// plainName makes a text fit to be the name of a commit's author.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == '<' || r == '>' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if s = strings.TrimSpace(strings.ToValidUTF8(s, " ")); s == "" {
		return "nobody"
	}
	return s
}

// File is what a path has in a commit of the repository; nil where there is no such file.
func (r *Repos) File(ctx context.Context, app build.ID, commit Hash, path string, most int64) ([]byte, error) {
	repo, err := r.at(app)
	if err != nil {
		return nil, err
	}
	return fileIn(r.gitIn(repo), ctx, commit, path, most)
}

// Tree is the tree of a commit of the repository as a tar. Who reads closes it.
func (r *Repos) Tree(ctx context.Context, app build.ID, commit Hash) (io.ReadCloser, error) {
	repo, err := r.at(app)
	if err != nil {
		return nil, err
	}
	return archiveOf(r.command(ctx, repo, "archive", "--format=tar", string(commit)), commit)
}

// A gitFunc makes gits that see the same objects.
type gitFunc func(ctx context.Context, args ...string) *exec.Cmd

func (r *Repos) gitIn(repo string) gitFunc {
	return func(ctx context.Context, args ...string) *exec.Cmd { return r.command(ctx, repo, args...) }
}

// errLarge tells of a file that has more bytes than may be read.
var errLarge = errors.New("it is too large")

// fileIn reads a file of a commit.
func fileIn(git gitFunc, ctx context.Context, commit Hash, path string, most int64) ([]byte, error) {
	listed, err := runCommand(git(ctx, "ls-tree", "-z", "--full-tree", string(commit), "--", path))
	if err != nil {
		return nil, err
	}
	if listed == "" {
		return nil, nil
	}
	facts, _, _ := strings.Cut(listed, "\t")
	fields := strings.Fields(facts)
	if len(fields) != 3 || fields[1] != "blob" {
		return nil, fmt.Errorf("%s of %s is no file", quote(path), commit.Short())
	}
	blob, err := ParseHash(fields[2])
	if err != nil {
		return nil, err
	}
	return blobIn(git, ctx, blob, most)
}

func blobIn(git gitFunc, ctx context.Context, blob Hash, most int64) ([]byte, error) {
	cmd := git(ctx, "cat-file", "blob", string(blob))
	var stderr child.Tail
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = child.Start(cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("start git: %w", err)
	}
	text, rerr := io.ReadAll(io.LimitReader(out, most+1))
	if int64(len(text)) > most {
		_ = cmd.Cancel()
		_ = child.Wait(cmd)
		return nil, fmt.Errorf("read %s: %w: %d bytes are taken", blob.Short(), errLarge, most)
	}
	if err := child.Wait(cmd); err != nil {
		return nil, &gitError{"cat-file", stderr.String(), err}
	}
	return text, rerr
}
