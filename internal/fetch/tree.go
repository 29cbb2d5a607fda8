package fetch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxPath  = 4096
	maxDepth = 256
)

// survey counts the tree of a commit before anything is unpacked. It reads what git lists and stops it at the first
// entry over a limit: a few hundred bytes of tree objects can name a million million files.
// Of a directory it counts what is below it.
func (s *session) survey(ctx context.Context, commit Commit, dir Dir) (listing, error) {
	if err := s.hasDir(ctx, commit, dir); err != nil {
		return listing{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	var found listing
	verdict := make(chan error, 1) // one value
	go func() {
		var err error
		if found, err = s.count(r); err != nil {
			cancel()
		}
		verdict <- err
		r.CloseWithError(io.ErrClosedPipe) // git need not say more
	}()
	err := s.pipe(ctx, w, "ls-tree", "-r", "-t", "-l", "-z", "--full-tree", dir.tree(commit))
	w.CloseWithError(err) // nil is the end
	if bad := <-verdict; bad != nil {
		return listing{}, bad // git's own error is in it, where that was first
	}
	return found, err
}

// hasDir looks whether a commit has a directory. A link to one is none, and a submodule neither.
func (s *session) hasDir(ctx context.Context, commit Commit, dir Dir) error {
	if dir == "" {
		return nil
	}
	kind, err := s.run(ctx, "cat-file", "-t", dir.tree(commit))
	if _, ok := errors.AsType[*gitError](err); (ok || err == nil && kind != "tree") && context.Cause(ctx) == nil {
		return noDir(dir)
	}
	return err
}

// A listing is what is known of a tree before it is read.
type listing struct {
	files int
	bytes int64
	links []link
}

// A link is a submodule: a commit of another repository.
type link struct {
	path   string
	commit Commit
}

const maxLinks = 64

// count reads a listing of ls-tree: mode, kind, hash, size, tab, path, zero byte.
func (s *session) count(text io.Reader) (found listing, err error) {
	r := bufio.NewReaderSize(text, 64<<10)
	for {
		line, err := r.ReadSlice(0)
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return found, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return found, fmt.Errorf("a path in the tree has more than 60,000 bytes")
		case err != nil:
			return found, fmt.Errorf("read the listing of the tree: %w", err)
		}
		path, err := found.add(string(line[:len(line)-1]))
		if err != nil {
			return found, err
		}
		if found.files > s.limits.Files {
			return found, &LimitError{Text: fmt.Sprintf("the commit has more than %d files and directories, the limit", s.limits.Files)}
		}
		if found.bytes > s.limits.Bytes {
			return found, &LimitError{Text: fmt.Sprintf("the files of the commit have more than %d bytes together, the limit", s.limits.Bytes)}
		}
		if err := checkPath(path); err != nil {
			return found, err
		}
	}
}

// add reads one entry.
func (l *listing) add(line string) (path string, err error) {
	facts, path, ok := strings.Cut(line, "\t")
	fields := strings.Fields(facts)
	if !ok || len(fields) != 4 {
		return "", fmt.Errorf("read the listing of the tree: %.100q", line)
	}
	l.files++
	if fields[1] == "commit" {
		commit, err := ParseCommit(fields[2])
		if err != nil {
			return "", err
		}
		if len(l.links) == maxLinks {
			return "", &LimitError{Text: fmt.Sprintf("the commit has more than %d submodules, the limit", maxLinks)}
		}
		l.links = append(l.links, link{path, commit})
	}
	if fields[3] == "-" { // a directory or a submodule
		return path, nil
	}
	size, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil || size < 0 || l.bytes+size < 0 {
		return "", fmt.Errorf("read the listing of the tree: %.100q", line)
	}
	l.bytes += size
	return path, nil
}

// checkPath refuses what git refuses to check out. git checks it when objects come; this holds when it does not.
func checkPath(path string) error {
	if len(path) > maxPath || strings.Count(path, "/") >= maxDepth {
		return fmt.Errorf("a path in the tree has more than %d bytes or %d parts: %.100q", maxPath, maxDepth, path)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
			return fmt.Errorf("the tree has the path %.100q, which no app may have", path)
		}
	}
	return nil
}
