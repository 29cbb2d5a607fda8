package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
)

// versionInfo is what slipway is and speaks.
type versionInfo struct {
	Version      string `json:"version"`
	Commit       string `json:"commit,omitempty"`
	Go           string `json:"go"`
	Platform     string `json:"platform"`
	PlatformAPI  string `json:"platformAPI"`
	BuildpackAPI string `json:"buildpackAPI"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of slipway and of the interfaces that it speaks", Args: wants(),
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{
				Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
				PlatformAPI:  fmt.Sprintf("%s-%s", cnb.OldestPlatformAPI, cnb.NewestPlatformAPI),
				BuildpackAPI: fmt.Sprintf("%s-%s", cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI),
			}
			if bi, ok := debug.ReadBuildInfo(); ok {
				for _, s := range bi.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			return a.print(v, func(w io.Writer) {
				if a.quiet {
					fmt.Fprintln(w, v.Version)
					return
				}
				fmt.Fprintf(w, "slipway %s (%s, %s)\nplatform API %s, buildpack API %s\n", v.Version, v.Platform, v.Go, v.PlatformAPI, v.BuildpackAPI)
			})
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes slipway's commands and flags in a shell",
		Example: `  slipway completion bash > /etc/bash_completion.d/slipway
  slipway completion zsh > "${fpath[1]}/_slipway"
  slipway completion fish > ~/.config/fish/completions/slipway.fish`,
		Args:      wants("SHELL"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			}
			return usagef("completion %s: want bash, zsh or fish", args[0])
		},
	}
}
