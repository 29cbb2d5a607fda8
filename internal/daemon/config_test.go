package daemon_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
)

// read makes a file of text and reads it over the defaults.
func read(t *testing.T, text string) (c daemon.Config, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "serve.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c = daemon.Default("/data")
	return c, c.Read(file)
}

// TestConfigText: what the service shows as its settings is a file that comes to the same.
func TestConfigText(t *testing.T) {
	t.Parallel()
	c := daemon.Default("/data")
	c.AllowNetworks, c.Fetch.Allow, c.InsecureRegistries = []string{"10.0.0.0/8"}, []string{"192.0.2.1"}, []string{"registry.test:5000"}
	c.TrustedProxies = []string{"10.0.0.1"}
	c.Limits.CPUs, c.URL, c.Keep.Logs = 1.5, "https://build.example.com", daemon.Duration(36*time.Hour)
	text, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, text); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("it comes back as %+v, %v\n%s", got, err, text)
	}
	for _, line := range []string{"logs = '1d12h'", "caches = '30d'", "drain = '10m'", "memory = '4GiB'"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s is not in\n%s", line, text)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		is    time.Duration
		shown string
	}{
		"0": {0, "0s"}, "90s": {90 * time.Second, "1m30s"}, "1h": {time.Hour, "1h"}, "60m": {time.Hour, "1h"}, "24h": {24 * time.Hour, "1d"},
		"1d90m": {25*time.Hour + 30*time.Minute, "1d1h30m"}, "10h30s": {10*time.Hour + 30*time.Second, "10h0m30s"}, "100ms": {100 * time.Millisecond, "100ms"},
		"20m": {20 * time.Minute, "20m"}, "1h10m": {70 * time.Minute, "1h10m"},
	} {
		var d, again daemon.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want.is {
			t.Errorf("%q is %s, %v", text, time.Duration(d), err)
		}
		shown, err := d.MarshalText()
		if err != nil || string(shown) != want.shown {
			t.Errorf("%q is shown as %s, %v", text, shown, err)
		}
		if err := again.UnmarshalText(shown); err != nil || again != d {
			t.Errorf("%s is read as %s, %v", shown, time.Duration(again), err)
		}
	}
	for _, text := range []string{"", "-1s", "5", "1dd", "d", "1h2d", "soon"} {
		var d daemon.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil && text != "" {
			t.Errorf("%q is %s", text, time.Duration(d))
		}
	}
}

// TestBadConfig: what is wrong in a file is told with its line, or its key.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"listen = '127.0.0.1:1'\nlissten = 'x'\n": "line 2: unknown key lissten",
		"[worker]\nslot = 3\n":                    "line 2: unknown key worker.slot",
		"[worker]\nslots = 'three'\n":             "line 2: ",
		"[limits]\ntime = '1 hour'\n":             "no duration such as",
		"[limits]\nmemory = 'lots'\n":             "line 2: ",
		"listen = '0.0.0.0:5780'\n":               "url: say how clients reach the service",
		"url = 'https://u:p@x/'\n":                "url: want",
		"[worker]\nslots = 0\n":                   "worker.slots: want at least 1",
		"[fetch]\nallow = ['everything']\n":       "fetch.allow: want an address",
		"trusted-proxies = ['everybody']\n":       "trusted-proxies: want an address",
		"[rates]\nhooks = -1\n":                   "rates.hooks: want a number",
		"[connections]\ntotal = -1\n":             "connections.total: want a number",
		"pull-policy = 'maybe'\n":                 "pull-policy: ",
		"runtime = 'chroot'\n":                    "runtime: ",
	} {
		c, err := read(t, text)
		if err == nil {
			err = c.Check()
		}
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	c := daemon.Default("/data")
	if err := c.Read("/nowhere/serve.toml"); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("no file: %v", err)
	}
}
