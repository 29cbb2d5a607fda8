package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) keysCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return a.listKeys(cmd.Context()) }
	cmd := &cobra.Command{
		Use: "keys", Short: "List, add and remove your SSH keys for git pushes to the build service",
		Long: "List, add and remove your SSH keys for git pushes to the build service. With --app\na key is a deploy key: it is good for that app only.\n\n" + serviceCodes,
		Example: `  slipway keys add
  slipway keys add deploy.pub --app my-app --scope read
  slipway keys remove SHA256:hb0...`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List your keys", Args: wants(), RunE: list},
		a.addKeyCommand(),
		&cobra.Command{
			Use: "remove ID|FINGERPRINT...", Aliases: []string{"rm"}, Short: "Forget keys", Args: wants("ID|FINGERPRINT..."),
			RunE: func(cmd *cobra.Command, args []string) error { return a.removeKeys(cmd.Context(), args) },
		},
	)
	return a.serviceFlags(cmd)
}

func (a *app) addKeyCommand() *cobra.Command {
	var r client.KeyRequest
	var scope []string
	var life time.Duration
	cmd := &cobra.Command{
		Use: "add [FILE]", Short: "Add a public key: a file, - for standard input, or the first of yours in ~/.ssh", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Scope, err = parseScope(scope); err != nil {
				return err
			}
			if r.ExpiresIn, err = lifeSeconds(life); err != nil {
				return err
			}
			if r.PublicKey, err = a.readPublicKey(args); err != nil {
				return err
			}
			r.App = a.appName
			c, err := a.service()
			if err != nil {
				return err
			}
			k, err := c.AddKey(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.print(k, func(w io.Writer) {
				if a.quiet {
					fmt.Fprintln(w, transcript.Clean(k.ID, false))
					return
				}
				fmt.Fprintf(w, "Added %s, which may %s, %s\n", transcript.Clean(k.Fingerprint, false), transcript.Clean(scopeText(k.Scope, k.App), false), untilText(k.ExpiresAt, time.Now()))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Comment, "comment", "", "what it is for (default: what stands behind the key)")
	f.StringSliceVar(&scope, "scope", []string{"read", "deploy"}, "what it may do: read to fetch, deploy to push")
	f.StringVarP(&a.appName, "app", "a", "", "the one `APP` that it is for (default: all of yours)")
	f.DurationVar(&life, "expires-in", 0, "how long it is good, such as 720h (default: until it is removed)")
	_ = cmd.RegisterFlagCompletionFunc("app", a.completeApps)
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{"read", "deploy"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// ownKeys are the files in ~/.ssh that ssh itself looks for, the better ones first.
func ownKeys() []string { return []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"} }

// readPublicKey reads the file that is named, or the user's own.
func (a *app) readPublicKey(args []string) (string, error) {
	if len(args) == 1 && args[0] == "-" {
		return firstLine(a.stdin, "standard input")
	}
	names := args
	if len(args) == 0 {
		for _, name := range ownKeys() {
			names = append(names, filepath.Join(a.getenv("HOME"), ".ssh", name))
		}
	}
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && len(args) == 0 {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read the key: %w", err)
		}
		line, err := firstLine(f, name)
		return line, errors.Join(err, f.Close())
	}
	return "", errors.New("there is no key in ~/.ssh: make one with ssh-keygen -t ed25519, or name a file")
}

// firstLine is the line of a public key. A private key is not sent anywhere.
func firstLine(r io.Reader, name string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if strings.Contains(string(b), "PRIVATE KEY") {
		return "", fmt.Errorf("%s is a private key, which nobody should be given: name the file that ends in .pub", name)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line, nil
}

func (a *app) listKeys(ctx context.Context) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	keys, err := client.Collect(c.Keys(ctx), 0)
	if err != nil {
		return err
	}
	return a.print(keys, func(w io.Writer) {
		var lines [][]string
		for _, k := range keys {
			if a.quiet {
				fmt.Fprintln(w, transcript.Clean(k.ID, false))
				continue
			}
			lines = append(lines, []string{k.Fingerprint, orText(k.Comment, "-"), scopeText(k.Scope, k.App), untilText(k.ExpiresAt, time.Now()), usedText(k.LastUsedAt)})
		}
		if !a.quiet {
			table(w, "FINGERPRINT COMMENT MAY UNTIL USED", lines)
		}
	})
}

func (a *app) removeKeys(ctx context.Context, ids []string) error {
	return a.endEach(ids, "removed", func(c *client.Client, id string) (string, error) {
		k, err := c.RemoveKey(ctx, id)
		return k.Fingerprint, err
	})
}

// parseScope reads what a token or a key may do.
func parseScope(words []string) (verbs []build.Verb, err error) {
	for _, s := range words {
		v, err := build.ParseVerb(s)
		if err != nil {
			return nil, usagef("--scope %s: want of read, deploy, config, manage", s)
		}
		verbs = append(verbs, v)
	}
	return verbs, nil
}

// lifeSeconds is a life as the service takes it; 0 is one without an end.
func lifeSeconds(life time.Duration) (int64, error) {
	if life < 0 || life > 0 && life < time.Second {
		return 0, usagef("--expires-in %s: want a second or more", life)
	}
	return int64(life / time.Second), nil
}
