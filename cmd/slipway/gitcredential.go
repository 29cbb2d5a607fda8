package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/client"
)

func (a *app) gitCredentialCommand() *cobra.Command {
	return &cobra.Command{
		Use: "git-credential get|store|erase", Short: "Give git the token of a build service (a git credential helper)",
		Long: `Give git the token of a build service: a git credential helper, for git to run.
What slipway login has saved is given out and nothing is ever changed: git's own
store and erase do nothing.`,
		Example: `  git config --global credential.https://slipway.example.com.helper '!slipway git-credential'
  git push slipway main`,
		Args:      wants("ACTION"),
		ValidArgs: []string{"get", "store", "erase"},
		RunE: func(_ *cobra.Command, args []string) error {
			asked, err := readCredentialRequest(a.stdin)
			if err != nil || args[0] != "get" { // git also has actions that a helper need not know
				return err
			}
			return a.giveCredential(asked)
		},
	}
}

// readCredentialRequest reads git's description of a credential (git-credential(1)): key=value lines up to an empty one.
func readCredentialRequest(r io.Reader) (map[string]string, error) {
	asked := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(r, maxEnvFile))
	for lines.Scan() && lines.Text() != "" {
		k, v, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			return nil, usagef("git-credential: a line of standard input is not key=value: git runs this command")
		}
		asked[k] = v
	}
	return asked, lines.Err()
}

// giveCredential prints the token for the service that git asks about, and nothing for others.
func (a *app) giveCredential(asked map[string]string) error {
	list, err := a.logins()
	if err != nil {
		return err
	}
	for _, l := range list {
		u, err := client.ParseURL(l.URL)
		if err != nil || u.Scheme != asked["protocol"] || u.Host != strings.ToLower(asked["host"]) {
			continue
		}
		if strings.ContainsAny(l.Token+l.User, "\n\x00") {
			continue
		}
		fmt.Fprintf(a.stdout, "username=%s\npassword=%s\n", orText(l.User, "token"), l.Token)
		return nil
	}
	return nil
}
