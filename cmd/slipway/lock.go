package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

// lockFlags say of which app a lock is.
type lockFlags struct {
	path, descriptor, builder, pull string
	buildpacks                      []string
}

func (f *lockFlags) add(a *app, cmd *cobra.Command) *cobra.Command {
	s := cmd.Flags()
	s.StringVarP(&f.path, "path", "p", ".", "directory of the app's source")
	s.StringVarP(&f.descriptor, "descriptor", "d", "", "project descriptor to read instead of the source's project.toml")
	s.StringSliceVarP(&f.buildpacks, "buildpack", "b", nil, "buildpack that builds are given beside project.toml; repeatable")
	s.StringVarP(&f.builder, "builder", "B", "", "builder `IMAGE`, whose buildpacks come first for an id without urn:cnb:registry: (default: project.toml's, then that of slipway config default-builder)")
	s.StringVar(&f.pull, "pull-policy", "", "always, if-not-present or never")
	a.registryFlags(cmd)
	return cmd
}

func (a *app) lockCommand() *cobra.Command {
	var f lockFlags
	var check bool
	cmd := &cobra.Command{
		Use: "lock", Short: "Write slipway.lock: which buildpacks of indexes an app's builds take", Args: wants(),
		Long: `Write slipway.lock: which buildpacks of indexes an app's builds take, in which version
and as which image. Builds of the source, here and in the service, take those without
any index. What is locked stays as long as it is what is asked for; what is asked for no
more goes. --check changes nothing, and fails where there would be something to change.`,
		Example: `  slipway registry lock --path my-app
  slipway registry lock --check`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inIndexes(func(s *index.Set) error { return a.lock(cmd.Context(), s, &f, check) })
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; an error where the lock is not what is asked for")
	return f.add(a, cmd)
}

// lockChange is what became of one entry of a lock.
type lockChange struct {
	Buildpack string `json:"buildpack"` // as it is asked for
	Before    string `json:"before,omitempty"`
	Version   string `json:"version,omitempty"`
}

func (c lockChange) String() string {
	switch {
	case c.Before == "":
		return fmt.Sprintf("%s is %s", c.Buildpack, c.Version)
	case c.Version == "":
		return fmt.Sprintf("%s is asked for no more (it was %s)", c.Buildpack, c.Before)
	}
	return fmt.Sprintf("%s is %s (it was %s)", c.Buildpack, c.Version, c.Before)
}

func (a *app) lock(ctx context.Context, s *index.Set, f *lockFlags, check bool) error {
	in, err := platform.FindWanted(ctx, f.path, f.descriptor, f.buildpacks)
	if err != nil {
		return err
	}
	old := in.Lock
	if old == nil {
		old = &index.Lock{}
	}
	missing, err := a.missing(ctx, s, f, in, old)
	if err != nil {
		return err
	}
	next := &index.Lock{}
	for _, e := range old.Buildpacks {
		if slices.ContainsFunc(in.All, func(w platform.Wanted) bool { return w.Ref == e.Ref }) {
			next.Buildpacks = append(next.Buildpacks, e)
		}
	}
	for _, w := range missing {
		if check {
			return fmt.Errorf("%s: %s, which %s asks for, is not in it (slipway registry lock)", filepath.Join(f.path, index.LockName), w.Ref, w.From)
		}
		e, ok, err := old.Find(w.Ref)
		if _, stale := errors.AsType[*index.StaleError](err); err != nil && !stale {
			return err
		}
		if e.Ref = w.Ref; !ok {
			if e, err = a.lockNow(ctx, s, w.Ref); err != nil {
				return fmt.Errorf("%s: %w", w.From, err)
			}
		}
		next.Buildpacks = append(next.Buildpacks, e)
	}
	changes := changesOf(old, next)
	if check && len(changes) > 0 {
		return fmt.Errorf("%s: %s (slipway registry lock)", filepath.Join(f.path, index.LockName), changes[0])
	}
	return a.writeLock(f.path, in.Lock, next, changes)
}

// missing is what an index is asked for and the lock has not. A name without the URN that the builder has is the
// builder's, and one that may be an image is an index's only where that has it.
func (a *app) missing(ctx context.Context, s *index.Set, f *lockFlags, in *platform.WantedIn, old *index.Lock) (out []platform.Wanted, err error) {
	var named []platform.Wanted
	for _, w := range in.All {
		same := func(o platform.Wanted) bool { return o.Ref == w.Ref }
		if _, ok := old.Exact(w.Ref); ok || slices.ContainsFunc(out, same) || slices.ContainsFunc(named, same) {
			continue
		}
		if !w.Named {
			out = append(out, w)
			continue
		}
		if w.Image {
			if _, err := s.ResolveKnown(w.Arg); errors.Is(err, index.ErrUnknown) {
				continue
			}
		}
		named = append(named, w)
	}
	if len(named) == 0 {
		return out, nil
	}
	settings, err := a.config()
	if err != nil {
		return nil, err
	}
	builder := f.builder
	if builder == "" {
		builder = in.Builder
	}
	if builder == "" {
		builder = a.defaultBuilder(settings)
	}
	if builder == "" {
		return append(out, named...), nil
	}
	err = a.withImage(ctx, builder, f.pull, func(_ context.Context, _ *platform.Machine, img *image.Image) error {
		for _, w := range named {
			has, err := platform.HasBuildpack(builder, img, w.Arg)
			if err != nil {
				return err
			}
			if has {
				a.note("%s, which %s asks for, is in builder %s: it is not locked (urn:cnb:registry:%s is an index's)", w.Arg, w.From, builder, w.Arg)
				continue
			}
			out = append(out, w)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("builder, whose buildpacks come before those of indexes: %w", err)
	}
	return out, nil
}

// lockNow asks the indexes.
func (a *app) lockNow(ctx context.Context, s *index.Set, ref index.Ref) (index.Locked, error) {
	r, err := s.Find(ctx, ref.String(), "")
	if err != nil {
		return index.Locked{}, err
	}
	if r.Yanked {
		a.note("buildpack %s@%s is yanked: its author wants nobody to use it", r.Buildpack, r.Version)
	}
	return r.Locked(ref)
}

// changesOf is what differs between two locks, in the order of what is asked for.
func changesOf(old, next *index.Lock) []lockChange {
	all := map[string]*lockChange{}
	for _, e := range old.Buildpacks {
		all[e.Ref.String()] = &lockChange{Buildpack: e.Ref.String(), Before: e.Version}
	}
	for _, e := range next.Buildpacks {
		c := all[e.Ref.String()]
		if c == nil {
			c = &lockChange{Buildpack: e.Ref.String()}
			all[c.Buildpack] = c
		}
		if was, ok := old.Exact(e.Ref); ok && was.Version == e.Version && was.Address == e.Address {
			delete(all, c.Buildpack)
			continue
		}
		c.Version = e.Version
	}
	out := []lockChange{}
	for _, ref := range sortedKeys(all) {
		out = append(out, *all[ref])
	}
	return out
}

// writeLock replaces the file where something is to be changed, and tells of it. old is nil where there is none.
func (a *app) writeLock(dir string, old, next *index.Lock, changes []lockChange) error {
	at := filepath.Join(dir, index.LockName)
	text := next.Text()
	switch {
	case old == nil && len(next.Buildpacks) == 0:
		return a.print(map[string]any{"path": at, "buildpacks": 0, "changed": changes}, func(w io.Writer) {
			a.note("%s is not written: nothing asks for a buildpack of an index (urn:cnb:registry:NS/NAME)", at)
		})
	case old == nil || string(old.Text()) != string(text):
		tmp := at + ".new"
		err := os.WriteFile(tmp, text, 0o644)
		if err == nil {
			err = os.Rename(tmp, at)
		}
		if err != nil {
			_ = os.Remove(tmp)
			return fmt.Errorf("write %s: %w", at, err)
		}
	}
	return a.print(map[string]any{"path": at, "buildpacks": len(next.Buildpacks), "changed": changes}, func(w io.Writer) {
		if a.quiet {
			return
		}
		for _, c := range changes {
			fmt.Fprintf(w, "%s\n", c)
		}
		fmt.Fprintf(w, "%s has %s, %d changed\n", at, counted(len(next.Buildpacks), "buildpack"), len(changes))
	})
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) updateLockCommand() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "update [NS/NAME...]", Short: "Renew what slipway.lock has, all or the named buildpacks", Args: cobra.ArbitraryArgs,
		Long: `Renew what slipway.lock has, all or the named buildpacks: indexes are brought up to
their sources, and the newest versions of what is asked for are locked.`,
		Example: "  slipway registry update heroku/nodejs --path my-app",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.inIndexes(func(s *index.Set) error { return a.updateLock(cmd.Context(), s, at, ids) })
		},
	}
	cmd.Flags().StringVarP(&at, "path", "p", ".", "directory of the app's source")
	return cmd
}

func (a *app) updateLock(ctx context.Context, s *index.Set, at string, ids []string) error {
	in, err := platform.FindWanted(ctx, at, "", nil)
	if err != nil {
		return err
	}
	if in.Lock == nil {
		return fmt.Errorf("%s: there is none (slipway registry lock makes one)", filepath.Join(at, index.LockName))
	}
	var have []string
	for _, e := range in.Lock.Buildpacks {
		have = append(have, e.Ref.Name.String())
	}
	for _, id := range ids {
		if !slices.Contains(have, id) {
			return fmt.Errorf("%s has no buildpack %.80q: it has %s", filepath.Join(at, index.LockName), id, strings.Join(slices.Compact(slices.Sorted(slices.Values(have))), ", "))
		}
	}
	for _, src := range s.Registries {
		if _, _, err := s.Refresh(ctx, src.Name, time.Minute); err != nil {
			return err
		}
	}
	next := &index.Lock{}
	for _, e := range in.Lock.Buildpacks {
		if len(ids) == 0 || slices.Contains(ids, e.Ref.Name.String()) {
			if e, err = a.lockNow(ctx, s, e.Ref); err != nil {
				return err
			}
		}
		next.Buildpacks = append(next.Buildpacks, e)
	}
	return a.writeLock(at, in.Lock, next, changesOf(in.Lock, next))
}
