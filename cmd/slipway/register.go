package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/transcript"
)

// indexFlag names an index of a service; without one it is that of the service that one is logged in to.
func indexFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "index", "", "the index `NAME` of slipway registry, which a build service keeps (default: that of the service you are logged in to)")
}

// publisher is the client of the service that keeps an index.
func (a *app) publisher(name string) (c *client.Client, err error) {
	if name == "" {
		return a.service()
	}
	err = a.inIndexes(func(s *index.Set) error {
		for _, src := range s.Registries {
			if src.Name == name {
				c, err = a.publisherOf(src)
				return err
			}
		}
		return usagef("--index %s: there is no such index: slipway registry shows all", name)
	})
	return c, err
}

func (a *app) publisherOf(src index.Source) (*client.Client, error) {
	at, ok := strings.CutSuffix(strings.TrimSuffix(src.URL, ".git"), "/"+string(build.IndexName))
	if u, err := client.ParseURL(at); !ok || err != nil || u.Path != "" {
		return nil, usagef("--index %s: %s is not the index of a build service, whose URL ends in /%s.git", src.Name, src.URL, build.IndexName)
	}
	list, err := a.logins()
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if l.URL == at && l.Token != "" {
			return a.client(l)
		}
	}
	return nil, &statusError{code: codeUnauthorized, text: fmt.Sprintf("there is no token for %s: slipway login %s", at, at)}
}

func (a *app) registerCommand() *cobra.Command {
	var name, reason string
	cmd := &cobra.Command{
		Use: "register IMAGE@DIGEST", Short: "Put a buildpackage into the index of the build service",
		Long: `Put a buildpackage into the index of the build service, as the buildpack and version that
the image says it is. The image is in a registry already, and named by its digest. A
version that is there never changes: the same image once more changes nothing, and
another one is refused. Who registers first in a namespace (the part before the slash of
a buildpack's id) owns it.

` + serviceCodes,
		Example: `  slipway buildpack register registry.example.com/acme/java@sha256:4b5c...
  slipway buildpack register registry.example.com/acme/java@sha256:4b5c... --reason "JDK 25"`,
		Args: wants("IMAGE@DIGEST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.publisher(name)
			if err != nil {
				return err
			}
			r, err := c.RegisterBuildpack(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			return a.printRegistered(r, "Registered", "was registered before")
		},
	}
	indexFlag(cmd, &name)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the index's history")
	return a.serviceFlags(cmd)
}

func (a *app) yankCommand() *cobra.Command {
	var name, reason string
	var undo bool
	cmd := &cobra.Command{
		Use: "yank NS/NAME@VERSION", Short: "Withdraw a version from the index of the build service",
		Long: `Withdraw a version from the index of the build service: it is not taken for the newest any
more, nor for a range; who names it exactly, or has it in a lock file, gets it with a
warning. The namespace's owner may do that, and take it back (--undo).

` + serviceCodes,
		Example: `  slipway buildpack yank acme/java@1.2.3 --reason "it loses data"
  slipway buildpack yank acme/java@1.2.3 --undo`,
		Args: wants("NS/NAME@VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, version, _ := strings.Cut(strings.TrimPrefix(args[0], index.Prefix), "@")
			n, err := index.ParseName(id)
			if err != nil {
				return usagef("%v", err)
			}
			if version == "" {
				return usagef("which version of %s? Name one exactly: %s@VERSION", n, n)
			}
			c, err := a.publisher(name)
			if err != nil {
				return err
			}
			r, err := c.YankBuildpack(cmd.Context(), n.NS, n.Name, version, !undo, reason)
			if err != nil {
				return err
			}
			if undo {
				return a.printRegistered(r, "Restored", "is not yanked")
			}
			return a.printRegistered(r, "Yanked", "was yanked before")
		},
	}
	indexFlag(cmd, &name)
	cmd.Flags().BoolVar(&undo, "undo", false, "take it back")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the index's history")
	return a.serviceFlags(cmd)
}

// printRegistered says what was done, or that it was so already.
func (a *app) printRegistered(r client.Registered, did, was string) error {
	return a.print(r, func(w io.Writer) {
		what := transcript.Clean(r.Buildpack+"@"+r.Version, false)
		switch {
		case a.quiet:
			fmt.Fprintln(w, what)
		case r.Changed:
			fmt.Fprintf(w, "%s %s as %s\n", did, what, transcript.Clean(r.Image, false))
		default:
			fmt.Fprintf(w, "%s %s: nothing has changed\n", what, was)
		}
		if r.Yanked && did == "Registered" {
			a.note("%s is yanked: slipway buildpack yank --undo %s takes that back", what, what)
		}
	})
}

func (a *app) namespacesCommand() *cobra.Command {
	var name string
	list := func(cmd *cobra.Command, _ []string) error { return a.listNamespaces(cmd.Context(), name) }
	give := func(cmd *cobra.Command, ns, owner string) error {
		c, err := a.publisher(name)
		if err != nil {
			return err
		}
		n, err := c.GiveNamespace(cmd.Context(), ns, owner)
		if err != nil {
			return err
		}
		return a.print(n, func(w io.Writer) {
			fmt.Fprintf(w, "%s belongs to %s\n", transcript.Clean(n.Name, false), transcript.Clean(n.Owner.Email, false))
		})
	}
	cmd := &cobra.Command{
		Use: "namespaces", Short: "List the namespaces of the build service's index, and say whose they are",
		Long: `List the namespaces of the build service's index, and say whose they are. The owner of
one may register and yank buildpacks in it, and push images to HOST/NAMESPACE/NAME of
the service's own registry. One that is nobody's is whoever's claims it, or registers
there first; one that another index has is an administrator's to give.

` + serviceCodes,
		Example: `  slipway buildpack namespaces
  slipway buildpack namespaces claim acme
  slipway buildpack namespaces give acme bob@example.com`,
		Args: cobra.ArbitraryArgs, RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the namespaces", Args: wants(), RunE: list},
		&cobra.Command{Use: "claim NAMESPACE", Short: "Have a namespace that is nobody's", Args: wants("NAMESPACE"),
			RunE: func(cmd *cobra.Command, args []string) error { return give(cmd, args[0], "") }},
		&cobra.Command{Use: "give NAMESPACE USER", Short: "Hand a namespace on to another user", Args: wants("NAMESPACE", "USER"),
			RunE: func(cmd *cobra.Command, args []string) error { return give(cmd, args[0], args[1]) }},
	)
	cmd.PersistentFlags().StringVar(&name, "index", "", "the index `NAME` of slipway registry, which a build service keeps (default: that of the service you are logged in to)")
	return a.serviceFlags(cmd)
}

func (a *app) listNamespaces(ctx context.Context, name string) error {
	c, err := a.publisher(name)
	if err != nil {
		return err
	}
	all, err := client.Collect(c.Namespaces(ctx), 0)
	if err != nil {
		return err
	}
	return showList(a, all, "NAMESPACE OWNER", func(n client.Namespace) []string {
		return []string{n.Name, orText(n.Owner.Email, "nobody")}
	})
}
