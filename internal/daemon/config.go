package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// Config is what an operator decides: the file that `slipway serve --config` names, and Default where it is silent. An
// unknown key is an error.
type Config struct {
	Data     string `toml:"data" json:"data" comment:"the one directory that holds everything"`
	Listen   string `toml:"listen" json:"listen" comment:"address of the API, git and the registry"`
	URL      string `toml:"url" json:"url" comment:"how clients reach that; empty: http:// and the address"`
	SSH      string `toml:"ssh" json:"ssh" comment:"address of git by SSH, such as :2222; empty: none"`
	Ops      string `toml:"ops" json:"ops" comment:"address of /metrics and /debug/pprof; empty: none"`
	Builder  string `toml:"builder" json:"builder" comment:"image of apps that name no builder"`
	Registry string `toml:"registry" json:"registry" comment:"where images go, host or host/path; empty: the registry of this service itself"`

	Runtime            string   `toml:"runtime" json:"runtime" comment:"auto, oci, oci:NAME or docker"`
	AllowNetworks      []string `toml:"allow-networks" json:"allow-networks" comment:"private networks that builds, and what runs of apps, may reach"`
	InsecureRegistries []string `toml:"insecure-registries" json:"insecure-registries" comment:"registries that are spoken to by plain http"`
	PullPolicy         string   `toml:"pull-policy" json:"pull-policy" comment:"of builders and run images: always, if-not-present or never"`

	TrustedProxies []string `toml:"trusted-proxies" json:"trusted-proxies" comment:"addresses or networks whose X-Forwarded-For is believed"`

	Rates       Rates       `toml:"rates" json:"rates" comment:"requests a minute, all of which may come at once; 0: any number"`
	Connections Connections `toml:"connections" json:"connections" comment:"at once; where there are too many, those go that wait longest; 0: any number"`

	Worker Worker       `toml:"worker" json:"worker"`
	Limits BuildLimits  `toml:"limits" json:"limits" comment:"of one build: what apps get that set none, and the most that they can set"`
	Fetch  FetchConfig  `toml:"fetch" json:"fetch" comment:"sources by URL"`
	Upload UploadConfig `toml:"upload" json:"upload"`
	Keep   Keep         `toml:"keep" json:"keep" comment:"how long things stay"`
	Deploy DeployConfig `toml:"deploy" json:"deploy" comment:"apps that run on this machine, where their deployer is local"`
	Index  IndexConfig  `toml:"index" json:"index" comment:"the buildpack registry index that the service keeps"`
}

// DeployConfig says which apps run on this machine, and how they are reached.
type DeployConfig struct {
	Apps   int    `toml:"apps" json:"apps" comment:"how many, each with a port of its own; 0: none"`
	Listen string `toml:"listen" json:"listen" comment:"IP address of their ports"`
	URL    string `toml:"url" json:"url" comment:"how people reach one, such as https://{app}.example.com; {app} and {port} are its own; empty: http:// and the address"`
	// Setups is build.DeployerKind of apps that are made of templates.
	Setups string `toml:"setups" json:"setups" comment:"deployer of apps that are set up by a deploy button or the API, where nobody says another: none or local"`
}

// IndexConfig says who may do what with the service's index.
type IndexConfig struct {
	Private    bool `toml:"private" json:"private" comment:"only who has a token may read it"`
	AdminsOnly bool `toml:"admins-only" json:"admins-only" comment:"only administrators give namespaces; else one that is nobody's is whoever's registers there first"`
}

// Rates bound requests. Git, images, uploads and logs that are followed do not count.
type Rates struct {
	Token    int `toml:"token" json:"token" comment:"to the API, with one token"`
	Address  int `toml:"address" json:"address" comment:"to the API, from one address"`
	Hooks    int `toml:"hooks" json:"hooks" comment:"from one address to the URLs of hooks"`
	Failures int `toml:"failures" json:"failures" comment:"from one address with a wrong token"`
}

// Connections bound what is open.
type Connections struct {
	Total   int `toml:"total" json:"total" comment:"at most what open files (ulimit -n) leave room for"`
	Address int `toml:"address" json:"address" comment:"of one address that is no trusted proxy"`
}

// Worker is how builds are run.
type Worker struct {
	Slots int      `toml:"slots" json:"slots" comment:"builds at once"`
	Drain Duration `toml:"drain" json:"drain" comment:"how long builds may go on when the service is stopped"`
}

// BuildLimits are build.Limits as people write them.
type BuildLimits struct {
	Time   Duration `toml:"time" json:"time"`
	Memory Size     `toml:"memory" json:"memory"`
	CPUs   float64  `toml:"cpus" json:"cpus" comment:"0: all"`
	PIDs   int64    `toml:"pids" json:"pids"`
	Disk   Size     `toml:"disk" json:"disk"`
	Log    Size     `toml:"log" json:"log"`
	Source Size     `toml:"source" json:"source" comment:"the unpacked source"`
	Cache  Size     `toml:"cache" json:"cache" comment:"what is kept of an app for its next build; more is dropped when the build has ended; 0: any size"`
}

// FetchConfig says where sources may come from.
type FetchConfig struct {
	Allow        []string `toml:"allow" json:"allow" comment:"addresses or networks that are not public and may be fetched from"`
	HTTP         bool     `toml:"http" json:"http" comment:"tarballs by plain http too"`
	NeedChecksum bool     `toml:"need-checksum" json:"need-checksum"`
	KnownHosts   string   `toml:"known-hosts" json:"known-hosts" comment:"file of ssh host keys; without one nothing is fetched by ssh"`
	Templates    []string `toml:"templates" json:"templates" comment:"git hosts that the templates of deploy buttons come from, as host or host:port"`
}

// UploadConfig bounds what clients send.
type UploadConfig struct {
	Source Size `toml:"source" json:"source" comment:"an uploaded or fetched archive"`
	Push   Size `toml:"push" json:"push" comment:"the pack of one git push"`
}

// Keep says how long things stay.
type Keep struct {
	Logs     Duration `toml:"logs" json:"logs"`
	Sources  Duration `toml:"sources" json:"sources" comment:"after their build has ended"`
	Caches   Duration `toml:"caches" json:"caches" comment:"that no build used"`
	Releases int      `toml:"releases" json:"releases" comment:"of each app, whose images stay for a rollback"`
}

// Duration is a time.Duration that is written as "90s", "2h30m" or, in days, "30d".
type Duration time.Duration

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	var days time.Duration
	if n, rest, ok := strings.Cut(s, "d"); ok {
		hours, err := time.ParseDuration(n + "h")
		if err != nil || strings.Contains(n, "h") {
			return fmt.Errorf("%q is no duration such as 90s, 2h or 30d", s)
		}
		days, s = 24*hours, rest
	}
	var part time.Duration
	if s != "" {
		var err error
		if part, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("%q is no duration such as 90s, 2h or 30d", string(b))
		}
	}
	if days+part < 0 {
		return fmt.Errorf("%q is below zero", string(b))
	}
	*d = Duration(days + part)
	return nil
}

// MarshalText writes it in the units that are exact: 90d, 10m, 1h30m.
func (d Duration) MarshalText() ([]byte, error) {
	days, rest := time.Duration(d)/(24*time.Hour), time.Duration(d)%(24*time.Hour)
	text := ""
	if days > 0 {
		text = fmt.Sprintf("%dd", days)
	}
	if rest != 0 || days == 0 {
		s := rest.String()
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(s, zero) {
				s = s[:len(s)-2]
			}
		}
		text += s
	}
	return []byte(text), nil
}

// Size is a number of bytes that is written as "512m" or "2GiB".
type Size int64

// UnmarshalText reads it.
func (n *Size) UnmarshalText(b []byte) error {
	v, err := transcript.ParseBytes(string(b))
	*n = Size(v)
	return err
}

// MarshalText writes it in the largest unit that is exact.
func (n Size) MarshalText() ([]byte, error) {
	v, unit := int64(n), ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v == 0 || v%1024 != 0 {
			break
		}
		v, unit = v/1024, u
	}
	return fmt.Appendf(nil, "%d%s", v, unit), nil
}

// Default is the configuration where nobody says anything, with everything below a data directory.
func Default(data string) Config {
	return Config{
		Data: data, Listen: "127.0.0.1:5780", Ops: "127.0.0.1:5781", Builder: "slipway/builder", Runtime: platform.RuntimeAuto, PullPolicy: string(image.PullIfNotPresent),
		Rates:       Rates{Token: 6000, Address: 30_000, Hooks: 60_000, Failures: 30},
		Connections: Connections{Total: 16_384, Address: 4096},
		Worker:      Worker{Slots: max(1, runtime.NumCPU()), Drain: Duration(10 * time.Minute)},
		Limits:      BuildLimits{Time: Duration(30 * time.Minute), Memory: 4 << 30, PIDs: 4096, Disk: 20 << 30, Log: 64 << 20, Source: 2 << 30, Cache: 10 << 30},
		Upload:      UploadConfig{Source: 512 << 20, Push: 512 << 20},
		Keep:        Keep{Logs: Duration(90 * 24 * time.Hour), Sources: Duration(24 * time.Hour), Caches: Duration(30 * 24 * time.Hour), Releases: 50},
		Fetch:       FetchConfig{Templates: []string{"github.com", "gist.github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht"}},
		Deploy:      DeployConfig{Apps: 20, Listen: "127.0.0.1", Setups: string(build.DeployNone)},
	}
}

// Read reads a configuration file over c. That it is not there is an error.
func (c *Config) Read(file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("configuration %s: there is no such file", file)
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	err = d.Decode(c)
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(missing.Errors) > 0 {
		row, _ := missing.Errors[0].Position()
		return fmt.Errorf("configuration %s: line %d: unknown key %s (slipway serve config shows all)", file, row, strings.Join(missing.Errors[0].Key(), "."))
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, _ := bad.Position()
		return fmt.Errorf("configuration %s: line %d: %w", file, row, err)
	}
	if err != nil {
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	return nil
}

// Text is the configuration as a file that Read takes.
func (c *Config) Text() (string, error) {
	b, err := toml.Marshal(c)
	return string(b), err
}

// Check looks at all values; Data becomes absolute, and URL loses a slash at its end.
func (c *Config) Check() (err error) {
	if c.Data, err = filepath.Abs(c.Data); err != nil || c.Data == "/" {
		return fmt.Errorf("data: want a directory of the service's own, not %q", c.Data)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is no address such as 127.0.0.1:5780", c.Listen)
	}
	if ip := net.ParseIP(host); c.URL == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("url: say how clients reach the service, which listens on every address of this machine (%s)", c.Listen)
	}
	if _, _, err := net.SplitHostPort(c.SSH); c.SSH != "" && err != nil {
		return fmt.Errorf("ssh: %q is no address such as :2222", c.SSH)
	}
	if _, _, err := net.SplitHostPort(c.Ops); c.Ops != "" && err != nil {
		return fmt.Errorf("ops: %q is no address such as 127.0.0.1:5781", c.Ops)
	}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("url: want http:// or https:// and a host, with nothing behind it, not %q", c.URL)
		}
		c.URL = u.Scheme + "://" + u.Host
	}
	if _, err := image.ParseRef(c.Builder); err != nil {
		return fmt.Errorf("builder: %w", err)
	}
	if c.Registry != "" {
		if _, err := image.ParseRef(c.Registry + "/app"); err != nil {
			return fmt.Errorf("registry: %w", err)
		}
	}
	if err := platform.ParseRuntime(c.Runtime); err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	if _, err := image.ParsePolicy(c.PullPolicy); err != nil {
		return fmt.Errorf("pull-policy: %w", err)
	}
	for _, n := range c.AllowNetworks {
		if _, err := platform.ParseNetwork(n); err != nil {
			return fmt.Errorf("allow-networks: %w", err)
		}
	}
	return c.bounds()
}

// bounds looks at the lists of addresses and the numbers.
func (c *Config) bounds() error {
	for name, list := range map[string][]string{fetch.AllowSetting: c.Fetch.Allow, "trusted-proxies": c.TrustedProxies} {
		if _, err := prefixes(name, list); err != nil {
			return err
		}
	}
	for name, n := range map[string]int{
		"rates.token": c.Rates.Token, "rates.address": c.Rates.Address, "rates.hooks": c.Rates.Hooks, "rates.failures": c.Rates.Failures,
		"connections.total": c.Connections.Total, "connections.address": c.Connections.Address,
	} {
		if n < 0 {
			return fmt.Errorf("%s: want a number, or 0 for any, not %d", name, n)
		}
	}
	if c.Worker.Slots < 1 {
		return fmt.Errorf("worker.slots: want at least 1, not %d", c.Worker.Slots)
	}
	if c.Deploy.Apps < 0 {
		return fmt.Errorf("deploy.apps: want a number, or 0 for none, not %d", c.Deploy.Apps)
	}
	if d := build.DeployerKind(c.Deploy.Setups); d != "" && d != build.DeployNone && d != build.DeployLocal {
		return fmt.Errorf("deploy.setups: want none or local, not %q", c.Deploy.Setups)
	}
	if net.ParseIP(c.Deploy.Listen) == nil {
		return fmt.Errorf("deploy.listen: want an IP address such as 127.0.0.1, not %q", c.Deploy.Listen)
	}
	if t := c.Deploy.URL; t != "" {
		u, err := url.Parse(strings.NewReplacer("{app}", "app", "{port}", "20000").Replace(t))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return fmt.Errorf("deploy.url: want https:// and a host, with {app} or {port} where they belong, not %q", t)
		}
	}
	if c.Keep.Releases < 1 {
		return fmt.Errorf("keep.releases: want at least 1, not %d", c.Keep.Releases)
	}
	return nil
}

// prefixes reads a setting that is a list of addresses and networks.
func prefixes(setting string, list []string) (out []netip.Prefix, err error) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: want an address or address/bits, not %q", setting, s)
		}
		out = append(out, p)
	}
	return slices.Clip(out), nil
}

func (l BuildLimits) limits() build.Limits {
	return build.Limits{
		Time: time.Duration(l.Time), Memory: int64(l.Memory), CPUs: l.CPUs, PIDs: l.PIDs, Disk: int64(l.Disk), Log: int64(l.Log), Source: int64(l.Source), Cache: int64(l.Cache),
	}
}
