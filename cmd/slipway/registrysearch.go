package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/transcript"
)

// indexHit is a buildpack that was searched for.
type indexHit struct {
	Buildpack string `json:"buildpack"`
	Index     string `json:"index"`
	Version   string `json:"version,omitempty"` // its newest release
	Versions  int    `json:"versions"`
	// What is known of those that were seen here.
	Description string   `json:"description,omitempty"`
	Targets     []string `json:"targets,omitempty"`
	Uses        int      `json:"uses,omitempty"`

	hit index.Hit
}

func (a *app) searchIndexCommand() *cobra.Command {
	var only string
	var q index.Query
	cmd := &cobra.Command{
		Use: "search [TEXT...]", Short: "Find buildpacks by words, language and target, the best first", Args: cobra.ArbitraryArgs,
		Long: `Find buildpacks by words, language and target, the best first: exact names, then those that
begin so, official ones, what builds here use. An index says of a buildpack no more than its
name and versions. Descriptions, keywords and targets are known of those that were built
with, inspected or pulled here; the others are found by their names alone, and with --target
come behind those that are known to have it.`,
		Example: `  slipway registry search node
  slipway registry search --language java --target linux/arm64`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Text = strings.Join(args, " "); strings.TrimSpace(q.Text+q.Language+q.Target) == "" {
				return usagef("what is searched for? Words, --language or --target")
			}
			return a.inIndexes(func(s *index.Set) error {
				known := s.Facts()
				names := []string{only}
				if only == "" {
					names = nil
					for _, src := range s.Registries {
						names = append(names, src.Name)
					}
				}
				hits := []indexHit{}
				for _, name := range names {
					x, err := a.syncedIndex(cmd.Context(), s, name)
					if err != nil {
						return err
					}
					found, err := hitsOf(x, q, known)
					if err != nil {
						return err
					}
					hits = append(hits, found...)
				}
				// What nobody may use any more comes last; what two indexes have, in their order.
				slices.SortStableFunc(hits, func(x, y indexHit) int {
					if (x.Version == "") != (y.Version == "") {
						return strings.Compare(y.Version, x.Version)
					}
					return x.hit.Compare(y.hit)
				})
				return a.print(hits, func(w io.Writer) { a.showHits(w, hits) })
			})
		},
	}
	cmd.Flags().StringVar(&only, "index", "", "search the index `NAME` only")
	cmd.Flags().StringVar(&q.Language, "language", "", "those that are for a `LANGUAGE`, such as java, by name, description or keywords")
	cmd.Flags().StringVar(&q.Target, "target", "", "leave out those that are known not to be for `OS/ARCH`")
	return cmd
}

func hitsOf(x *index.Index, q index.Query, known index.Facts) ([]indexHit, error) {
	var hits []indexHit
	for _, found := range x.Find(q, known) {
		b, _, err := x.Get(found.Name)
		if err != nil {
			return nil, err
		}
		hit := indexHit{Buildpack: found.Name.String(), Index: x.Name, Versions: len(b.Versions), hit: found}
		hit.Description, hit.Targets, hit.Uses = found.Fact.Description, found.Fact.Targets, found.Fact.Uses
		if v, err := b.Choose(""); err == nil {
			hit.Version = v.Version
		}
		hits = append(hits, hit)
	}
	return hits, nil
}

func (a *app) showHits(w io.Writer, hits []indexHit) {
	var lines [][]string
	head := "BUILDPACK NEWEST VERSIONS INDEX"
	described := slices.ContainsFunc(hits, func(h indexHit) bool { return h.Description != "" })
	if described {
		head += " DESCRIPTION"
	}
	for _, h := range hits {
		if a.quiet {
			fmt.Fprintln(w, h.Buildpack)
			continue
		}
		line := []string{h.Buildpack, orText(h.Version, "-"), fmt.Sprint(h.Versions), h.Index}
		if described {
			line = append(line, orText(fmt.Sprintf("%.60s", transcript.Clean(h.Description, false)), "-"))
		}
		lines = append(lines, line)
	}
	if !a.quiet {
		table(w, head, lines)
	}
}
