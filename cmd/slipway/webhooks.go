package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) webhooksCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return a.listWebhooks(cmd.Context()) }
	cmd := &cobra.Command{
		Use: "webhooks", Short: "List and change what is told of an app's builds and releases",
		Long: `List and change what is told of an app's builds and releases: URLs that get a POST of
every event, as the app webhooks of the Heroku Platform API have it, signed with a secret
that is shown once (Standard Webhooks, and Heroku-Webhook-Hmac-SHA256). WEBHOOK is an id.
For pushes that a forge tells of see slipway hooks.

` + serviceCodes,
		Example: `  slipway webhooks add https://chat.example.com/builds --include api:build --app my-app
  slipway webhooks deliveries
  slipway webhooks redeliver 17`,
		Args: cobra.ArbitraryArgs,
		RunE: orUnknown(list),
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List webhooks", Args: wants(), RunE: list},
		a.addWebhookCommand(), a.updateWebhookCommand(), a.webhookInfoCommand(),
		&cobra.Command{
			Use: "remove WEBHOOK", Aliases: []string{"rm"}, Short: "Remove a webhook with its deliveries", Args: wants("WEBHOOK"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
					return a.did(c.RemoveWebhook(ctx, app, args[0]), "Removed the webhook %s of %s", args[0], app)
				})
			},
		},
		a.outgoingCommand(), a.outgoingInfoCommand(), a.sendAgainCommand(),
	)
	return a.appFlag(a.serviceFlags(cmd))
}

func (a *app) listWebhooks(ctx context.Context) error {
	return listInApp(ctx, a, 0, (*client.Client).Webhooks, "WEBHOOK URL INCLUDE LEVEL DISABLED MADE", func(h client.Webhook) []string {
		return []string{h.ID, h.URL, strings.Join(h.Include, ","), string(h.Level), orText(h.Disabled, "-"), ageText(h.CreatedAt, time.Now())}
	})
}

// webhookFlags are what a webhook is.
type webhookFlags struct {
	url, level, authorization string
	include                   []string
	readSecret                bool
}

func (f *webhookFlags) add(cmd *cobra.Command, secret string) {
	s := cmd.Flags()
	s.SortFlags = false
	s.StringSliceVar(&f.include, "include", build.Includes(), "`EVENTS` that it is told of; repeatable")
	s.StringVar(&f.level, "level", string(build.LevelSync), "sync tries until it is taken, notify tries once")
	s.StringVar(&f.authorization, "authorization", "", "`HEADER` Authorization that is sent; - is read from standard input")
	s.BoolVar(&f.readSecret, "secret", false, secret)
	_ = cmd.RegisterFlagCompletionFunc("include", cobra.FixedCompletions(build.Includes(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]string{"sync", "notify"}, cobra.ShellCompDirectiveNoFileComp))
}

// change is what the flags say; all that has a default too for a new webhook.
func (a *app) webhookChange(cmd *cobra.Command, f *webhookFlags, all bool) (c client.WebhookChange, err error) {
	said := func(name string) bool { return all || cmd.Flags().Changed(name) }
	if said("include") {
		c.Include = &f.include
	}
	if said("level") {
		level := build.Level(f.level)
		c.Level = &level
	}
	if f.authorization == "-" && f.readSecret {
		return c, usagef("--secret and --authorization - are both read from standard input: give one of them")
	}
	if cmd.Flags().Changed("authorization") {
		if f.authorization == "-" {
			if f.authorization, err = a.secret("Authorization of the webhook"); err != nil {
				return c, err
			}
		}
		c.Authorization = &f.authorization
	}
	if f.readSecret {
		secret, err := a.secret("Secret of the webhook")
		if err != nil {
			return c, err
		}
		c.Secret = &secret
	}
	return c, nil
}

func (a *app) addWebhookCommand() *cobra.Command {
	var f webhookFlags
	cmd := &cobra.Command{
		Use: "add URL", Short: "Have a URL told of events; its secret is shown this once", Args: wants("URL"),
		Example: `  slipway webhooks add https://chat.example.com/builds --app my-app
  slipway webhooks add https://ci.example.com/hook --include api:release --level notify --secret < secret.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := a.webhookChange(cmd, &f, true)
			if err != nil {
				return err
			}
			change.URL = &args[0]
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				h, err := c.AddWebhook(ctx, app, change)
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) {
					row := rows(w)
					row("Webhook", h.ID)
					row("URL", h.URL)
					row("Secret", h.Secret)
					if !a.quiet {
						fmt.Fprintln(a.stderr, "Give the secret to who checks the signatures: it is not shown again.")
					}
				})
			})
		},
	}
	f.add(cmd, "ask for the secret, or read it from standard input (default: the service makes one)")
	return cmd
}

func (a *app) updateWebhookCommand() *cobra.Command {
	var f webhookFlags
	cmd := &cobra.Command{
		Use: "update WEBHOOK", Short: "Change a webhook; one that was disabled is enabled by it", Args: wants("WEBHOOK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := a.webhookChange(cmd, &f, false)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("url") {
				change.URL = &f.url
			}
			if change == (client.WebhookChange{}) {
				return usagef("slipway webhooks update: nothing to change: see slipway webhooks update --help")
			}
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				h, err := c.UpdateWebhook(ctx, app, args[0], change)
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) {
					if !a.quiet {
						showWebhook(w, h)
					}
				})
			})
		},
	}
	f.add(cmd, "ask for another secret, or read it from standard input")
	cmd.Flags().StringVar(&f.url, "url", "", "another `URL`; the header Authorization is not sent to another host")
	return cmd
}

func (a *app) webhookInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "info WEBHOOK", Short: "Show a webhook; its secret is never shown again", Args: wants("WEBHOOK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				h, err := c.Webhook(ctx, app, args[0])
				if err != nil {
					return err
				}
				return a.print(h, func(w io.Writer) { showWebhook(w, h) })
			})
		},
	}
}

func showWebhook(w io.Writer, h client.Webhook) {
	row := rows(w)
	row("Webhook", h.ID)
	row("App", h.App.Name)
	row("URL", h.URL)
	row("Include", strings.Join(h.Include, ", "))
	row("Level", string(h.Level))
	row("Disabled", h.Disabled)
	row("Made", timeText(&h.CreatedAt))
}

func (a *app) outgoingCommand() *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use: "deliveries", Short: "List what was sent to webhooks, or is to be, the newest first", Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listInApp(cmd.Context(), a, most, (*client.Client).Outgoing, "DELIVERY MADE EVENT BUILD WEBHOOK STATUS ATTEMPTS", func(d client.Outgoing) []string {
				return []string{strconv.FormatInt(d.Number, 10), ageText(d.CreatedAt, time.Now()), d.Event.Include, buildText(d.Build), d.Webhook.ID, d.Status, attemptsText(d.Attempts, d.NextAttempt, d.Error)}
			})
		},
	}
	cmd.Flags().IntVarP(&most, "max", "n", 20, "how many; 0 is all")
	return cmd
}

func buildText(b *client.BuildName) string {
	if b == nil {
		return "-"
	}
	return strconv.FormatInt(b.Number, 10)
}

// attemptsText is how often something was tried, what came of it, and when it is tried again.
func attemptsText(n int, next *time.Time, problem string) string {
	text := strconv.Itoa(n)
	if problem != "" {
		text += ": " + problem
	}
	if next != nil && n > 0 {
		text += ", again in " + transcript.Duration(max(time.Until(*next), 0))
	}
	return text
}

func (a *app) outgoingInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delivery DELIVERY", Short: "Show a delivery and what it tells of; DELIVERY is a number or an id", Args: wants("DELIVERY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				d, err := c.OutgoingOne(ctx, app, args[0])
				if err != nil {
					return err
				}
				e, err := c.WebhookEvent(ctx, app, d.Event.ID)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"delivery": d, "event": e}, func(w io.Writer) { showOutgoing(w, d, e) })
			})
		},
	}
}

func showOutgoing(w io.Writer, d client.Outgoing, e client.WebhookEvent) {
	row := rows(w)
	row("Delivery", strconv.FormatInt(d.Number, 10))
	row("Id", d.ID)
	row("Webhook", d.Webhook.ID)
	row("Event", d.Event.Include)
	row("Status", d.Status)
	row("Attempts", strconv.Itoa(d.Attempts))
	if l := d.LastAttempt; l != nil {
		row("Last attempt", timeText(&l.CreatedAt))
		if l.Code != 0 {
			row("Code", strconv.Itoa(l.Code))
		}
	}
	row("Because", d.Error)
	row("Answer", d.Answer)
	row("Next attempt", timeText(d.NextAttempt))
	row("Tells", transcript.Clean(string(e.Payload), false))
}

func (a *app) sendAgainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "redeliver DELIVERY", Short: "Send a delivery again, now, with the id that it had", Args: wants("DELIVERY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				d, err := c.SendAgain(ctx, app, args[0])
				if err != nil {
					return err
				}
				return a.print(d, func(w io.Writer) { fmt.Fprintf(w, "Delivery %d is sent again\n", d.Number) })
			})
		},
	}
}
