package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) whyCommand() *cobra.Command {
	var f lockFlags
	cmd := &cobra.Command{
		Use: "why NS/NAME", Short: "Tell who asks for a buildpack of an index, what it is locked as, and what is newer", Args: wants("NS/NAME"),
		Long: `Tell who asks for a buildpack of an index, with file and line, as what version and image
it is locked, from which revision of which index, and what that has now that is newer.
Nothing is fetched: slipway registry sync brings indexes up to their sources.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inIndexes(func(s *index.Set) error {
				all, err := findWhy(cmd.Context(), s, &f, args[0])
				if err != nil {
					return err
				}
				return a.print(all, func(w io.Writer) {
					for i, y := range all {
						if i > 0 {
							fmt.Fprintln(w)
						}
						y.show(w)
					}
				})
			})
		},
	}
	s := cmd.Flags()
	s.StringVarP(&f.path, "path", "p", ".", "directory, zip or tar file of the app's source")
	s.StringVarP(&f.descriptor, "descriptor", "d", "", "project descriptor to read instead of the source's project.toml")
	s.StringSliceVarP(&f.buildpacks, "buildpack", "b", nil, "buildpack that builds are given beside project.toml; repeatable")
	return cmd
}

// why is all that is known of one text by which a buildpack is asked for.
type why struct {
	Buildpack string   `json:"buildpack"`
	WantedBy  []string `json:"wantedBy"` // places, each with its text
	Locked    string   `json:"locked,omitempty"`
	LockedAt  string   `json:"lockedAt,omitempty"` // file and line
	Image     string   `json:"image,omitempty"`
	Index     string   `json:"index,omitempty"` // when it was locked
	Revision  string   `json:"revision,omitempty"`
	Stale     string   `json:"stale,omitempty"` // why the lock does not count

	Now       string     `json:"now,omitempty"`     // what an index would give for the text now
	Newest    string     `json:"newest,omitempty"`  // release of all
	Yanked    bool       `json:"yanked,omitempty"`  // the locked version is, now
	Changed   string     `json:"changed,omitempty"` // address that the index has now for the locked version, where it is another
	NowIndex  string     `json:"nowIndex,omitempty"`
	NowAt     string     `json:"nowRevision,omitempty"`
	Synced    *time.Time `json:"synced,omitempty"`
	NotKnown  string     `json:"notKnown,omitempty"` // why nothing is known of now
	asked     index.Ref
	lockedRef index.Ref
}

// findWhy looks for everybody who asks for a buildpack; texts that nobody asks for, but are locked, come last.
func findWhy(ctx context.Context, s *index.Set, f *lockFlags, text string) ([]*why, error) {
	n, err := index.ParseName(strings.TrimPrefix(text, index.Prefix))
	if err != nil {
		return nil, usagef("%v", err)
	}
	in, err := platform.FindWanted(ctx, f.path, f.descriptor, f.buildpacks)
	if err != nil {
		return nil, err
	}
	lock := in.Lock
	if lock == nil {
		lock = &index.Lock{}
	}
	var all []*why
	var known []string
	of := func(ref index.Ref) *why {
		for _, y := range all {
			if y.asked == ref {
				return y
			}
		}
		all = append(all, &why{Buildpack: ref.String(), WantedBy: []string{}, asked: ref})
		return all[len(all)-1]
	}
	for _, w := range in.All {
		if known = append(known, w.Ref.Name.String()); w.Ref.Name == n {
			y := of(w.Ref)
			y.WantedBy = append(y.WantedBy, fmt.Sprintf("%s (%s)", w.From, w.Arg))
		}
	}
	for _, e := range lock.Buildpacks {
		if known = append(known, e.Ref.Name.String()); e.Ref.Name == n {
			of(e.Ref)
		}
	}
	if len(all) == 0 {
		slices.Sort(known)
		return nil, fmt.Errorf("nothing in %s asks an index for %s: it asks for %s", f.path, n, orText(strings.Join(slices.Compact(known), ", "), "none"))
	}
	for _, y := range all {
		y.fill(s, lock, filepath.Join(f.path, index.LockName))
	}
	return all, nil
}

func (y *why) fill(s *index.Set, lock *index.Lock, at string) {
	e, ok, err := lock.Find(y.asked)
	if err != nil {
		y.Stale = err.Error()
	}
	if ok {
		y.Locked, y.LockedAt, y.Image, y.Index, y.Revision, y.lockedRef = e.Version, fmt.Sprintf("%s:%d", at, e.Line), e.Address, e.Index, e.Revision, e.Ref
	}
	b, x, err := s.Lookup(y.asked.Name, "")
	if err != nil {
		y.NotKnown = err.Error()
		return
	}
	y.NowIndex, y.NowAt, y.Synced = x.Name, x.Revision, &x.Synced
	if v, err := b.Choose(y.asked.Want); err == nil {
		y.Now = v.Version
	}
	if v, err := b.Choose(""); err == nil {
		y.Newest = v.Version
	}
	for _, v := range b.Versions {
		if ok && v.Version == e.Version {
			if y.Yanked = v.Yanked; v.Address != e.Address {
				y.Changed = v.Address
			}
		}
	}
}

func (y *why) show(w io.Writer) {
	row := rows(w)
	row("Buildpack", y.Buildpack)
	for i, from := range y.WantedBy {
		row(map[bool]string{true: "Wanted by"}[i == 0], from)
	}
	if len(y.WantedBy) == 0 {
		row("Wanted by", "nothing in the source (slipway registry lock drops it)")
	}
	switch {
	case y.Stale != "":
		row("Locked", y.Stale)
	case y.Locked == "":
		row("Locked", "no: each build asks the indexes (slipway registry lock)")
	case y.lockedRef != y.asked:
		row("Locked", fmt.Sprintf("%s, for %s at %s", y.Locked, y.lockedRef, y.LockedAt))
	default:
		row("Locked", fmt.Sprintf("%s at %s", y.Locked, y.LockedAt))
	}
	row("Image", y.Image)
	row("Index", y.Index)
	row("Revision", y.Revision)
	if y.Yanked {
		row("Yanked", fmt.Sprintf("%s is, by now: its author wants nobody to use it", y.Locked))
	}
	if y.Changed != "" {
		row("Changed", "the index has another image for "+y.Locked+" now: "+y.Changed)
	}
	if y.NotKnown != "" {
		row("Now", y.NotKnown)
		return
	}
	now := orText(y.Now, "nothing that is asked for")
	if y.Now == y.Locked && y.Now != "" {
		now += ", as it is locked"
	}
	if y.Newest != "" && y.Newest != y.Now {
		now += "; the newest release is " + y.Newest
	}
	row("Now", fmt.Sprintf("%s (index %s, synced %s)", now, y.NowIndex, ageText(*y.Synced, time.Now())))
}
