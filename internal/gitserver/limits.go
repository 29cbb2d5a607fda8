package gitserver

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/child"
)

// Limits bound what a client may make us do. A zero field is the default.
type Limits struct {
	Pack     int64 // bytes of one push as they come over the wire: 512 MiB
	Refs     int   // refs in one push: 100
	Options  int   // push options: 32, of 1 KiB each
	Files    int   // files and directories in a tree that is to be built: 200,000
	Source   int64 // bytes of those files: 2 GiB; build.Limits of an app go before it
	Fetch    int64 // bytes of a fetching client's questions: 16 MiB
	Sessions int   // pushes and fetches at once: 512
	Memory   int64 // bytes of memory of each git that reads a push: 4 GiB
	// Idle is how long a client may neither send nor take anything: one minute.
	Idle time.Duration
	// Check is how long git may take to check a push that has arrived: five minutes.
	Check time.Duration
}

func (l Limits) withDefaults() Limits {
	l.Pack = cmp.Or(l.Pack, 512<<20)
	l.Refs = cmp.Or(l.Refs, 100)
	l.Options = cmp.Or(l.Options, 32)
	l.Files = cmp.Or(l.Files, 200_000)
	l.Source = cmp.Or(l.Source, 2<<30)
	l.Fetch = cmp.Or(l.Fetch, 16<<20)
	l.Sessions = cmp.Or(l.Sessions, 512)
	l.Memory = cmp.Or(l.Memory, 4<<30)
	l.Check = cmp.Or(l.Check, 5*time.Minute)
	l.Idle = cmp.Or(l.Idle, time.Minute)
	return l
}

const (
	maxOption = 1 << 10
	maxPath   = 4096
	maxDepth  = 256
)

// An entry of a tree.
type entry struct {
	path string
	size int64
}

// survey counts the tree of a commit before anything is unpacked. It reads what git lists and stops it at the first
// entry over a limit: a few hundred bytes of tree objects can name a million million files.
func (p *Push) survey(ctx context.Context, commit Hash) error {
	kind, err := runCommand(p.git(ctx, "cat-file", "-t", string(commit)))
	if err != nil {
		return fmt.Errorf("look at %s: %w", commit.Short(), err)
	}
	if kind != "commit" {
		return &Refusal{Reason: "not a commit", Lines: []string{
			fmt.Sprintf("%s is a %s; a branch must be at a commit.", commit.Short(), quote(kind)),
		}}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := p.git(ctx, "ls-tree", "-r", "-t", "-l", "-z", "--full-tree", string(commit))
	var stderr child.Tail
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = child.Start(cmd)
	}
	if err != nil {
		return fmt.Errorf("look at the tree of %s: %w", commit.Short(), err)
	}
	source := cmp.Or(p.App.Limits.Source, p.limits.Source)
	verdict := count(out, p.limits.Files, source)
	if verdict != nil {
		cancel()
	}
	if err := child.Wait(cmd); err != nil && verdict == nil {
		return fmt.Errorf("look at the tree of %s: %w", commit.Short(), &gitError{"ls-tree", stderr.String(), err})
	}
	return verdict
}

// count reads a listing of ls-tree: mode, kind, hash, size, tab, path, zero byte.
func count(listing io.Reader, maxFiles int, maxBytes int64) error {
	r := bufio.NewReaderSize(listing, 64<<10)
	files, bytes := 0, int64(0)
	var largest []entry
	for {
		line, err := r.ReadSlice(0)
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return tooLong("has a path of more than 60,000 bytes")
		case err != nil:
			return fmt.Errorf("read the listing of a tree: %w", unexpected(err))
		}
		e, err := readEntry(string(line[:len(line)-1]))
		if err != nil {
			return err
		}
		if files++; files > maxFiles {
			return tooLarge(fmt.Sprintf("The source has more than %d files and directories.", maxFiles), nil)
		}
		if len(e.path) > maxPath || strings.Count(e.path, "/") >= maxDepth {
			return tooLong(fmt.Sprintf("has a path of more than %d bytes or %d parts: %s", maxPath, maxDepth, quote(e.path)))
		}
		bytes += e.size
		largest = append(largest, e)
		slices.SortFunc(largest, func(a, b entry) int { return cmp.Compare(b.size, a.size) })
		largest = largest[:min(len(largest), 3)]
		if bytes > maxBytes {
			return tooLarge(fmt.Sprintf("The files of the source have more than %s.", size(maxBytes)), largest)
		}
	}
}

func readEntry(line string) (entry, error) {
	facts, path, ok := strings.Cut(line, "\t")
	fields := strings.Fields(facts)
	if !ok || len(fields) != 4 {
		return entry{}, fmt.Errorf("read the listing of a tree: %s", quote(line))
	}
	if fields[3] == "-" { // a directory or a submodule
		return entry{path: path}, nil
	}
	n, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil {
		return entry{}, fmt.Errorf("read the listing of a tree: %s", quote(line))
	}
	return entry{path, n}, nil
}

func tooLarge(what string, largest []entry) *Refusal {
	r := &Refusal{Reason: "the source is too large", Lines: []string{what}}
	for _, e := range largest {
		r.Lines = append(r.Lines, fmt.Sprintf("  %s  %s", size(e.size), quote(e.path)))
	}
	r.Lines = append(r.Lines, "Take out of the commit what the app does not need, or ask for a higher limit.")
	return r
}

func tooLong(what string) *Refusal {
	return &Refusal{Reason: "a path is too long", Lines: []string{"The source " + what}}
}

// packTooLarge is for a push that goes on and on.
func packTooLarge(limit int64) *Refusal {
	return &Refusal{Reason: "the push is too large", Lines: []string{
		fmt.Sprintf("The push has more than %s, which is the most that is taken.", size(limit)),
		"Take large files out of the history (git rebase, git filter-repo), or push without it, from a shallow clone:",
		"git clone --depth=1",
	}}
}

// size is how people read a number of bytes.
func size(n int64) string {
	for _, u := range []struct {
		name string
		unit int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.unit {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.unit)), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
