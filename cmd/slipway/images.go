package main

import (
	"fmt"

	"github.com/spf13/cobra"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
)

func (a *app) imagesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "images", Short: "List images in the local store", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.machine(cmd.Context())
			if err != nil {
				return err
			}
			defer m.Close()
			list, err := m.Images.List(cmd.Context())
			if err != nil {
				return err
			}
			for _, n := range list {
				fmt.Fprintf(a.stdout, "%+v\n", n)
			}
			return nil
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "import NAME oci:DIR",
		Short: "Bring an image into the local store",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.machine(cmd.Context())
			if err != nil {
				return err
			}
			defer m.Close()
			to, err := image.ParseRef(args[0])
			if err != nil {
				return err
			}
			from, err := image.ParseRef(args[1])
			if err != nil {
				return err
			}
			img, err := image.ReadLayout(cmd.Context(), from, v1.Platform{})
			if err != nil {
				return err
			}
			w, err := m.Images.Put(cmd.Context(), []image.Ref{to}, img, nil)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s %s\n", to.Familiar(), w.Digest)
			return nil
		},
	})
	return cmd
}
