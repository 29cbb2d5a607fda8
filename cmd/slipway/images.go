package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) imagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "images", Short: "List and keep the images of the local store",
		Long: "List and keep the images of the local store: an OCI layout with names, below SLIPWAY_HOME.",
		Example: `  slipway images
  slipway images import slipway/run:trixie oci:./run-image
  slipway images prune`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return a.withMachine(cmd.Context(), a.listImages)
		},
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List images", Args: wants(),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.withMachine(cmd.Context(), a.listImages) }},
		&cobra.Command{Use: "rm IMAGE...", Aliases: []string{"remove"}, Short: "Remove names of images", Args: wants("IMAGE..."),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error { return a.removeImages(ctx, m, args) })
			}},
		&cobra.Command{Use: "tag IMAGE NAME", Short: "Give an image a further name", Args: wants("IMAGE", "NAME"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error { return tagImage(ctx, m, args[0], args[1]) })
			}},
		a.importCommand(), a.pruneCommand(),
	)
	return cmd
}

// withMachine opens the machine for one command.
func (a *app) withMachine(ctx context.Context, do func(context.Context, *platform.Machine) error) error {
	m, err := a.machine(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, m), m.Close())
}

// storedImage is a row of the list.
type storedImage struct {
	Name     string    `json:"name"`
	Digest   string    `json:"digest"`
	ID       string    `json:"imageID"`
	Platform string    `json:"platform"`
	Size     int64     `json:"size"`
	Created  time.Time `json:"created"`
}

func (a *app) listImages(ctx context.Context, m *platform.Machine) error {
	list, err := m.Images.List(ctx)
	if err != nil {
		return err
	}
	rows := make([]storedImage, 0, len(list))
	for _, n := range list {
		rows = append(rows, storedImage{withTag(n.Ref), n.Digest.String(), n.ID.String(), n.Platform.String(), n.Size, n.Created})
	}
	return a.print(rows, func(w io.Writer) {
		if a.quiet {
			for _, r := range rows {
				fmt.Fprintln(w, r.Name)
			}
			return
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "NAME\tDIGEST\tIMAGE ID\tSIZE\tCREATED\tPLATFORM")
		for _, r := range rows {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, shortDigest(r.Digest), shortDigest(r.ID), transcript.Bytes(r.Size), ageText(r.Created, time.Now()), r.Platform)
		}
		_ = t.Flush()
	})
}

// withTag is a name as the list shows it.
func withTag(r image.Ref) string {
	name := r.Familiar()
	if r.Digest() == "" && !strings.HasSuffix(name, ":"+r.Tag()) {
		name += ":" + r.Tag()
	}
	return name
}

func shortDigest(d string) string { return short(strings.TrimPrefix(d, "sha256:")) }

func (a *app) removeImages(ctx context.Context, m *platform.Machine, names []string) error {
	var errs []error
	for _, n := range names {
		ref, err := image.ParseRef(n)
		if err != nil {
			return &usageError{err}
		}
		if err := m.Images.Remove(ctx, ref); err != nil {
			errs = append(errs, err)
		} else if !a.quiet && !a.json() {
			fmt.Fprintf(a.stdout, "Removed %s\n", withTag(ref))
		}
	}
	return errors.Join(errs...)
}

func tagImage(ctx context.Context, m *platform.Machine, source, name string) error {
	from, err := image.ParseRef(source)
	if err != nil {
		return &usageError{err}
	}
	to, err := newName(name)
	if err != nil {
		return err
	}
	return m.Images.Tag(ctx, from, to)
}

// newName is a name that an image can be given.
func newName(s string) (image.Ref, error) {
	r, err := image.ParseRef(s)
	if err != nil {
		return r, &usageError{err}
	}
	if !r.IsName() || r.Digest() != "" {
		return r, usagef("image %q: want a name with or without a tag", s)
	}
	return r, nil
}

func (a *app) importCommand() *cobra.Command {
	var storeOnly bool
	var pull string
	cmd := &cobra.Command{
		Use: "import NAME oci:DIR|IMAGE", Short: "Bring an image into the store, and to Docker where there is one",
		Args: wants("NAME", "IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.config()
			if err != nil {
				return err
			}
			policy, err := a.pullPolicy(pull, s)
			if err != nil {
				return err
			}
			return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error {
				return a.importImage(ctx, m, args[0], args[1], policy, storeOnly)
			})
		},
	}
	cmd.Flags().BoolVar(&storeOnly, "store-only", false, "leave Docker alone")
	cmd.Flags().StringVar(&pull, "pull-policy", "", "always, if-not-present or never")
	a.registryFlags(cmd)
	return cmd
}

func (a *app) importImage(ctx context.Context, m *platform.Machine, name, from string, policy image.Policy, storeOnly bool) error {
	to, err := newName(name)
	if err != nil {
		return err
	}
	img, err := resolver(m, policy).Resolve(ctx, from)
	if err != nil {
		return err
	}
	w, err := m.Images.Put(ctx, []image.Ref{to}, img, nil)
	if err != nil {
		return err
	}
	places := "the local image store"
	if m.Engine != nil && !storeOnly {
		if _, err := image.LoadEngine(ctx, m.Engine, []image.Ref{to}, img, image.LoadOptions{Store: m.Store}); err != nil {
			return err
		}
		places += " and Docker"
	}
	return a.print(map[string]any{"name": withTag(to), "digest": w.Digest.String(), "imageID": w.ID.String()}, func(out io.Writer) {
		if a.quiet {
			fmt.Fprintf(out, "%s@%s\n", to.Familiar(), w.Digest)
			return
		}
		fmt.Fprintf(out, "%s %s in %s\n", withTag(to), w.Digest, places)
	})
}

func (a *app) pruneCommand() *cobra.Command {
	var unused time.Duration
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove what no name and no build cache needs", Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error {
				p, err := m.Prune(ctx, unused)
				if err != nil {
					return err
				}
				return a.print(p, func(w io.Writer) {
					fmt.Fprintf(w, "Removed %d blobs and %d unpacked layers, %s\n", p.Blobs, p.Trees, transcript.Bytes(p.Bytes))
				})
			})
		},
	}
	cmd.Flags().DurationVar(&unused, "unused", 24*time.Hour, "only what was not used for this long")
	return cmd
}
