package main

import (
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) buildCommand() *cobra.Command {
	var o platform.Options
	env := []string{}
	cmd := &cobra.Command{
		Use:   "build IMAGE",
		Short: "Build an app's source into an image",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Image = args[0]
			if o.Env, err = parseEnv(env, a.getenv); err != nil {
				return &usageError{err}
			}
			if o.Trust, err = a.trust(); err != nil {
				return err
			}
			o.Proxy = a.proxy()
			m, err := a.machine(cmd.Context())
			if err != nil {
				return err
			}
			defer m.Close()
			ui := &plain{w: a.stdout}
			res, err := platform.Build(cmd.Context(), m, o, ui)
			if err != nil {
				return err
			}
			ui.result(res)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Source, "path", "p", ".", "directory, zip or tar file of the app")
	f.StringVarP(&o.Builder, "builder", "B", "", "builder image")
	f.StringArrayVarP(&o.Buildpacks, "buildpack", "b", nil, "buildpack to use instead of the builder's order")
	f.StringArrayVarP(&env, "env", "e", nil, "NAME=value or NAME for the build")
	f.BoolVar(&o.Output.Publish, "publish", false, "push the image to its registry")
	f.StringVar(&o.Network, "network", "", "network of the build container")
	return cmd
}
