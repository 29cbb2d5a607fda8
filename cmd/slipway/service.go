package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
)

// credentials is the file with what slipway login got: one token for each service.
type credentials struct {
	Current  string  `toml:"current,omitempty"` // the service of commands that name none
	Services []login `toml:"service,omitempty"`
}

// A login is a token for a service.
type login struct {
	URL   string `toml:"url"`
	User  string `toml:"user,omitempty"`
	Token string `toml:"token"`
}

const credentialsName = "credentials.toml"

// credentials reads the file. None is no credentials.
func (a *app) credentials() (*credentials, error) {
	path, err := a.settingsPath()
	if err != nil {
		return nil, err
	}
	return readCredentials(filepath.Dir(path))
}

func readCredentials(dir string) (*credentials, error) {
	var c credentials
	b, err := cnb.ReadFile(dir, credentialsName, cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		return &c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the credentials: %w", err)
	}
	if err := toml.Unmarshal(b, &c); err != nil { // whose text may quote a token
		return nil, fmt.Errorf("credentials %s: they cannot be read: remove the file and log in again", filepath.Join(dir, credentialsName))
	}
	return &c, nil
}

// changeCredentials reads the file anew, changes it and writes it for its owner alone.
func (a *app) changeCredentials(change func(*credentials)) error {
	return a.locked(func(path string) error {
		c, err := readCredentials(filepath.Dir(path))
		if err != nil {
			return err
		}
		change(c)
		file := filepath.Join(filepath.Dir(path), credentialsName)
		if len(c.Services) == 0 {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
		b, err := toml.Marshal(c)
		if err == nil {
			err = replaceFile(file, b, 0o600)
		}
		if err != nil {
			return fmt.Errorf("write the credentials: %w", err)
		}
		return nil
	})
}

func (c *credentials) find(url string) (login, bool) {
	i := slices.IndexFunc(c.Services, func(l login) bool { return l.URL == url })
	if i < 0 {
		return login{}, false
	}
	return c.Services[i], true
}

func (c *credentials) forget(url string) {
	c.Services = slices.DeleteFunc(c.Services, func(l login) bool { return l.URL == url })
	if c.Current == url {
		c.Current = ""
		if len(c.Services) > 0 {
			c.Current = c.Services[0].URL
		}
	}
}

// login is the service that commands talk to: SLIPWAY_URL and SLIPWAY_TOKEN, each before what slipway login saved.
func (a *app) login() (login, error) {
	c, err := a.credentials()
	if err != nil {
		return login{}, err
	}
	at := firstOf(a.getenv("SLIPWAY_URL"), c.Current)
	if at == "" {
		return login{}, &statusError{code: codeUnauthorized, text: "no build service is known here: slipway login URL, or set SLIPWAY_URL and SLIPWAY_TOKEN"}
	}
	u, err := client.ParseURL(at)
	if err != nil {
		return login{}, &usageError{err}
	}
	l, _ := c.find(u.String())
	l.URL, l.Token = u.String(), firstOf(a.getenv("SLIPWAY_TOKEN"), l.Token)
	if l.Token == "" {
		return login{}, &statusError{code: codeUnauthorized, text: fmt.Sprintf("there is no token for %s: slipway login %s, or set SLIPWAY_TOKEN", l.URL, l.URL)}
	}
	return l, nil
}

// logins are all services that there is a token for, the environment's first.
func (a *app) logins() ([]login, error) {
	c, err := a.credentials()
	if err != nil {
		return nil, err
	}
	list := c.Services
	if at := firstOf(a.getenv("SLIPWAY_URL"), c.Current); a.getenv("SLIPWAY_TOKEN") != "" && at != "" {
		list = append([]login{{URL: at, Token: a.getenv("SLIPWAY_TOKEN")}}, list...)
	}
	return list, nil
}

// serviceAuth opens the services' own registries to commands that read images. Credentials that cannot be read are
// told by the commands that need them.
func (a *app) serviceAuth() map[string]string {
	list, err := a.logins()
	if err != nil {
		return nil
	}
	auth := map[string]string{}
	for _, l := range slices.Backward(list) { // the first one wins
		if u, err := client.ParseURL(l.URL); err == nil && l.Token != "" {
			auth[u.Host] = "Basic " + base64.StdEncoding.EncodeToString([]byte(orText(l.User, "token")+":"+l.Token))
		}
	}
	return auth
}

// service is the client of the service.
func (a *app) service() (*client.Client, error) {
	l, err := a.login()
	if err != nil {
		return nil, err
	}
	return a.client(l)
}

func (a *app) client(l login) (*client.Client, error) {
	trust, err := a.trust()
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{
		URL: l.URL, Token: l.Token, UserAgent: "slipway/" + version, CA: trust.Bundle, Proxy: a.proxyFor(),
	})
}

// serviceFlags are for commands that talk to the service.
func (a *app) serviceFlags(cmd *cobra.Command) *cobra.Command {
	cmd.PersistentFlags().StringArrayVar(&a.caCerts, "ca-cert", nil, "PEM `FILE` of a certificate authority to trust besides the host's; repeatable")
	return cmd
}

// appFlag is for commands about one app.
func (a *app) appFlag(cmd *cobra.Command) *cobra.Command {
	cmd.PersistentFlags().StringVarP(&a.appName, "app", "a", "", "`APP` of the build service (default: SLIPWAY_APP, else that of the git remote slipway here)")
	_ = cmd.RegisterFlagCompletionFunc("app", a.completeApps)
	return cmd
}

// inApp does something with the app that a command is about.
func (a *app) inApp(ctx context.Context, do func(ctx context.Context, c *client.Client, app string) error) error {
	c, err := a.service()
	if err != nil {
		return err
	}
	name, err := a.chosenApp(ctx, c)
	if err != nil {
		return err
	}
	return do(ctx, c, name)
}

// chosenApp is --app, SLIPWAY_APP or what the git remote here says.
func (a *app) chosenApp(ctx context.Context, c *client.Client) (string, error) {
	if name := firstOf(a.appName, a.getenv("SLIPWAY_APP")); name != "" {
		return checkApp(name)
	}
	if name := appOfRemote(a.remote(ctx), c.URL()); name != "" {
		return name, nil
	}
	return "", usagef("which app? --app APP, or SLIPWAY_APP, or a git remote %s of %s here", remoteName, c.URL())
}

// checkApp is the name or id of an app.
func checkApp(s string) (string, error) {
	if _, err := build.ParseID(s); err == nil {
		return s, nil
	}
	if _, err := build.ParseAppName(s); err != nil {
		return "", &usageError{err}
	}
	return s, nil
}

// appOfRemote is the app that a git URL names, if it is one of the service; "" if not.
func appOfRemote(remote, service string) string {
	u, err := url.Parse(remote)
	if err != nil {
		return ""
	}
	u.User = nil
	u.Host = strings.ToLower(u.Host)
	name, ok := strings.CutPrefix(u.String(), service+"/")
	if !ok {
		return ""
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, "/"), ".git")
	if _, err := build.ParseAppName(name); err != nil {
		return ""
	}
	return name
}

// completeApps are the names of the apps. A shell does not wait for a service that is slow.
func (a *app) completeApps(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := a.service()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	apps, _ := client.Collect(c.Apps(ctx), 1000)
	names := make([]string, 0, len(apps))
	for _, app := range apps {
		names = append(names, app.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
