package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

const (
	toolchainModule = "golang.org/toolchain"
	maxToolchain    = 512 << 20
	maxDocument     = 16 << 20

	// publicSumDB and its key are compiled into the go command, too.
	publicSumDB = "sum.golang.org"
	publicKey   = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

	proxyHelp = "try again later; where proxy.golang.org cannot be reached, set GOPROXY to a module proxy that can"
)

// proxies are the module proxies of GOPROXY in order; "direct" has no toolchains and is passed over.
func proxies(env parcel.Env) ([]string, error) {
	s := env["GOPROXY"]
	if s == "" {
		s = "https://proxy.golang.org,direct"
	}
	var list []string
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '|' }) {
		switch p = strings.TrimSpace(p); p {
		case "direct", "noproxy", "":
		case "off":
			return nil, noProxy(s)
		default:
			u, err := url.Parse(p)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file" {
				return nil, parcel.Yours("write it as https://host or file:///dir", "GOPROXY has %q, which is not a URL", p)
			}
			list = append(list, strings.TrimRight(p, "/"))
		}
	}
	if len(list) == 0 {
		return nil, noProxy(s)
	}
	return list, nil
}

func noProxy(s string) error {
	return parcel.Yours("add a proxy, for example GOPROXY=https://proxy.golang.org,direct", "GOPROXY is %q, and the Go toolchain comes from a module proxy", s)
}

// source is where toolchains come from.
type source struct {
	proxies []string
	fetch   parcel.Fetcher
	arch    string
	env     parcel.Env
	goSum   string // text of the app's go.sum
}

// each asks the proxies in turn until one answers.
func (s source) each(do func(base string) error) error {
	var first error
	for _, p := range s.proxies {
		err := do(p + "/" + toolchainModule + "/@v/")
		if err == nil {
			return nil
		}
		if first == nil || errors.Is(first, fs.ErrNotExist) {
			first = err
		}
	}
	return first
}

// releases lists the toolchains for this platform as "go1.26.5".
func (s source) releases(ctx context.Context) ([]string, error) {
	var all []string
	err := s.each(func(base string) error {
		b, err := s.fetch.Bytes(ctx, base+"list", maxDocument)
		for l := range strings.Lines(string(b)) {
			if r, ok := strings.CutSuffix(strings.TrimSpace(l), ".linux-"+s.arch); ok {
				all = append(all, strings.TrimPrefix(r, "v0.0.1-"))
			}
		}
		return err
	})
	if err != nil {
		return nil, parcel.Ours(proxyHelp, "could not list the Go toolchains: %w", err)
	}
	return all, nil
}

// install downloads a release, verifies it against the checksum database and unpacks it below dst. A
// release that no proxy has is fs.ErrNotExist.
func (s source) install(ctx context.Context, release, dst string) (h1 string, err error) {
	v := "v0.0.1-" + release + ".linux-" + s.arch
	tmp, err := os.MkdirTemp("", "toolchain")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, "toolchain.zip")
	err = s.each(func(base string) error {
		return s.fetch.File(ctx, base+v+".zip", file, maxToolchain, parcel.ByCaller())
	})
	if err != nil {
		return "", parcel.Ours(proxyHelp, "could not download the toolchain %s: %w", release, err)
	}
	want, err := s.sum(ctx, v)
	if err != nil {
		return "", err
	}
	got, err := dirhash.HashZip(file, dirhash.Hash1)
	if err != nil {
		return "", parcel.Ours(proxyHelp, "the downloaded toolchain %s is damaged: %w", release, err)
	}
	if got != want {
		return "", parcel.Ours("do not use this module proxy before you know why", "the downloaded toolchain %s has the checksum %s, not %s", release, got, want)
	}
	err = parcel.Unzip(ctx, file, dst, pick(toolchainModule+"@"+v+"/"))
	if err != nil {
		return "", parcel.Ours(proxyHelp, "the downloaded toolchain %s is damaged: %w", release, err)
	}
	return got, nil
}

// pick leaves out what builds never read (a third of the files), gives the commands their exec bits, which a
// module zip cannot carry, and go.mod files their name, which a module zip must not have.
func pick(prefix string) parcel.Pick {
	return func(name string, _ fs.FileMode) (string, fs.FileMode) {
		rel, ok := strings.CutPrefix(name, prefix)
		first, _, _ := strings.Cut(rel, "/")
		switch {
		case !ok, first == "test", first == "api", first == "doc", first == "misc",
			strings.Contains(rel, "/testdata/"), strings.HasSuffix(rel, "_test.go"):
			return "", 0
		case first == "bin", strings.HasPrefix(rel, "pkg/tool/"):
			return rel, 0o755
		case path.Base(rel) == "_go.mod":
			return path.Join(path.Dir(rel), "go.mod"), 0o644
		}
		return rel, 0o644
	}
}

// sum is the checksum that the toolchain must have: BP_GO_TOOLCHAIN_SUM, the app's go.sum, or the checksum
// database, read through the proxies that offer it, else directly.
func (s source) sum(ctx context.Context, v string) (string, error) {
	if h := strings.TrimSpace(s.env["BP_GO_TOOLCHAIN_SUM"]); h != "" {
		return h, nil
	}
	if h := findSum(strings.Split(s.goSum, "\n"), v); h != "" {
		return h, nil
	}
	name, key, direct := publicSumDB, publicKey, "https://"+publicSumDB
	switch f := strings.Fields(s.env["GOSUMDB"]); {
	case len(f) > 0 && f[0] == "off":
		return "", parcel.Yours("set BP_GO_TOOLCHAIN_SUM to the toolchain's h1: checksum, or leave GOSUMDB unset",
			"GOSUMDB is off, so that nothing can vouch for the Go toolchain")
	case len(f) > 0 && strings.Contains(f[0], "+"):
		key = f[0]
		name, _, _ = strings.Cut(key, "+")
		direct = "https://" + name
		fallthrough
	case len(f) > 1:
		if len(f) > 1 {
			direct = strings.TrimRight(f[1], "/")
		}
	}
	base := direct
	for _, p := range s.proxies {
		if _, err := s.fetch.Bytes(ctx, p+"/sumdb/"+name+"/supported", maxDocument); err == nil {
			base = p + "/sumdb/" + name
			break
		}
	}
	ops := &sumOps{ctx: ctx, fetch: s.fetch, base: base, key: key}
	lines, err := sumdb.NewClient(ops).Lookup(toolchainModule, v)
	if ops.alarm != "" {
		return "", parcel.Ours("do not build before you know why", "the Go checksum database contradicts itself: %s", ops.alarm)
	}
	if err != nil {
		return "", parcel.Ours("try again later, or set BP_GO_TOOLCHAIN_SUM to the toolchain's h1: checksum, or GOPROXY to a proxy that passes on "+name,
			"could not verify the Go toolchain with %s: %w", name, err)
	}
	if h := findSum(lines, v); h != "" {
		return h, nil
	}
	return "", parcel.Ours("choose another Go release", "the Go checksum database does not know the toolchain %s", v)
}

func findSum(lines []string, v string) string {
	for _, l := range lines {
		if f := strings.Fields(l); len(f) == 3 && f[0] == toolchainModule && f[1] == v {
			return f[2]
		}
	}
	return ""
}

// sumOps is what the checksum database's client asks of the world. Nothing is kept between builds: the tree
// is then as fresh as the answer.
type sumOps struct {
	ctx    context.Context // of the one Lookup that sumOps is made for
	fetch  parcel.Fetcher
	base   string
	key    string
	latest []byte
	alarm  string
}

func (o *sumOps) ReadRemote(p string) ([]byte, error) {
	return o.fetch.Bytes(o.ctx, o.base+p, maxDocument)
}

func (o *sumOps) ReadConfig(file string) ([]byte, error) {
	switch {
	case file == "key":
		return []byte(o.key), nil
	case strings.HasSuffix(file, "/latest"):
		return o.latest, nil
	}
	return nil, fmt.Errorf("read %s: %w", file, fs.ErrNotExist)
}

func (o *sumOps) WriteConfig(_ string, old, new []byte) error {
	if string(old) != string(o.latest) {
		return sumdb.ErrWriteConflict
	}
	o.latest = new
	return nil
}

func (o *sumOps) ReadCache(file string) ([]byte, error) {
	return nil, fmt.Errorf("read %s: %w", file, fs.ErrNotExist)
}
func (o *sumOps) WriteCache(string, []byte) {}
func (o *sumOps) Log(string)                {}
func (o *sumOps) SecurityError(msg string)  { o.alarm = strings.Join(strings.Fields(msg), " ") }
