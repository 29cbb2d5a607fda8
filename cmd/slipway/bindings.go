package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) bindingsCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return a.listBindings(cmd.Context()) }
	cmd := &cobra.Command{
		Use: "bindings", Short: "List and change an app's service bindings",
		Long: "List and change an app's service bindings (servicebinding.io): files that its builds\nfind below <platform>/bindings. Nobody is told what is in them.\n\n" + serviceCodes,
		Example: `  slipway bindings set db --type postgresql --file uri=./uri --app my-app
  slipway bindings set maven --dir ./maven-settings --app my-app`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List names, types and files", Args: wants(), RunE: list},
		a.setBindingCommand(),
		&cobra.Command{Use: "rm NAME", Aliases: []string{"unset"}, Short: "Remove a binding", Args: wants("NAME"), RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				return a.did(c.DeleteBinding(ctx, app, args[0]), "Removed the binding %s of %s", args[0], app)
			})
		}},
	)
	return a.appFlag(a.serviceFlags(cmd))
}

// did tells of a change whose answer says nothing of its own.
func (a *app) did(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	text := fmt.Sprintf(format, args...)
	return a.print(map[string]string{"done": text}, func(w io.Writer) {
		if !a.quiet {
			fmt.Fprintln(w, transcript.Clean(text, false))
		}
	})
}

func (a *app) listBindings(ctx context.Context) error {
	return listInApp(ctx, a, 0, (*client.Client).Bindings, "NAME TYPE PROVIDER FILES", func(b client.Binding) []string {
		return []string{b.Name, b.Type, orText(b.Provider, "-"), strings.Join(b.Files, ",")}
	})
}

func (a *app) setBindingCommand() *cobra.Command {
	var r client.BindingRequest
	var files []string
	var dir string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Make a binding, or replace it", Args: wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Files, err = a.bindingFiles(dir, files); err != nil {
				return err
			}
			// A directory says its type and provider in files of these names.
			r.Type = firstOf(r.Type, strings.TrimSpace(r.Files["type"]))
			r.Provider = firstOf(r.Provider, strings.TrimSpace(r.Files["provider"]))
			delete(r.Files, "type")
			delete(r.Files, "provider")
			if r.Type == "" {
				return usagef("slipway bindings set: --type says what kind of service it is")
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				return a.did(c.PutBinding(ctx, app, args[0], r), "Set the binding %s of %s: the next build has it so", args[0], app)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Type, "type", "", "what kind of service it is")
	f.StringVar(&r.Provider, "provider", "", "whose service it is")
	f.StringArrayVar(&files, "file", nil, "`NAME=FILE`, or NAME=- for what standard input has; repeatable")
	f.StringVar(&dir, "dir", "", "`DIR` of such files, with type and provider among them")
	return cmd
}

func (a *app) bindingFiles(dir string, list []string) (map[string]string, error) {
	files := map[string]string{}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("--dir %s: there is no such directory", dir)
		}
		if err != nil {
			return nil, fmt.Errorf("--dir %s: %w", dir, err)
		}
		for _, e := range entries {
			if e.IsDir() || strings.HasPrefix(e.Name(), ".") { // as Kubernetes mounts them, with ..data
				continue
			}
			list = append([]string{e.Name() + "=" + dir + "/" + e.Name()}, list...)
		}
	}
	for _, f := range list {
		name, path, ok := strings.Cut(f, "=")
		if !ok || name == "" || path == "" {
			return nil, usagef("--file %s: want NAME=FILE", f)
		}
		if path == "-" {
			text, err := a.input()
			if err != nil {
				return nil, err
			}
			files[name] = text
			continue
		}
		b, err := cnb.ReadFile(splitPath(path))
		if err != nil {
			return nil, usagef("--file %s: %w", f, err)
		}
		files[name] = string(b)
	}
	return files, nil
}

func (a *app) credentialsCommand() *cobra.Command {
	var mine bool
	list := func(cmd *cobra.Command, _ []string) error { return a.listCredentials(cmd.Context(), mine) }
	cmd := &cobra.Command{
		Use: "credentials", Short: "List and change what an app's builds reach git hosts and registries with",
		Long: `List and change what an app's builds reach git hosts and registries with. Nobody is told
more of them than the hosts, and no build sees them. With --mine they are your own, of git
hosts: private templates of deploy buttons are read with them, and the app that is made of
one keeps them for its builds.

` + serviceCodes,
		Example: `  slipway credentials set registry registry.example.com --username robot --app my-app < password.txt
  slipway credentials set git git.example.com --key ~/.ssh/deploy --app my-app
  slipway credentials set git git.example.com --username ada --mine`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List hosts", Args: wants(), RunE: list},
		a.setCredentialCommand(&mine),
		&cobra.Command{Use: "rm git|registry HOST", Aliases: []string{"unset"}, Short: "Forget the credentials of a host", Args: wants("KIND", "HOST"), ValidArgs: []string{"git", "registry"},
			RunE: func(cmd *cobra.Command, args []string) error {
				kind, err := credentialKind(args[0], mine)
				if err != nil {
					return err
				}
				return a.inAppOr(cmd.Context(), mine, func(ctx context.Context, c *client.Client, app string) error {
					return a.did(c.DeleteCredential(ctx, app, kind, args[1]), "Forgot the credentials of %s", args[1])
				})
			}},
	)
	cmd.PersistentFlags().BoolVar(&mine, "mine", false, "your own, of git hosts, and not an app's")
	return a.appFlag(a.serviceFlags(cmd))
}

// inAppOr is inApp, or with mine does something that is of no app: its name is "".
func (a *app) inAppOr(ctx context.Context, mine bool, do func(ctx context.Context, c *client.Client, app string) error) error {
	if !mine {
		return a.inApp(ctx, do)
	}
	if a.appName != "" {
		return usagef("--app and --mine: one of them")
	}
	c, err := a.service()
	if err != nil {
		return err
	}
	return do(ctx, c, "")
}

func credentialKind(s string, mine bool) (client.CredentialKind, error) {
	switch s {
	case "git":
		return client.GitCredential, nil
	case "registry":
		if mine {
			return "", usagef("--mine is for git: registries are reached by apps, with theirs")
		}
		return client.RegistryCredential, nil
	}
	return "", usagef("credentials of %q: want git or registry", s)
}

func (a *app) listCredentials(ctx context.Context, mine bool) error {
	kinds := []string{"git", "registry"}
	if mine {
		kinds = kinds[:1]
	}
	return a.inAppOr(ctx, mine, func(ctx context.Context, c *client.Client, app string) error {
		out := map[string][]string{}
		var lines [][]string
		for _, kind := range kinds {
			k, err := credentialKind(kind, mine)
			if err != nil {
				return err
			}
			list, err := client.Collect(c.Credentials(ctx, app, k), 0)
			if err != nil {
				return err
			}
			out[kind] = []string{}
			for _, cr := range list {
				out[kind] = append(out[kind], cr.Host)
				lines = append(lines, []string{kind, cr.Host})
			}
		}
		return a.print(out, func(w io.Writer) { table(w, "KIND HOST", lines) })
	})
}

func (a *app) setCredentialCommand(mine *bool) *cobra.Command {
	var cr client.Credential
	var key string
	cmd := &cobra.Command{
		Use: "set git|registry HOST", Short: "Keep the credentials of a host: a password, which is asked for or read from standard input, or an ssh key",
		Args: wants("KIND", "HOST"), ValidArgs: []string{"git", "registry"},
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, err := credentialKind(args[0], *mine)
			if err != nil {
				return err
			}
			switch {
			case key != "" && *mine:
				return usagef("--key and --mine: templates are read by https: --username, and a password or token")
			case key != "" && (kind != client.GitCredential || cr.Username != ""):
				return usagef("--key is for git, and without --username")
			case key != "":
				b, err := cnb.ReadFile(splitPath(key))
				if err != nil {
					return usagef("--key %s: %w", key, err)
				}
				cr.Key = string(b)
			case cr.Username == "":
				return usagef("slipway credentials set: --username, or --key for git by ssh")
			default:
				if cr.Password, err = a.secret("Password of " + cr.Username + " at " + args[1]); err != nil {
					return err
				}
			}
			return a.inAppOr(cmd.Context(), *mine, func(ctx context.Context, c *client.Client, app string) error {
				return a.did(c.PutCredential(ctx, app, kind, args[1], cr), "Keeping the credentials of %s for %s", args[1], firstOf(app, "you"))
			})
		},
	}
	cmd.Flags().StringVarP(&cr.Username, "username", "u", "", "who it is; the password is read")
	cmd.Flags().StringVar(&key, "key", "", "`FILE` with a private key for ssh, without a passphrase")
	return cmd
}
