package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

// showList prints a list: a table with a head, or with --quiet the first column alone, which names a row to other commands.
func showList[T any](a *app, all []T, head string, row func(T) []string) error {
	return a.print(all, func(w io.Writer) {
		var lines [][]string
		for _, v := range all {
			line := row(v)
			if a.quiet {
				fmt.Fprintln(w, transcript.Clean(line[0], false))
				continue
			}
			lines = append(lines, line)
		}
		if !a.quiet {
			table(w, head, lines)
		}
	})
}

// listInApp shows what list gives of the app, most at the most; 0 is all.
func listInApp[T any](ctx context.Context, a *app, most int, list func(*client.Client, context.Context, string) iter.Seq2[T, error], head string, row func(T) []string) error {
	if most < 0 {
		return usagef("--max %d: want 0 or more", most)
	}
	return a.inApp(ctx, func(ctx context.Context, c *client.Client, app string) error {
		all, err := client.Collect(list(c, ctx, app), most)
		if err != nil {
			return err
		}
		return showList(a, all, head, row)
	})
}

// logsInApp is the command that prints the log of something of the app, which its argument names; until says where
// following it ends.
func (a *app) logsInApp(what, short, until string, of func(app, id string) client.LogOf) *cobra.Command {
	var follow, raw bool
	cmd := &cobra.Command{
		Use: "logs " + what, Short: short, Args: wants(what),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) (err error) {
				w, end := a.shownLog(raw)
				if follow {
					_, err = c.Follow(ctx, of(app, args[0]), 0, w)
				} else {
					_, err = c.Log(ctx, of(app, args[0]), 0, w)
				}
				return errors.Join(err, end())
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until "+until)
	cmd.Flags().BoolVar(&raw, "raw", false, "write the log as it was printed, whatever it does to a terminal")
	return cmd
}
