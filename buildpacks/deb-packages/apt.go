package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// system is what we take from the build image.
type system struct {
	etc    string // apt's configuration: sources and keys
	status string // dpkg's database
	bin    string // apt-get, apt-cache, dpkg-deb
}

// maxDownload is what all packages together may weigh.
const maxDownload = 4 << 30

// apt runs Debian's own resolver in directories of ours, as an ordinary user: nothing is installed, no
// maintainer script runs.
type apt struct {
	system
	w     parcel.Work
	state string // lists and downloaded packages, from build to build
	arch  string
}

// deb is one package that apt chose.
type deb struct{ name, version, arch string }

// file is the name apt stores it under.
func (d deb) file() string {
	return d.name + "_" + strings.ReplaceAll(d.version, ":", "%3a") + "_" + d.arch + ".deb"
}

func (a apt) prepare() error {
	for _, d := range []string{"lists/partial", "archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(a.state, d), 0o755); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(a.status)
	if err != nil {
		return parcel.Ours("use a Debian or Ubuntu build image", "the build image has no dpkg database: %w", err)
	}
	return os.WriteFile(filepath.Join(a.state, "status"), []byte(baseStatus(string(b))), 0o644)
}

func (a apt) run(ctx context.Context, tool string, args ...string) (string, error) {
	options := []string{
		"Dir::Etc=" + a.etc, "Dir::State=" + a.state, "Dir::State::lists=" + filepath.Join(a.state, "lists"),
		"Dir::State::status=" + filepath.Join(a.state, "status"), "Dir::Cache=" + a.state,
		"Dir::Cache::archives=" + filepath.Join(a.state, "archives"), "Dir::Log=" + filepath.Join(a.state, "log"),
		"APT::Architecture=" + a.arch, "APT::Sandbox::User=", "APT::Install-Recommends=false", "Acquire::Languages=none",
		"Acquire::Retries=3", "APT::Update::Error-Mode=any", "Debug::NoLocking=true", "Dpkg::Use-Pty=false", "quiet=1",
		"APT::Keep-Downloaded-Packages=true",
	}
	if ca := cmp.Or(a.w.Env["SSL_CERT_FILE"], a.w.Env["CURL_CA_BUNDLE"]); ca != "" {
		options = append(options, "Acquire::https::CAInfo="+ca)
	}
	var full []string
	for _, o := range options {
		full = append(full, "-o", o)
	}
	c := parcel.Command{Path: filepath.Join(a.bin, tool), Args: append(full, args...), Dir: a.state,
		Env: a.w.Env.With("LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")}
	out, err := c.Run(ctx)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		e.Name = tool + " " + strings.Join(args, " ")
	}
	return string(out), err
}

// update reads the package lists.
func (a apt) update(ctx context.Context) error {
	_, err := a.run(ctx, "apt-get", "update")
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		return parcel.Ours("try again; check that the build can reach the Debian mirror of the build image", "download failed: could not read the package lists: %s: %w", lastError(e.Tail), err)
	}
	return err
}

// instLine is what a simulated install says of a package: "Inst name [old] (version origin [arch])".
var instLine = regexp.MustCompile(`^Inst ([^ ]+) (?:\[[^]]*\] )?\(([^ ]+) .*\[([a-z0-9-]+)\]\)`)

// resolve lists the packages and all they depend on that are not in every base image, sorted.
func (a apt) resolve(ctx context.Context, list []string) ([]deb, error) {
	out, err := a.run(ctx, "apt-get", append([]string{"-s", "install", "--"}, list...)...)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		return nil, a.explain(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	var debs []deb
	for l := range strings.Lines(out) {
		if m := instLine.FindStringSubmatch(l); m != nil {
			name, _, _ := strings.Cut(m[1], ":")
			debs = append(debs, deb{name, m[2], m[3]})
		}
	}
	slices.SortFunc(debs, func(x, y deb) int { return cmp.Compare(x.name, y.name) })
	return debs, nil
}

// download fetches what is not there from the last build; apt verifies it against the signed lists. local
// gives the packages that stay where they are, on a mirror with a file: address.
func (a apt) download(ctx context.Context, list []string) (local map[string]string, err error) {
	out, err := a.run(ctx, "apt-get", append([]string{"-y", "--print-uris", "install", "--"}, list...)...)
	if err != nil {
		return nil, err
	}
	local = map[string]string{}
	var total int64
	for l := range strings.Lines(out) { // 'address' file size checksum
		f := strings.Fields(l)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		if path, ok := strings.CutPrefix(strings.Trim(f[0], "'"), "file:"); ok {
			local[f[1]] = path
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, parcel.Ours("try another apt", "cannot read what apt-get --print-uris says: %q", strings.TrimSpace(l))
		}
		total += n
	}
	if total > maxDownload {
		return nil, parcel.Yours("name fewer packages", "your packages and what they depend on weigh %d MiB, more than %d", total>>20, maxDownload>>20)
	}
	if total > 0 {
		a.w.Sayf("downloading %.1f MB", float64(total)/1e6)
	}
	_, err = a.run(ctx, "apt-get", append([]string{"-y", "-d", "install", "--"}, list...)...)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		return nil, parcel.Ours("try again; check that the build can reach the Debian mirror of the build image", "download failed: %s: %w", lastError(e.Tail), err)
	}
	return local, err
}

var (
	unknown     = regexp.MustCompile(`(?m)^E: (?:Unable to locate package|Couldn't find any package by (?:glob|regex)) '?([^'\s]+)'?`)
	noCandidate = regexp.MustCompile(`(?m)^E: Package '([^']+)' has no installation candidate`)
	noVersion   = regexp.MustCompile(`(?m)^E: Version '([^']+)' for '([^']+)' was not found`)
)

// explain turns what the resolver said into one line.
func (a apt) explain(ctx context.Context, e *parcel.CommandError) error {
	if m := unknown.FindStringSubmatch(e.Tail); m != nil {
		do := "correct the name (packages.debian.org lists them)"
		if near := a.near(ctx, m[1]); len(near) > 0 {
			do = "did you mean " + strings.Join(near, ", ") + "?"
		}
		return parcel.Yours(do, "there is no Debian package %s in this release", m[1])
	}
	if m := noCandidate.FindStringSubmatch(e.Tail); m != nil {
		return parcel.Yours("name a package that provides it", "the Debian package %s is only a name that others provide, or was removed", m[1])
	}
	if m := noVersion.FindStringSubmatch(e.Tail); m != nil {
		return parcel.Yours("name a version that this release has, or none", "there is no version %s of the Debian package %s", m[1], m[2])
	}
	if strings.Contains(e.Tail, "unmet dependencies") || strings.Contains(e.Tail, "broken packages") {
		a.w.Sayf("%s", strings.TrimSpace(e.Tail))
		return parcel.Yours("name packages that can be installed together", "your packages conflict with each other or with the base image: %w", e)
	}
	return parcel.Ours("read apt's message", "apt: %s: %w", lastError(e.Tail), e)
}

// near are up to three names that a user may have meant.
func (a apt) near(ctx context.Context, name string) []string {
	out, err := a.run(ctx, "apt-cache", "pkgnames")
	if err != nil {
		return nil
	}
	type guess struct {
		name string
		far  int
	}
	var list []guess
	for n := range strings.FieldsSeq(out) {
		far := distance(name, n)
		if len(name) > 3 && (strings.HasPrefix(n, name) || strings.HasPrefix(n, "lib"+name)) {
			far = min(far, 3)
		}
		if far <= 1+len(name)/4 || far <= 3 && strings.Contains(n, name) {
			list = append(list, guess{n, far})
		}
	}
	slices.SortFunc(list, func(x, y guess) int {
		return cmp.Or(cmp.Compare(x.far, y.far), cmp.Compare(len(x.name), len(y.name)), cmp.Compare(x.name, y.name))
	})
	var names []string
	for _, g := range list[:min(3, len(list))] {
		names = append(names, g.name)
	}
	return names
}

// distance is the number of letters to change, add or leave out (Levenshtein).
func distance(a, b string) int {
	if d := len(a) - len(b); d > 6 || d < -6 {
		return 7
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// lastError is apt's last error line.
func lastError(tail string) string {
	last := "it gave no reason"
	for l := range strings.Lines(tail) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), "E: "); ok {
			last = rest
		}
	}
	return last
}
