package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) loginCommand() *cobra.Command {
	var token string
	cmd := &cobra.Command{
		Use: "login URL", Short: "Log in to a build service",
		Long: `Log in to a build service with a token, which is asked for, or read from standard
input where that is no terminal. It is kept in credentials.toml beside the
configuration, for its owner alone. SLIPWAY_URL and SLIPWAY_TOKEN in the
environment are used before what is kept.

` + serviceCodes,
		Example: `  slipway login https://slipway.example.com
  slipway login https://slipway.example.com < token.txt
  git config --global credential.https://slipway.example.com.helper '!slipway git-credential'`,
		Args: wants("URL"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.logIn(cmd.Context(), args[0], token) },
	}
	cmd.Flags().StringVar(&token, "token", "", "the token; other users of this machine can see it there")
	return a.serviceFlags(cmd)
}

func (a *app) logIn(ctx context.Context, at, token string) error {
	u, err := client.ParseURL(at)
	if err != nil {
		return &usageError{err}
	}
	if token == "" {
		if token, err = a.secret("Token for " + u.String()); err != nil {
			return err
		}
	}
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return usagef("that is no token: want one word")
	}
	l := login{URL: u.String(), Token: token}
	c, err := a.client(l)
	if err != nil {
		return err
	}
	account, err := c.Account(ctx)
	if err != nil {
		return err
	}
	l.User = account.Name
	if err := a.changeCredentials(func(c *credentials) {
		c.forget(l.URL)
		c.Services = append(c.Services, l)
		c.Current = l.URL
	}); err != nil {
		return err
	}
	if exposed(u) {
		a.warn("%s is plain http: everybody between here and there can read the token", u)
	}
	return a.print(account, func(w io.Writer) {
		if a.quiet {
			return
		}
		fmt.Fprintf(w, "Logged in to %s as %s\n", l.URL, transcript.Clean(account.Name, false))
		fmt.Fprintf(w, "To push there with git:\n  git config --global credential.%s.helper '!slipway git-credential'\n  git remote add %s %s\n", origin(u), remoteName, c.GitURL("APP"))
	})
}

// origin is what git calls a host.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// exposed tells whether a token goes to a service by plain http over a network.
func exposed(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// secret asks for something that nobody shall see, or reads a line where nobody can be asked.
func (a *app) secret(what string) (string, error) {
	if f, ok := file(a.stdin); ok && a.isTerminal(a.stdin) {
		fmt.Fprintf(a.stderr, "%s: ", what)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.stderr)
		if err != nil {
			return "", fmt.Errorf("read from the terminal: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	text, err := a.input()
	if err == nil && text == "" {
		err = usagef("standard input is empty: want %s there", strings.ToLower(what[:1])+what[1:])
	}
	return strings.TrimRight(text, "\r\n"), err
}

// input is all of standard input.
func (a *app) input() (string, error) {
	b, err := io.ReadAll(io.LimitReader(a.stdin, maxEnvFile+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if len(b) > maxEnvFile {
		return "", usagef("standard input has more than %d bytes", maxEnvFile)
	}
	return string(b), nil
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout [URL]", Short: "Forget the token of a build service",
		Long: `Forget the token of a build service: that which commands use, or URL. The token
itself lives on; slipway tokens revoke ends it.`,
		Args: wants("[URL]"),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.credentials()
			if err != nil {
				return err
			}
			at := c.Current
			if len(args) > 0 {
				u, err := client.ParseURL(args[0])
				if err != nil {
					return &usageError{err}
				}
				at = u.String()
			}
			if _, ok := c.find(at); !ok {
				return errors.New(strings.TrimSpace("not logged in " + at))
			}
			if err := a.changeCredentials(func(c *credentials) { c.forget(at) }); err != nil {
				return err
			}
			if a.getenv("SLIPWAY_TOKEN") != "" {
				a.note("SLIPWAY_TOKEN is set, and is used as before")
			}
			return a.print(map[string]string{"url": at}, func(w io.Writer) {
				if !a.quiet {
					fmt.Fprintf(w, "Logged out of %s\n", at)
				}
			})
		},
	}
}

func (a *app) whoamiCommand() *cobra.Command {
	return a.serviceFlags(&cobra.Command{
		Use: "whoami", Short: "Show who you are to the build service", Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service()
			if err != nil {
				return err
			}
			account, err := c.Account(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(struct {
				URL string `json:"url"`
				client.Account
			}{c.URL(), account}, func(w io.Writer) {
				if a.quiet {
					fmt.Fprintln(w, transcript.Clean(account.Name, false))
					return
				}
				a.showAccount(w, c.URL(), account)
			})
		},
	})
}

func (a *app) showAccount(w io.Writer, at string, account client.Account) {
	row := rows(w)
	row("User", account.Name)
	row("Service", at)
	if account.Admin {
		row("", "an administrator")
	}
	if t := account.Using; t != nil {
		row("Token", orText(t.Description, t.ID))
		row("May", scopeText(t.Scope, t.App))
		row("Until", untilText(t.ExpiresAt, time.Now()))
	}
}

// untilText is the end of a token.
func untilText(t *time.Time, now time.Time) string {
	if t == nil {
		return "no end"
	}
	if t.Before(now) {
		return "over since " + t.Local().Format("2006-01-02 15:04")
	}
	return t.Local().Format("2006-01-02 15:04")
}
