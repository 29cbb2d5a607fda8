package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// A setting is one key of the configuration: how it is shown, set and forgotten.
type setting struct {
	key, args, short string
	get              func(*settings) []string
	set              func(*settings, []string) error
	unset            func(*settings, []string) error
}

// settingTable is every key. Values are checked when they are set, not when a build has begun.
func settingTable() []setting {
	return []setting{
		{
			"default-builder", "IMAGE", "builder of builds that name none",
			func(s *settings) []string { return some(s.DefaultBuilder) },
			func(s *settings, v []string) error { return one(&s.DefaultBuilder, v, checkImage) },
			func(s *settings, _ []string) error { s.DefaultBuilder = ""; return nil },
		},
		{
			"pull-policy", "always|if-not-present|never", "when a registry is asked although the image is here",
			func(s *settings) []string { return some(s.PullPolicy) },
			func(s *settings, v []string) error {
				return one(&s.PullPolicy, v, func(p string) error { _, err := image.ParsePolicy(p); return err })
			},
			func(s *settings, _ []string) error { s.PullPolicy = ""; return nil },
		},
		{
			"insecure-registries", "HOST[:PORT]...", "registries that may be reached by plain http",
			func(s *settings) []string { return s.InsecureRegistries },
			func(s *settings, v []string) error {
				for _, h := range v {
					if h == "" || strings.ContainsAny(h, "/ @") {
						return fmt.Errorf("%q is not a registry's host or host:port", h)
					}
				}
				s.InsecureRegistries = slices.Compact(slices.Sorted(slices.Values(v)))
				return nil
			},
			func(s *settings, v []string) error {
				s.InsecureRegistries = without(s.InsecureRegistries, v)
				return nil
			},
		},
		{
			"runtime", "auto|oci|oci:NAME|docker", "what runs containers: an OCI runtime without a daemon, or Docker",
			func(s *settings) []string { return some(s.Runtime) },
			func(s *settings, v []string) error { return one(&s.Runtime, v, platform.ParseRuntime) },
			func(s *settings, _ []string) error { s.Runtime = ""; return nil },
		},
		{
			"allow-networks", "NETWORK...", "private networks that builds may reach with the oci runtime",
			func(s *settings) []string { return s.AllowNetworks },
			func(s *settings, v []string) error {
				for _, n := range v {
					if _, err := platform.ParseNetwork(n); err != nil {
						return err
					}
				}
				s.AllowNetworks = slices.Compact(slices.Sorted(slices.Values(v)))
				return nil
			},
			func(s *settings, v []string) error { s.AllowNetworks = without(s.AllowNetworks, v); return nil },
		},
		{
			"run-image-mirrors", "IMAGE MIRROR...", "where else a run image can be had",
			(*settings).mirrorLines,
			setMirrors,
			func(s *settings, v []string) error {
				for name := range s.RunImageMirrors {
					if len(v) == 0 || slices.Contains(v, name) {
						delete(s.RunImageMirrors, name)
					}
				}
				return nil
			},
		},
	}
}

func settingKeys() (keys []string) {
	for _, s := range settingTable() {
		keys = append(keys, s.key)
	}
	return keys
}

func some(v string) []string {
	if v == "" {
		return nil
	}
	return []string{v}
}

func one(to *string, v []string, check func(string) error) error {
	if len(v) != 1 {
		return fmt.Errorf("want one value, got %d", len(v))
	}
	if err := check(v[0]); err != nil {
		return err
	}
	*to = v[0]
	return nil
}

func checkImage(s string) error {
	_, err := image.ParseRef(s)
	return err
}

func without(list, gone []string) []string {
	if len(gone) == 0 {
		return nil
	}
	return slices.DeleteFunc(list, func(s string) bool { return slices.Contains(gone, s) })
}

func setMirrors(s *settings, v []string) error {
	if len(v) < 2 {
		return fmt.Errorf("want a run image and its mirrors")
	}
	for _, name := range v {
		if err := checkImage(name); err != nil {
			return err
		}
	}
	if s.RunImageMirrors == nil {
		s.RunImageMirrors = map[string][]string{}
	}
	s.RunImageMirrors[v[0]] = slices.Clone(v[1:])
	return nil
}

func findSetting(key string) (setting, error) {
	keys := settingKeys()
	if i := slices.Index(keys, key); i >= 0 {
		return settingTable()[i], nil
	}
	if near := nearest(key, keys); near != "" {
		return setting{}, usagef("no setting %q: did you mean %q?", key, near)
	}
	return setting{}, usagef("no setting %q: there are %s", key, strings.Join(keys, ", "))
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Show and change what Slipway is configured to, or with --app an app's config vars",
		Long: "Show and change what Slipway is configured to. Keys:\n\n" + keysHelp() + varsHelp,
		Example: `  slipway config default-builder registry.example.com/builder
  slipway config set run-image-mirrors slipway/run:trixie mirror.example.com/run:trixie
  slipway config unset pull-policy
  slipway config --app my-app
  slipway config set --app my-app LOG_LEVEL=info SECRET=- < secret.txt`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return unknownCommand(cmd, args[0])
			case a.varsOf():
				return a.showVars(cmd.Context())
			}
			return a.showConfig()
		},
	}
	cmd.AddCommand(a.keyCommands()...)
	for _, s := range settingTable() {
		cmd.AddCommand(a.settingCommand(s))
	}
	cmd.PersistentFlags().StringVarP(&a.appName, "app", "a", "", "`APP` of the build service: its config vars")
	_ = cmd.RegisterFlagCompletionFunc("app", a.completeApps)
	return a.serviceFlags(cmd)
}

// keyCommands are get, set and unset: of settings, or with --app of config vars.
func (a *app) keyCommands() []*cobra.Command {
	var files []string
	set := &cobra.Command{
		Use: "set KEY VALUE...", Short: "Change one setting; with --app: NAME=VALUE..., NAME=- takes the value from standard input",
		Args: func(cmd *cobra.Command, args []string) error {
			if a.varsOf() {
				return nil
			}
			if len(files) > 0 {
				return usagef("--env-file is for config vars: say of which --app")
			}
			if len(args) > 0 && strings.Contains(args[0], "=") {
				return usagef("%s is no setting of this machine; to set it as a config var of an app's builds, say of which --app", args[0])
			}
			return wants("KEY", "VALUE...")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.varsOf() {
				return a.setVars(cmd.Context(), args, files)
			}
			return a.setSetting(args[0], args[1:])
		},
	}
	set.Flags().StringArrayVar(&files, "env-file", nil, "with --app: `FILE` of NAME=VALUE lines; arguments win; repeatable")
	return []*cobra.Command{
		set,
		{Use: "get KEY", Short: "Print one setting; with --app: one config var", Args: wants("KEY"), RunE: func(cmd *cobra.Command, args []string) error {
			if a.varsOf() {
				return a.getVar(cmd.Context(), args[0])
			}
			return a.getSetting(args[0])
		}},
		{Use: "unset KEY [VALUE...]", Short: "Forget one setting; with --app: config vars", Args: wants("KEY", "[VALUE...]"), RunE: func(cmd *cobra.Command, args []string) error {
			if a.varsOf() {
				return a.unsetVars(cmd.Context(), args)
			}
			return a.unsetSetting(args[0], args[1:])
		}},
	}
}

// settingCommand is the short form: slipway config KEY [VALUE...] [--unset].
func (a *app) settingCommand(s setting) *cobra.Command {
	var unset bool
	c := &cobra.Command{
		Use: s.key + " [" + s.args + "]", Short: "Print or change: " + s.short,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case a.varsOf():
				return usagef("%s is a setting of this machine and not of an app: leave out --app", s.key)
			case unset:
				return a.unsetSetting(s.key, args)
			case len(args) == 0:
				return a.getSetting(s.key)
			}
			return a.setSetting(s.key, args)
		},
	}
	c.Flags().BoolVarP(&unset, "unset", "u", false, "forget it")
	return c
}

func keysHelp() string {
	var b strings.Builder
	for _, s := range settingTable() {
		fmt.Fprintf(&b, "  %-20s %s (%s)\n", s.key, s.short, s.args)
	}
	return strings.TrimRight(b.String(), "\n")
}

func (a *app) showConfig() error {
	path, err := a.settingsPath()
	if err != nil {
		return err
	}
	s, err := a.config()
	if err != nil {
		return err
	}
	return a.print(struct {
		Path string `json:"path"`
		*settings
	}{path, s}, func(w io.Writer) {
		fmt.Fprintf(w, "# %s\n", path)
		for _, k := range settingTable() {
			values := k.get(s)
			if len(values) == 0 {
				values = []string{"(not set)"}
			}
			for _, v := range values {
				fmt.Fprintf(w, "%-20s %s\n", k.key, v)
			}
		}
	})
}

// getSetting prints the values; there being none is an answer, by exit code 1 and no output.
func (a *app) getSetting(key string) error {
	k, err := findSetting(key)
	if err != nil {
		return err
	}
	s, err := a.config()
	if err != nil {
		return err
	}
	values := k.get(s)
	if len(values) == 0 {
		return &statusError{code: 1, text: key + " is not set"}
	}
	return a.print(values, func(w io.Writer) {
		for _, v := range values {
			fmt.Fprintln(w, v)
		}
	})
}

func (a *app) setSetting(key string, values []string) error {
	k, err := findSetting(key)
	if err != nil {
		return err
	}
	return a.changeSettings(func(s *settings) error {
		if err := k.set(s, values); err != nil {
			return usagef("%s: %w", key, err)
		}
		return nil
	})
}

func (a *app) unsetSetting(key string, values []string) error {
	k, err := findSetting(key)
	if err != nil {
		return err
	}
	return a.changeSettings(func(s *settings) error { return k.unset(s, values) })
}
