package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// toolchain is Node and npm in their layers.
type toolchain struct {
	node, npm, headers libcnb.Layer
	nodeVersion        string
	npmVersion         string
	question, asked    string // facts of headers where the mirror was asked
}

// askedFor is how long the answer of a mirror to a range holds: builds that follow each other closely agree, and do
// not wait for it. A build without cache asks anew.
const askedFor = time.Hour

// The facts of the headers layer, which is in the cache only: a time in the image would change its digest.
const (
	factQuestion = "question" // key of what was asked for the version in "version"
	factAsked    = "asked"    // when, RFC 3339
)

// chooseNode decides the version. Only a range asks the mirror, and not twice within askedFor; where it does not
// answer and the node of the last build still fits, that serves once more.
func (b *builder) chooseNode(ctx context.Context, w wish, m mirror, t *toolchain, line string) (*semver.Version, error) {
	if v := w.exact(); v != nil {
		return v, nil
	}
	restored, verr := semver.StrictNewVersion(parcel.Fact(t.node, "version"))
	fits := verr == nil && w.fits(release{version: restored})
	question := parcel.KeyOf("question 1", w.text, line, b.arch, b.w.Env["BP_NODE_MIRROR"], b.w.Env["npm_config_registry"], b.w.Env["NPM_CONFIG_REGISTRY"])
	at, terr := time.Parse(time.RFC3339, parcel.Fact(t.headers, factAsked))
	if age := time.Since(at); fits && terr == nil && age >= 0 && age < askedFor && parcel.Fact(t.headers, factQuestion) == question {
		return restored, nil
	}
	all, err := m.releases(ctx)
	if err != nil {
		if fits {
			b.w.Sayf("WARNING: %s; staying with Node %s of the last build", err, restored)
			return restored, nil
		}
		return nil, err
	}
	r, err := w.choose(all, line)
	if err == nil {
		t.question, t.asked = question, time.Now().UTC().Format(time.RFC3339)
	}
	return r.version, err
}

// toolchain puts Node and npm into their layers, or finds them there.
func (b *builder) toolchain(ctx context.Context) (t toolchain, err error) {
	if t.node, err = b.c.Layers.Layer("node"); err != nil {
		return t, err
	}
	if t.npm, err = b.c.Layers.Layer("npm"); err != nil {
		return t, err
	}
	if t.headers, err = b.c.Layers.Layer("headers"); err != nil {
		return t, err
	}
	line, _ := b.c.Buildpack.Metadata["default-node"].(string)
	want, err := wishOf(b.c.ApplicationPath, b.m, b.w.Env, line)
	if err != nil {
		return t, err
	}
	m, kind, err := mirrorOf(b.w.Env, b.arch, b.w.Fetch)
	if err != nil {
		return t, err
	}
	v, err := b.chooseNode(ctx, want, m, &t, line)
	if err != nil {
		return t, err
	}
	t.nodeVersion = v.String()
	key := parcel.KeyOf("node 1", v.String(), b.arch, kind)
	switch {
	case parcel.Fresh(t.node, key) && exists(t.node.Path, "bin/node") && parcel.Fresh(t.headers, key):
		b.w.Sayf("Node %s (%s: %s), reused", v, want.where, want.text)
	default:
		b.w.Sayf("Node %s (%s: %s), downloading", v, want.where, want.text)
		if err := b.installNode(ctx, &t, m, v, key); err != nil {
			return t, err
		}
	}
	if t.asked != "" {
		t.headers.Metadata[factQuestion], t.headers.Metadata[factAsked] = t.question, t.asked
	}
	if err := b.npm(ctx, &t, v, kind); err != nil {
		return t, err
	}
	t.node.LayerTypes = libcnb.LayerTypes{Build: true, Cache: true, Launch: !b.buildOnly}
	t.node.LaunchEnvironment = libcnb.Environment{}
	t.node.LaunchEnvironment.Default("NODE_ENV", "production")
	t.node.LaunchEnvironment.Default("PORT", defaultPort)
	t.node.LaunchEnvironment.Append("PATH", ":", filepath.Join(b.c.ApplicationPath, "node_modules/.bin"))
	t.headers.LayerTypes = libcnb.LayerTypes{Cache: true}
	t.npm.LayerTypes = libcnb.LayerTypes{Build: true, Cache: true}
	err = parcel.WriteSBOM(t.node.SBOMPath(libcnb.CycloneDXJSON), b.c.Buildpack, []parcel.Component{
		{Name: "node", Version: t.nodeVersion, PURL: "pkg:generic/node@" + t.nodeVersion, License: "MIT", App: true},
	})
	if err == nil {
		err = parcel.WriteSBOM(t.npm.SBOMPath(libcnb.CycloneDXJSON), b.c.Buildpack, []parcel.Component{
			{Name: "npm", Version: t.npmVersion, PURL: "pkg:npm/npm@" + t.npmVersion, License: "Artistic-2.0", App: true},
		})
	}
	return t, err
}

// installNode unpacks one release: the binary, its headers (for native modules) and the npm that comes with it.
func (b *builder) installNode(ctx context.Context, t *toolchain, m mirror, v *semver.Version, key string) error {
	tmp, err := os.MkdirTemp("", "node")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	file, err := m.archive(ctx, v, tmp)
	if err != nil {
		return err
	}
	for _, l := range []*libcnb.Layer{&t.node, &t.headers, &t.npm} {
		if *l, err = l.Reset(); err != nil {
			return err
		}
	}
	err = parcel.Untar(ctx, file, b.c.Layers.Path, func(name string, mode fs.FileMode) (string, fs.FileMode) {
		_, name, _ = strings.Cut(name, "/")
		switch {
		case name == "bin/node", name == "LICENSE":
			return "node/" + name, mode
		case strings.HasPrefix(name, openSSLArchs) && !strings.HasPrefix(name, openSSLArchs+b.openSSLArch()):
			return "", mode // nine tenths of all headers
		case strings.HasPrefix(name, "include/"):
			return "headers/" + name, mode
		case strings.HasPrefix(name, npmHome+"/"):
			return "npm/" + name, mode
		}
		return "", mode
	})
	if err != nil {
		return parcel.Ours("check BP_NODE_MIRROR", "the archive of Node %s is damaged: %w", v, err)
	}
	if !exists(t.node.Path, "bin/node") {
		return parcel.Ours("check BP_NODE_MIRROR", "the archive of Node %s has no bin/node", v)
	}
	parcel.Note(&t.node, key, map[string]string{"version": v.String()})
	parcel.Note(&t.headers, key, map[string]string{"version": v.String()})
	return nil
}

// openSSLArchs has OpenSSL's configuration for each platform it knows.
const openSSLArchs = "include/node/openssl/archs/"

func (b *builder) openSSLArch() string {
	return map[string]string{"x64": "linux-x86_64/", "arm64": "linux-aarch64/"}[b.arch]
}

// npmHome is npm's place in Node's archive and in our layer.
const npmHome = "lib/node_modules/npm"

// npm makes sure that the npm layer has an npm that the app wants: the one that came with Node or, where it
// does not fit or none came, the registry's.
func (b *builder) npm(ctx context.Context, t *toolchain, node *semver.Version, kind string) error {
	rng, where, asked := npmWish(b.m, node)
	t.npmVersion = installedNPM(t.npm.Path)
	if v, err := semver.StrictNewVersion(t.npmVersion); err == nil {
		c, cerr := semver.NewConstraint(npmRange(rng))
		if kind == "dist" && !asked || cerr == nil && c.Check(v) {
			return b.linkNPM(t)
		}
	}
	named, ok := strings.CutPrefix(strings.TrimSpace(b.w.Env["BP_NODE_MIRROR"]), "npm:")
	if !ok {
		named = "" // a mirror of nodejs.org has no npm beside Node's own
	}
	base, err := registryURL(named, b.w.Env)
	if err != nil {
		return err
	}
	r := registry{base: base, arch: b.arch, fetch: b.w.Fetch}
	version, err := r.npmVersion(ctx, rng, where, node)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "npm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	b.w.Sayf("npm %s (%s: %s), downloading", version, where, rng)
	file, err := r.tarball(ctx, "npm", version, tmp)
	if err != nil {
		return err
	}
	if t.npm, err = t.npm.Reset(); err != nil {
		return err
	}
	if err := parcel.Untar(ctx, file, filepath.Join(t.npm.Path, npmHome), parcel.Strip); err != nil {
		return parcel.Ours("try again later, or check BP_NODE_MIRROR", "the archive of npm %s is damaged: %w", version, err)
	}
	t.npmVersion = version
	return b.linkNPM(t)
}

// linkNPM makes the commands npm and npx.
func (b *builder) linkNPM(t *toolchain) error {
	bin := filepath.Join(t.npm.Path, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, n := range []string{"npm", "npx"} {
		link := filepath.Join(bin, n)
		if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.Symlink("../"+npmHome+"/bin/"+n+"-cli.js", link); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(t.npm.Path, npmHome, "bin", n+"-cli.js"), 0o755); err != nil {
			return parcel.Ours("check BP_NODE_MIRROR", "npm %s lacks its command: %w", t.npmVersion, err)
		}
	}
	parcel.Note(&t.npm, parcel.KeyOf("npm 1", t.npmVersion), map[string]string{"version": t.npmVersion})
	return nil
}

// installedNPM is the version of the npm in its layer, or "".
func installedNPM(layer string) string {
	text, ok, err := parcel.ReadText(filepath.Join(layer, npmHome), "package.json")
	if err != nil || !ok {
		return ""
	}
	var m manifest
	if json.Unmarshal([]byte(text), &m) != nil {
		return ""
	}
	return m.Version
}

func exists(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular()
}
