package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) tokensCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return a.listTokens(cmd.Context()) }
	cmd := &cobra.Command{
		Use: "tokens", Short: "List, make and revoke your tokens of the build service",
		Long: "List, make and revoke your tokens of the build service.\n\n" + serviceCodes,
		Example: `  slipway tokens create --description ci --scope read,deploy --app my-app --expires-in 720h
  slipway tokens revoke 0190b5a2-...`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List your tokens", Args: wants(), RunE: list},
		a.createTokenCommand(),
		&cobra.Command{Use: "revoke ID...", Aliases: []string{"rm"}, Short: "End tokens for ever", Args: wants("ID..."), RunE: func(cmd *cobra.Command, args []string) error {
			return a.revokeTokens(cmd.Context(), args)
		}},
	)
	return a.serviceFlags(cmd)
}

func (a *app) listTokens(ctx context.Context) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	tokens, err := client.Collect(c.Tokens(ctx), 0)
	if err != nil {
		return err
	}
	return showList(a, tokens, "ID DESCRIPTION MAY UNTIL USED", func(t client.Token) []string {
		return []string{t.ID, orText(t.Description, "-"), scopeText(t.Scope, t.App), untilText(t.ExpiresAt, time.Now()), usedText(t.LastUsedAt)}
	})
}

func usedText(at *time.Time) string {
	if at == nil {
		return "never"
	}
	return ageText(*at, time.Now())
}

// scopeText is what a token or a key may, and with which apps.
func scopeText(scope []build.Verb, app *client.Name) string {
	verbs := make([]string, 0, len(scope))
	for _, v := range scope {
		verbs = append(verbs, string(v))
	}
	text := strings.Join(verbs, ",")
	if app != nil {
		text += " of " + app.Name
	}
	return text
}

func (a *app) createTokenCommand() *cobra.Command {
	var r client.TokenRequest
	var scope []string
	var life time.Duration
	cmd := &cobra.Command{
		Use: "create", Short: "Make a token that may no more than your own; its text is shown this once",
		Example: `  slipway tokens create --description ci --scope read,deploy --app my-app --expires-in 720h
  slipway tokens create --scope read -q > token.txt`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if r.Scope, err = parseScope(scope); err != nil {
				return err
			}
			if r.ExpiresIn, err = lifeSeconds(life); err != nil {
				return err
			}
			r.App = a.appName
			return a.createToken(cmd.Context(), r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Description, "description", "", "what it is for")
	f.StringSliceVar(&scope, "scope", []string{"read", "deploy"}, "what it may do, of read, deploy, config, manage; none includes another")
	f.StringVarP(&a.appName, "app", "a", "", "the one `APP` that it is for (default: all of yours)")
	f.DurationVar(&life, "expires-in", 0, "how long it lives, such as 720h (default: until it is revoked)")
	_ = cmd.RegisterFlagCompletionFunc("app", a.completeApps)
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{"read", "deploy", "config", "manage"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) createToken(ctx context.Context, r client.TokenRequest) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	t, err := c.CreateToken(ctx, r)
	if err != nil {
		return err
	}
	return a.print(t, func(w io.Writer) {
		a.showToken(w, t.Text, "May "+scopeText(t.Scope, t.App)+", "+untilText(t.ExpiresAt, time.Now()))
	})
}

// showToken shows the text of a token, which nobody is told again.
func (a *app) showToken(w io.Writer, text, about string) {
	fmt.Fprintln(w, transcript.Clean(text, false))
	if !a.quiet {
		fmt.Fprintf(a.stderr, "%s. Keep it: it is not shown again.\n", transcript.Clean(about, false))
	}
}

func (a *app) revokeTokens(ctx context.Context, ids []string) error {
	return a.endEach(ids, "revoked", func(c *client.Client, id string) (string, error) { return id, c.RevokeToken(ctx, id) })
}

// endEach ends things one by one and says of each what was done to it, under the name that end returns.
func (a *app) endEach(ids []string, done string, end func(c *client.Client, id string) (name string, err error)) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	for _, id := range ids {
		name, err := end(c, id)
		if err != nil {
			return err
		}
		if !a.hidesOutput() {
			fmt.Fprintf(a.stdout, "%s %s\n", strings.ToUpper(done[:1])+done[1:], transcript.Clean(name, false))
		}
	}
	if a.data() {
		return a.print(map[string]any{done: ids}, nil)
	}
	return nil
}

func (a *app) usersCommand() *cobra.Command {
	var admin bool
	list := func(cmd *cobra.Command, _ []string) error { return a.listUsers(cmd.Context()) }
	cmd := &cobra.Command{
		Use: "users", Short: "List, make and delete users of the build service (for administrators)",
		Long:    "List, make and delete users of the build service, for administrators.\n\n" + serviceCodes,
		Example: "  slipway users create ada@example.com",
		Args:    cobra.ArbitraryArgs,
		RunE:    orUnknown(list),
	}
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a user; the text of their first token is shown this once", Args: wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service()
			if err != nil {
				return err
			}
			u, err := c.CreateUser(cmd.Context(), args[0], admin)
			if err != nil {
				return err
			}
			return a.print(u, func(w io.Writer) { a.showToken(w, u.Text, "The token of "+u.Name) })
		},
	}
	create.Flags().BoolVar(&admin, "admin", false, "an administrator")
	remove := &cobra.Command{
		Use: "delete NAME...", Aliases: []string{"rm"}, Short: "Delete users and their tokens; not those who own apps, nor the last administrator", Args: wants("NAME..."),
		RunE: func(cmd *cobra.Command, args []string) error { return a.deleteUsers(cmd.Context(), args) },
	}
	cmd.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List users", Args: wants(), RunE: list}, create, remove)
	return a.serviceFlags(cmd)
}

func (a *app) listUsers(ctx context.Context) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	users, err := client.Collect(c.Users(ctx), 0)
	if err != nil {
		return err
	}
	return showList(a, users, "USER ADMIN SINCE", func(u client.User) []string {
		return []string{u.Name, map[bool]string{true: "yes", false: "no"}[u.Admin], ageText(u.CreatedAt, time.Now())}
	})
}

func (a *app) deleteUsers(ctx context.Context, names []string) error {
	return a.endEach(names, "deleted", func(c *client.Client, name string) (string, error) { return name, c.DeleteUser(ctx, name) })
}

func (a *app) statusCommand() *cobra.Command {
	return a.serviceFlags(&cobra.Command{
		Use: "status", Short: "Show how the build service does; exit code 1 where it is not ready", Args: wants(),
		Long: "Show how the build service does; the exit code is 1 where it is not ready.\n\n" + serviceCodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			err = a.print(struct {
				URL string `json:"url"`
				client.Status
			}{c.URL(), s}, func(w io.Writer) {
				row := rows(w)
				row("Service", c.URL())
				row("Version", s.Version)
				row("Builds", fmt.Sprintf("%d running, %d queued, at most %d at once", s.Running, s.Queued, s.Workers))
				row("Ready", map[bool]string{true: "yes", false: "no"}[s.Ready])
			})
			if err == nil && !s.Ready {
				err = &statusError{code: 1, text: "the service is not ready", quiet: a.data()}
			}
			return err
		},
	})
}
