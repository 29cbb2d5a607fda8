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
func (s *session) survey(ctx context.Context, commit Commit) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	verdict := make(chan error, 1) // one value
	go func() {
		err := s.count(r)
		if err != nil {
			cancel()
		}
		verdict <- err
		r.CloseWithError(io.ErrClosedPipe) // git need not say more
	}()
	err := s.pipe(ctx, w, "ls-tree", "-r", "-t", "-l", "-z", "--full-tree", string(commit))
	w.CloseWithError(err) // nil is the end
	if bad := <-verdict; bad != nil {
		return bad // git's own error is in it, where that was first
	}
	return err
}

// count reads a listing of ls-tree: mode, kind, hash, size, tab, path, zero byte.
func (s *session) count(listing io.Reader) error {
	r := bufio.NewReaderSize(listing, 64<<10)
	files, bytes := 0, int64(0)
	for {
		line, err := r.ReadSlice(0)
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("a path in the tree has more than 60,000 bytes")
		case err != nil:
			return fmt.Errorf("read the listing of the tree: %w", err)
		}
		path, size, err := readEntry(string(line[:len(line)-1]))
		if err != nil {
			return err
		}
		if files++; files > s.limits.Files {
			return &LimitError{Text: fmt.Sprintf("the commit has more than %d files and directories, the limit", s.limits.Files)}
		}
		if bytes += size; bytes > s.limits.Bytes {
			return &LimitError{Text: fmt.Sprintf("the files of the commit have more than %d bytes together, the limit", s.limits.Bytes)}
		}
		if err := checkPath(path); err != nil {
			return err
		}
	}
}

func readEntry(line string) (path string, size int64, err error) {
	facts, path, ok := strings.Cut(line, "\t")
	fields := strings.Fields(facts)
	if !ok || len(fields) != 4 {
		return "", 0, fmt.Errorf("read the listing of the tree: %.100q", line)
	}
	if fields[3] == "-" { // a directory or a submodule
		return path, 0, nil
	}
	size, err = strconv.ParseInt(fields[3], 10, 64)
	if err != nil || size < 0 {
		return "", 0, fmt.Errorf("read the listing of the tree: %.100q", line)
	}
	return path, size, nil
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
