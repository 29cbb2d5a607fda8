package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) registryCommand() *cobra.Command {
	list := func(*cobra.Command, []string) error { return a.inIndexes(a.listIndexes) }
	cmd := &cobra.Command{
		Use: "registry", Short: "Find buildpacks in indexes: which image an id and a version mean",
		Long: `Find buildpacks in indexes: which image an id and a version mean. An index is a git
repository, a directory or a tar; without another it is the public one. Builds find
"urn:cnb:registry:NS/NAME[@VERSION]" by them, and NS/NAME[@VERSION] once there was a sync.
VERSION is exact (1.2.3), its beginning (1.2) or a range (^1.2); without one it is the
newest release. What is yanked is found by its exact version only.`,
		Example: `  slipway registry sync
  slipway registry resolve paketo-buildpacks/go@4
  slipway registry add ours https://git.example.com/acme/registry-index.git
  slipway build my-app --buildpack urn:cnb:registry:heroku/nodejs@^3`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List indexes in the order in which they are asked", Args: wants(), RunE: list},
		&cobra.Command{Use: "add NAME SOURCE", Short: "Name an index and read it: URL of a git repository, directory or tar", Args: wants("NAME", "SOURCE"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.inIndexes(func(s *index.Set) error { return a.addIndex(cmd.Context(), s, args[0], args[1]) })
			}},
		&cobra.Command{Use: "remove NAME", Aliases: []string{"rm"}, Short: "Forget an index and what was read of it", Args: wants("NAME"),
			RunE: func(_ *cobra.Command, args []string) error {
				return a.inIndexes(func(s *index.Set) error { return a.did(s.Remove(args[0]), "Removed the index %s", args[0]) })
			}},
		a.syncIndexCommand(), a.resolveCommand(), a.searchIndexCommand(), a.indexInfoCommand("info", "Show a buildpack of an index"),
		a.indexInfoCommand("versions", "List the versions of a buildpack, the newest first"),
		a.healthCommand(), a.lockCommand(), a.updateLockCommand(), a.whyCommand(),
	)
	return cmd
}

// inIndexes runs do with the indexes of this user.
func (a *app) inIndexes(do func(*index.Set) error) error {
	state, err := a.state()
	if err != nil {
		return err
	}
	s, err := index.OpenSet(filepath.Join(state, platform.IndexDir))
	if err != nil {
		return err
	}
	return do(s)
}

// indexRow is an index in a list.
type indexRow struct {
	index.Source
	Revision string        `json:"revision,omitempty"`
	Synced   *time.Time    `json:"synced"`
	Versions int           `json:"versions"`
	Packs    int           `json:"buildpacks"`
	Held     string        `json:"held,omitempty"`
	Faults   []index.Fault `json:"faults,omitempty"`
}

func (a *app) listIndexes(s *index.Set) error {
	var all []indexRow
	for _, src := range s.Registries {
		row := indexRow{Source: src}
		x, err := s.Index(src.Name)
		switch {
		case err == nil:
			row.Revision, row.Synced, row.Versions, row.Packs, row.Held, row.Faults = x.Revision, &x.Synced, x.Versions, x.Buildpacks, x.Held, x.Faults
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		all = append(all, row)
	}
	return a.print(all, func(w io.Writer) {
		var lines [][]string
		for _, r := range all {
			if a.quiet {
				fmt.Fprintln(w, r.Name)
				continue
			}
			synced := "never"
			if r.Synced != nil {
				synced = ageText(*r.Synced, time.Now())
			}
			lines = append(lines, []string{r.Name, r.URL, fmt.Sprint(r.Packs), fmt.Sprint(r.Versions), orText(fmt.Sprintf("%.12s", r.Revision), "-"), synced})
		}
		if !a.quiet {
			table(w, "INDEX SOURCE BUILDPACKS VERSIONS REVISION SYNCED", lines)
		}
		for _, r := range all {
			if r.Held != "" {
				a.note("%s", r.Held)
			}
		}
	})
}

func (a *app) addIndex(ctx context.Context, s *index.Set, name, source string) error {
	src := index.Source{Name: name, URL: source}
	if !strings.Contains(source, "://") && !src.IsGit() || strings.HasPrefix(source, ".") {
		abs, err := filepath.Abs(source)
		if err != nil {
			return err
		}
		src.URL = abs
	}
	if err := s.Add(src); err != nil {
		return err
	}
	done, err := s.Sync(ctx, name, false)
	if err != nil {
		return errors.Join(err, s.Remove(name))
	}
	return a.printSynced([]index.Synced{done})
}

func (a *app) syncIndexCommand() *cobra.Command {
	var accept string
	var older time.Duration
	cmd := &cobra.Command{
		Use: "sync [NAME...]", Short: "Bring indexes up to their sources", Args: cobra.ArbitraryArgs,
		Long: `Bring indexes up to their sources, all or the named ones. Of a git repository only what
is new is fetched. One whose history was rewritten is kept as it was, until --accept NAME.
With --older only those are, whose last sync is so long ago.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.inIndexes(func(s *index.Set) error {
				if len(names) == 0 && accept != "" {
					names = []string{accept}
				}
				if len(names) == 0 {
					for _, src := range s.Registries {
						names = append(names, src.Name)
					}
				}
				var all []index.Synced
				var errs []error
				for _, n := range names {
					var done index.Synced
					var err error
					ok := true
					if older > 0 && n != accept {
						done, ok, err = s.Refresh(cmd.Context(), n, older)
					} else {
						done, err = s.Sync(cmd.Context(), n, n == accept)
					}
					if errs = append(errs, err); err == nil && ok {
						all = append(all, done)
					}
				}
				return errors.Join(append(errs, a.printSynced(all))...)
			})
		},
	}
	cmd.Flags().StringVar(&accept, "accept", "", "take the rewritten history of the index `NAME`")
	cmd.Flags().DurationVar(&older, "older", 0, "leave alone what was synced in this time, such as 1h")
	return cmd
}

func (a *app) printSynced(all []index.Synced) error {
	return a.print(all, func(w io.Writer) {
		for _, d := range all {
			for _, f := range d.Faults {
				a.note("index %s: left out %s", d.Index, f)
			}
			if d.More > 0 {
				a.note("index %s: %d more places were left out", d.Index, d.More)
			}
			if d.Held != "" {
				a.note("%s", d.Held)
			}
			if !a.quiet {
				fmt.Fprintf(w, "%s: %d versions (%+d), %d bytes fetched, %s\n", d.Index, d.Versions, d.Added, d.Fetched, d.Took.Round(time.Millisecond))
			}
		}
	})
}

func (a *app) resolveCommand() *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use: "resolve REF", Short: "Print the image that NS/NAME[@VERSION] means, by its digest", Args: wants("REF"),
		Long: `Print the image that NS/NAME[@VERSION] means, by its digest. What the indexes here do not
have is looked for once more after a sync.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inIndexes(func(s *index.Set) error {
				r, err := s.Find(cmd.Context(), args[0], only)
				if err != nil {
					return err
				}
				if r.Yanked {
					a.note("buildpack %s@%s is yanked: its author wants nobody to use it", r.Buildpack, r.Version)
				}
				return a.print(r, func(w io.Writer) { fmt.Fprintln(w, r.Image) })
			})
		},
	}
	cmd.Flags().StringVar(&only, "index", "", "ask the index `NAME` only")
	return cmd
}

// syncedIndex is an index that was read once; the first time it is read now.
func (a *app) syncedIndex(ctx context.Context, s *index.Set, name string) (*index.Index, error) {
	x, err := s.Index(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return x, err
	}
	if _, err := s.Sync(ctx, name, false); err != nil {
		return nil, err
	}
	return s.Index(name)
}

// indexInfo is a buildpack as info shows it.
type indexInfo struct {
	Buildpack string          `json:"buildpack"`
	Index     string          `json:"index"`
	Revision  string          `json:"revision,omitempty"`
	Newest    string          `json:"newest,omitempty"`
	Image     string          `json:"image,omitempty"` // of the newest release
	Versions  []index.Version `json:"versions"`        // the newest first
}

func (a *app) indexInfoCommand(use, short string) *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use: use + " NS/NAME", Short: short, Args: wants("NS/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inIndexes(func(s *index.Set) error {
				info, err := a.indexInfo(cmd.Context(), s, args[0], only)
				if err != nil {
					return err
				}
				return a.print(info, func(w io.Writer) {
					if use == "info" {
						info.show(w)
						return
					}
					a.showVersions(w, info.Versions)
				})
			})
		},
	}
	cmd.Flags().StringVar(&only, "index", "", "ask the index `NAME` only")
	return cmd
}

func (a *app) indexInfo(ctx context.Context, s *index.Set, text, only string) (*indexInfo, error) {
	n, err := index.ParseName(strings.TrimPrefix(text, index.Prefix))
	if err != nil {
		return nil, usagef("%v", err)
	}
	for _, src := range s.Registries {
		if only == "" || only == src.Name {
			if _, err := a.syncedIndex(ctx, s, src.Name); err != nil {
				return nil, err
			}
		}
	}
	b, x, err := s.Lookup(n, only)
	if err != nil {
		return nil, err
	}
	info := &indexInfo{Buildpack: n.String(), Index: x.Name, Revision: x.Revision, Versions: b.Newest()}
	if v, err := b.Choose(""); err == nil {
		info.Newest, info.Image = v.Version, v.Address
	}
	return info, nil
}

func (i *indexInfo) show(w io.Writer) {
	row := rows(w)
	row("Buildpack", i.Buildpack)
	row("Index", i.Index)
	row("Revision", i.Revision)
	row("Newest", orText(i.Newest, "no release"))
	row("Image", i.Image)
	yanked := 0
	for _, v := range i.Versions {
		if v.Yanked {
			yanked++
		}
	}
	row("Versions", fmt.Sprintf("%d, %d of them yanked", len(i.Versions), yanked))
}

func (a *app) showVersions(w io.Writer, all []index.Version) {
	var lines [][]string
	for _, v := range all {
		if a.quiet {
			fmt.Fprintln(w, v.Version)
			continue
		}
		yanked := ""
		if v.Yanked {
			yanked = "yanked"
		}
		lines = append(lines, []string{v.Version, v.Address, yanked})
	}
	if !a.quiet {
		table(w, "VERSION IMAGE STATE", lines)
	}
}
