package registrar

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/store"
)

// The most that one push can have.
const (
	maxCommits = 100 // each of which is looked at
	maxEdits   = 100 // files of a commit
	maxAdded   = 100 // versions, whose images are all looked at
)

// Push decides about a push to the index: it is let through where every commit of it could have been made by Register and
// Yank. The error is a *gitserver.Refusal, or ours.
func (r *Registrar) Push(ctx context.Context, p *gitserver.Push) error {
	if len(p.Updates) != 1 || p.Updates[0].Ref != branchRef || p.Updates[0].Deletes() {
		return refuse("only "+branch, "The index has one branch, "+branch+", and nothing else can be pushed to it or deleted.")
	}
	u := p.Updates[0]
	commits, err := p.Line(ctx, u, maxCommits)
	if err != nil {
		return err
	}
	before, added := u.Old, 0
	for _, c := range commits {
		changes, err := r.changes(ctx, p, before, c)
		if err != nil {
			return err
		}
		for _, ch := range changes {
			if added++; added > maxAdded {
				return refuse("too many versions", fmt.Sprintf("The push has more than %d changes of versions: push it in parts.", maxAdded))
			}
			if err := r.allow(ctx, p, ch); err != nil {
				return told(c, ch, err)
			}
			fmt.Fprintf(p.Out, "%s %s@%s\n", ch.Kind, ch.Name, ch.Version.Version)
		}
		before = c
	}
	for _, c := range commits {
		if err := r.Store.NoteCommit(ctx, string(c), p.Actor, store.ViaPush); err != nil {
			return err
		}
	}
	killpoint.Here(killpoint.IndexPushed)
	p.Settle() // the API waits from here on
	return p.Stands(ctx, u)
}

// Moved is called when a push was let through: what it brought is there to be resolved.
func (r *Registrar) Moved(ctx context.Context, err error) {
	if err = errors.Join(err, r.reload(ctx)); err != nil {
		r.Fault(fmt.Errorf("after a push to the index: %w", err))
	}
}

// changes are what a commit does to versions. A file that is none of an index's is refused.
func (r *Registrar) changes(ctx context.Context, p *gitserver.Push, before, c gitserver.Hash) ([]index.Change, error) {
	edits, err := p.Edits(ctx, before, c, maxEdits)
	if err != nil {
		return nil, err
	}
	var all []index.Change
	for _, e := range edits {
		switch {
		case e.New == gitserver.Zero:
			return nil, refuse("a file is gone", fmt.Sprintf("Commit %s removes %.200q: files of the index stay.", c.Short(), e.Path))
		case e.Mode != "100644":
			return nil, refuse("not a plain file", fmt.Sprintf("Commit %s has %.200q with mode %s: the files of the index are plain (100644).", c.Short(), e.Path, e.Mode))
		}
		old, err := p.Blob(ctx, e.Old, maxFile)
		if err != nil {
			return nil, err
		}
		now, err := p.Blob(ctx, e.New, maxFile)
		if err != nil {
			return nil, err
		}
		some, err := index.Changes(e.Path, old, now)
		if err != nil {
			return nil, refuse("not valid", fmt.Sprintf("Commit %s: %s.", c.Short(), oneLine(err.Error())))
		}
		all = append(all, some...)
	}
	if len(edits) == 0 {
		return nil, refuse("an empty commit", fmt.Sprintf("Commit %s changes nothing.", c.Short()))
	}
	return all, nil
}

// allow looks at a change as Register and Yank do.
func (r *Registrar) allow(ctx context.Context, p *gitserver.Push, c index.Change) error {
	if c.Kind != index.Added {
		if err := r.claim(ctx, p.Actor, c.Name.NS, false); err != nil {
			return err
		}
		return r.Store.TouchBuildpackImage(ctx, c.Name.String(), c.Version.Version)
	}
	// Whose it is goes first here, for a push has many images that would be asked for.
	if n, err := r.Store.Namespace(ctx, c.Name.NS); err == nil && n.Owner != p.Actor.User.ID && !p.Actor.User.Admin {
		return notOwner(c.Name.NS)
	} else if err != nil && !errors.Is(err, build.ErrNotFound) {
		return err
	}
	found, err := r.Look(ctx, p.Actor, c.Version.Address)
	if err != nil {
		return err
	}
	if found.ID != c.Name.String() || found.Version != c.Version.Version {
		return invalid("image", fmt.Sprintf("%s is of buildpack %.200s, not of %s@%s", c.Version.Address, found.ID+"@"+found.Version, c.Name, c.Version.Version))
	}
	if err := r.claim(ctx, p.Actor, c.Name.NS, true); err != nil {
		return err
	}
	return r.record(ctx, p.Actor, c.Name, c.Version, found.Facts)
}

// told makes of an error what the pushing client is told, where it is about what it pushed.
func told(commit gitserver.Hash, c index.Change, err error) error {
	_, bad := errors.AsType[*build.InvalidError](err)
	if !bad && !errors.Is(err, build.ErrForbidden) && !errors.Is(err, build.ErrNotFound) {
		return err
	}
	text := strings.TrimPrefix(oneLine(err.Error()), build.ErrForbidden.Error()+": ")
	return refuse("not taken", fmt.Sprintf("Commit %s, %s@%s: %s.", commit.Short(), c.Name, c.Version.Version, text))
}

func refuse(reason, line string) error {
	return &gitserver.Refusal{Reason: reason, Lines: []string{line}}
}
