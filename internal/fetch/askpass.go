package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
)

const (
	askpassName = "slipway-askpass"
	envAskpass  = "SLIPWAY_ASKPASS"
)

// IsAskpass tells whether this process was started by a git of ours, to be told credentials. main asks before anything
// else, as it does for gitserver's hook.
func IsAskpass(args, env []string) bool {
	return len(args) == 2 && filepath.Base(args[0]) == askpassName && lookup(env, envAskpass) != ""
}

// Askpass is the whole helper: it asks the process that runs git, whose memory alone has the credentials, and prints
// the answer for git. It returns the status to exit with.
func Askpass(ctx context.Context, args, env []string, stdout io.Writer) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, lookup(env, envAskpass), strings.NewReader(args[1]))
	if err != nil {
		return 1
	}
	client := http.Client{Transport: &http.Transport{Proxy: nil}}
	resp, err := client.Do(req)
	if err != nil {
		return 1
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxURL))
	if err != nil || resp.StatusCode != http.StatusOK {
		return 1
	}
	if _, err := fmt.Fprintln(stdout, string(answer)); err != nil {
		return 1
	}
	return 0
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// Credentials are what a git host wants to see. In errors, arguments and files they are never.
type Credentials struct {
	User, Password string // by https; a token is a password, and its user most often of no consequence
	Key            []byte // by ssh: a private key as PEM, without a passphrase
}

// String keeps credentials out of what is printed by accident.
func (c Credentials) String() string { return "(credentials)" }

// GoString is as String.
func (c Credentials) GoString() string { return c.String() }

// of adds what was in the URL. A token that stands where the user does becomes the password, with a user that the
// hosts take with any token: git has the user in arguments.
func (c Credentials) of(user *url.Userinfo) Credentials {
	if c.Password == "" && user != nil {
		var has bool
		if c.Password, has = user.Password(); !has {
			return Credentials{User: "x-access-token", Password: user.Username(), Key: c.Key}
		}
		c.User = user.Username()
	}
	if c.Password != "" && c.User == "" {
		c.User = "x-access-token"
	}
	return c
}

// answer answers what git asks, "Password for 'https://user@host': ", for one host and no other: a redirect must not
// get at the credentials.
func (c Credentials) answer(host, prompt string) (string, bool) {
	what, rest, _ := strings.Cut(prompt, " for '")
	text, end, _ := strings.Cut(rest, "'")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host != host || end != ": " || c.Password == "" {
		return "", false
	}
	switch what {
	case "Username":
		return c.User, true
	case "Password":
		return c.Password, true
	}
	return "", false
}
