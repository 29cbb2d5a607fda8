package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// serveConfigFile is read where nobody names another and it is there.
const serveConfigFile = "/etc/slipway/serve.toml"

// serveKeys are the settings that flags and the environment have too: --url is SLIPWAY_SERVE_URL.
func serveKeys(c *daemon.Config) []serveKey {
	return []serveKey{
		{"data", "`DIRECTORY` of the service's own, which holds everything", &c.Data},
		{"listen", "`ADDRESS` of the API, git and the registry", &c.Listen},
		{"url", "`URL` by which clients reach that (default: http:// and the address)", &c.URL},
		{"ssh", "`ADDRESS` of git by SSH, such as :2222; empty: none", &c.SSH},
		{"ops", "`ADDRESS` of /metrics and /debug/pprof; empty: none", &c.Ops},
		{"builder", "`IMAGE` of apps that name no builder", &c.Builder},
		{"registry", "where images go, `HOST[/PATH]`; empty: the service's own registry", &c.Registry},
		{"runtime", "auto, oci, oci:NAME or docker", &c.Runtime},
		{"pull-policy", "of builders and run images: always, if-not-present or never", &c.PullPolicy},
		{"slots", "builds at `ONCE`", &c.Worker.Slots},
		{"drain", "`DURATION` that builds may go on when the service is stopped", &c.Worker.Drain},
	}
}

type serveKey struct {
	name, help string
	to         any
}

// set reads a value.
func (k serveKey) set(s string) (err error) {
	switch to := k.to.(type) {
	case *string:
		*to = s
	case *int:
		*to, err = strconv.Atoi(s)
	case *daemon.Duration:
		err = to.UnmarshalText([]byte(s))
	}
	return err
}

// A given is a flag's text, and whether it was given.
type given map[string]*string

func (a *app) serveCommand() *cobra.Command {
	var file string
	texts := given{}
	flags := func(cmd *cobra.Command) {
		cmd.Flags().SortFlags = false
		cmd.Flags().StringVar(&file, "config", "", "TOML `FILE` (default "+serveConfigFile+" where it is there)")
		for _, k := range serveKeys(&daemon.Config{}) {
			if texts[k.name] == nil {
				texts[k.name] = new(string)
			}
			cmd.Flags().StringVar(texts[k.name], k.name, "", k.help)
		}
	}
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the build service: git push, API, registry and workers in one process",
		Long: `Run the build service: git push, API, registry and workers in one process, with one
data directory and no other service. The first start prints an admin token once; if it
is lost, ` + "`slipway serve admin-token`" + ` makes another.

Settings come from a TOML file, then from the environment (--url is
SLIPWAY_SERVE_URL), then from flags. ` + "`slipway serve config`" + ` shows what they come to,
as a file.

The first SIGTERM or Ctrl-C stops it gently: no build begins, those that run go on
for the drain time. A second one stops it at once; then the next start puts right
what was left.`,
		Example: `  slipway serve
  slipway serve --listen 0.0.0.0:5780 --url https://build.example.com
  slipway serve config > serve.toml`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.serveConfig(cmd, file, texts)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), c)
		},
	}
	show := &cobra.Command{
		Use: "config", Short: "Show the settings that the service would run with", Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.serveConfig(cmd, file, texts)
			if err != nil {
				return err
			}
			text, err := c.Text()
			if err != nil {
				return err
			}
			return a.print(c, func(w io.Writer) { fmt.Fprint(w, text) })
		},
	}
	flags(cmd)
	flags(show)
	cmd.AddCommand(show, a.serveBackupCommand(), a.serveRestoreCommand(), a.serveAdminTokenCommand(), a.serveUnitCommand())
	return cmd
}

// serveConfig puts the settings together.
func (a *app) serveConfig(cmd *cobra.Command, file string, texts given) (daemon.Config, error) {
	state, err := a.state()
	if err != nil {
		return daemon.Config{}, err
	}
	s, err := a.config()
	if err != nil {
		return daemon.Config{}, err
	}
	c := daemon.Default(filepath.Join(state, "service"))
	c.Builder, c.Runtime, c.PullPolicy = a.defaultBuilder(s), firstOf(s.Runtime, c.Runtime), firstOf(s.PullPolicy, c.PullPolicy)
	c.AllowNetworks, c.InsecureRegistries = s.AllowNetworks, s.InsecureRegistries
	if file == "" {
		file = a.getenv("SLIPWAY_SERVE_CONFIG")
	}
	if _, err := os.Stat(serveConfigFile); err == nil && file == "" {
		file = serveConfigFile
	}
	if file != "" {
		if err := c.Read(file); err != nil {
			return c, err
		}
	}
	for _, k := range serveKeys(&c) {
		variable := serveVariable(k.name)
		if v, ok := a.lookupEnv(variable); ok {
			if err := k.set(v); err != nil {
				return c, usagef("%s=%s: %w", variable, v, err)
			}
		}
		if cmd.Flags().Changed(k.name) {
			if err := k.set(*texts[k.name]); err != nil {
				return c, usagef("--%s %s: %w", k.name, *texts[k.name], err)
			}
		}
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

func serveVariable(name string) string {
	b := []byte("SLIPWAY_SERVE_" + name)
	for i, c := range b {
		switch {
		case c == '-':
			b[i] = '_'
		case c >= 'a' && c <= 'z':
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// serve runs the service until a signal ends it.
func (a *app) serve(ctx context.Context, c daemon.Config) (err error) {
	settings, err := a.machineSettings()
	if err != nil {
		return err
	}
	trust, err := a.trust()
	if err != nil {
		return err
	}
	settings.Runtime = c.Runtime
	ca, _ := a.bundle()
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(a.stderr, "%s %s\n", time.Now().UTC().Format(time.RFC3339), transcript.Clean(line, false))
	}
	d, err := daemon.Open(ctx, c, daemon.Host{
		Settings: settings, Options: platform.Options{Trust: trust, Proxy: a.proxy()}, CAFile: ca, Version: version, Getenv: a.getenv,
		Fault: func(err error) { say("fault: " + oneLine(err)) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	token, err := d.First(ctx)
	if err != nil {
		return err
	}
	if token != "" {
		fmt.Fprintf(a.stdout, "This is the first start. The admin token, which is shown only once:\n\n  %s\n\nTo use it: slipway login %s\n\n", token, d.URL())
	}
	say("serving " + d.URL() + ", data in " + c.Data)
	if address, key := d.SSH(); address != "" {
		say("git by SSH on " + address + ", known by the key " + key)
	}
	if d.Ops() != "" {
		say("metrics and profiles on http://" + d.Ops())
	}
	defer context.AfterFunc(ctx, func() { say("stopping: builds that run go on for at most " + time.Duration(c.Worker.Drain).String()) })()
	err = d.Run(ctx)
	if _, ok := errors.AsType[*interrupted](context.Cause(ctx)); ok && err == nil {
		say("stopped") // a signal is how it ends: no error
	}
	return err
}
