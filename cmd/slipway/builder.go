package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) builderCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "builder", Short: "Make and inspect builder images"}
	var o platform.CreateOptions
	create := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a builder image from builder.toml",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			m, err := a.machine(cmd.Context())
			if err != nil {
				return err
			}
			defer m.Close()
			w, err := platform.CreateBuilder(cmd.Context(), m, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s %s\n", o.Name, w.Digest)
			return nil
		},
	}
	create.Flags().StringVarP(&o.Config, "config", "c", "builder.toml", "recipe of the builder")
	cmd.AddCommand(create)
	return cmd
}
