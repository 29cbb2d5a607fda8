package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

// completeValues tells shells what may stand for flags and arguments, for the whole tree below cmd. What is not
// named here completes to files.
func (a *app) completeValues(cmd *cobra.Command) {
	outputs := []string{"docker", "store", "registry", "oci:"}
	switch {
	case cmd.Annotations[moreFormats] != "", cmd.CommandPath() == "slipway registry health":
		outputs = formats(cmd)
	case cmd.CommandPath() == "slipway buildpack pull":
		outputs = nil // a file
	}
	for name, values := range map[string][]string{
		"pull-policy": {"always", "if-not-present", "never"},
		"output":      outputs,
		"network":     {"bridge", "host", "none"},
		"on-error":    {"shell"},
		"exec-env":    {"production", "test", "development"},
		"platform":    {"linux/amd64", "linux/arm64"},
		"target":      {"linux/amd64", "linux/arm64"},
	} {
		if len(values) == 0 {
			continue
		}
		if cmd.LocalNonPersistentFlags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	if cmd.PersistentFlags().Lookup("output-format") != nil {
		_ = cmd.RegisterFlagCompletionFunc("output-format", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return formats(cmd), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, name := range []string{"builder", "run-image", "previous-image"} {
		if cmd.LocalNonPersistentFlags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, a.storedNames)
		}
	}
	if cmd.LocalNonPersistentFlags().Lookup("index") != nil || cmd.PersistentFlags().Lookup("index") != nil {
		_ = cmd.RegisterFlagCompletionFunc("index", a.indexNames)
	}
	switch cmd.CommandPath() {
	case "slipway run", "slipway inspect", "slipway builder inspect", "slipway rebase", "slipway sbom download", "slipway images rm", "slipway images tag", "slipway config default-builder":
		cmd.ValidArgsFunction = a.storedNames
	case "slipway build", "slipway builder create": // the name is yours to choose
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	switch parent := cmd.Parent(); {
	case parent == nil || cmd.ValidArgsFunction != nil || cmd.ValidArgs != nil:
	case slices.Contains([]string{"apps", "builds", "releases", "tokens", "users", "bindings", "credentials", "hooks", "webhooks", "statuses"}, parent.Name()): // names of the service, not files
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range cmd.Commands() {
		a.completeValues(sub)
	}
}

// indexNames are the names of the indexes here.
func (a *app) indexNames(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
	_ = a.inIndexes(func(s *index.Set) error {
		for _, src := range s.Registries {
			names = append(names, src.Name)
		}
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// storedNames are the names of the local store. Whatever goes wrong, a shell only wants to hear names.
func (a *app) storedNames(cmd *cobra.Command, _ []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	_ = a.withMachine(ctx, func(ctx context.Context, m *platform.Machine) error {
		list, err := m.Images.List(ctx)
		for _, n := range list {
			names = append(names, withTag(n.Ref))
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
