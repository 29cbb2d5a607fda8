package gitserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Edit is a file that a commit of a push made, changed or removed.
type Edit struct {
	Path     string
	Mode     string // 100644 of a plain file; "" where it was removed
	Old, New Hash   // blobs; Zero where there is none
}

// Line are the commits that an update of a branch adds, the oldest first: one line of history on top of where the branch
// stands. A *Refusal tells that it is not that: rewritten, merged, or of more commits than most.
func (p *Push) Line(ctx context.Context, u Update, most int) ([]Hash, error) {
	if u.Old != Zero {
		if _, err := runCommand(p.git(ctx, "merge-base", "--is-ancestor", string(u.Old), string(u.New))); exited(err, 1) || exited(err, 128) {
			return nil, &Refusal{Reason: "not on top", Lines: []string{
				fmt.Sprintf("What was pushed does not follow %s, where %s stands: its history is never rewritten.", u.Old.Short(), u.Ref.Short()),
				"Fetch, put your commits on top (git pull --rebase), and push again.",
			}}
		} else if err != nil {
			return nil, err
		}
	}
	args := []string{"rev-list", "--parents", "--reverse", "--topo-order", fmt.Sprintf("--max-count=%d", most+1), string(u.New)}
	if u.Old != Zero {
		args = append(args, "^"+string(u.Old))
	}
	out, err := runCommand(p.git(ctx, args...))
	if err != nil {
		return nil, fmt.Errorf("look at the commits of a push: %w", err)
	}
	var all []Hash
	above := u.Old
	for text := range strings.Lines(out) {
		f := strings.Fields(text)
		if len(all) == most {
			return nil, &Refusal{Reason: "too many commits", Lines: []string{fmt.Sprintf("The push has more than %d commits: push them in parts.", most)}}
		}
		if want := []string{f[0], string(above)}; above != Zero && !slices.Equal(f, want) || above == Zero && len(f) != 1 {
			return nil, &Refusal{Reason: "a merge", Lines: []string{
				fmt.Sprintf("Commit %.7s is not on top of %s alone: there are no merges here.", f[0], above.Short()), "Put your commits on top (git pull --rebase), and push again.",
			}}
		}
		if above, err = ParseHash(f[0]); err != nil {
			return nil, err
		}
		all = append(all, above)
	}
	return all, nil
}

// Edits are what a commit of the push changed of the one before it, Zero for none. More than most files are a *Refusal.
func (p *Push) Edits(ctx context.Context, before, commit Hash, most int) ([]Edit, error) {
	args := []string{"diff-tree", "-r", "-z", "--no-renames", "--raw", "--no-commit-id", "--root", "--full-index", "--no-abbrev"}
	if before == Zero {
		args = append(args, string(commit))
	} else {
		args = append(args, string(before), string(commit))
	}
	out, err := runCommand(p.git(ctx, args...))
	if err != nil {
		return nil, fmt.Errorf("look at commit %s: %w", commit.Short(), err)
	}
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	if out == "" {
		return nil, nil
	}
	if len(fields) > 2*most || len(out) >= maxListing {
		return nil, &Refusal{Reason: "too many files", Lines: []string{fmt.Sprintf("Commit %s changes more than %d files.", commit.Short(), most)}}
	}
	var all []Edit
	for f := range slices.Chunk(fields, 2) {
		e, err := readEdit(f)
		if err != nil {
			return nil, fmt.Errorf("look at commit %s: %w", commit.Short(), err)
		}
		all = append(all, e)
	}
	return all, nil
}

// maxListing is how much runCommand keeps of what a git prints: of more, the beginning is gone.
const maxListing = 64 << 10

// readEdit reads ":oldmode newmode oldblob newblob status" and a path.
func readEdit(f []string) (Edit, error) {
	facts := strings.Fields(strings.TrimPrefix(f[0], ":"))
	if len(f) != 2 || len(facts) != 5 {
		return Edit{}, fmt.Errorf("git says %s", quote(strings.Join(f, " ")))
	}
	e := Edit{Path: f[1]}
	var errs [2]error
	e.Old, errs[0] = ParseHash(facts[2])
	e.New, errs[1] = ParseHash(facts[3])
	if e.New != Zero {
		e.Mode = facts[1]
	}
	return e, errors.Join(errs[:]...)
}

// Blob is a file of an Edit; of Zero it is nothing. One that is larger than most is a *Refusal.
func (p *Push) Blob(ctx context.Context, blob Hash, most int64) ([]byte, error) {
	if blob == Zero {
		return nil, nil
	}
	b, err := blobIn(p.git, ctx, blob, most)
	if errors.Is(err, errLarge) {
		return nil, &Refusal{Reason: "a file is too large", Lines: []string{fmt.Sprintf("A file of the push has more than %s.", size(most))}}
	}
	return b, err
}
