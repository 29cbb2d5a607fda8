package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// layOut makes all directories of a build anew, except the cache.
func (p *place) layOut(c testCase, round int) error {
	for _, d := range []string{"app", "layers", "platform", "buildpacks", "build-config", "launcher-sbom"} {
		if err := os.RemoveAll(p.path(d)); err != nil {
			return err
		}
		if err := os.MkdirAll(p.path(d), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(p.path("cache"), 0o755); err != nil {
		return err
	}
	files := map[string]string{
		"app/file":                    "of the app\n",
		"platform/env/ROUND":          fmt.Sprint(round),
		"build-config/env/OP":         "operator",
		"run.toml":                    "[[images]]\nimage = \"example.com/run\"\nmirrors = [\"example.org/run\"]\n",
		"stack.toml":                  "[run-image]\nimage = \"example.com/run\"\nmirrors = [\"example.org/run\"]\n",
		"project-metadata.toml":       "[source]\ntype = \"git\"\n[source.version]\ncommit = \"abc\"\n[source.metadata]\nrefs = [\"main\"]\n",
		"launcher-sbom/README":        "none",
		"launcher-sbom/sbom.cdx.json": "{}",
	}
	var order strings.Builder
	order.WriteString("[[order]]\n")
	for _, b := range c.buildpacks {
		dir := "buildpacks/" + strings.ReplaceAll(b.id, "/", "_") + "/1.2.3"
		files[dir+"/buildpack.toml"] = fmt.Sprintf("api = %q\n[buildpack]\nid = %q\nversion = \"1.2.3\"\n%s\n[[targets]]\nos = \"linux\"\n[[stacks]]\nid = \"*\"\n",
			b.API(), b.id, b.keys)
		detect := b.detect
		if detect == "" {
			detect = "true"
		}
		files[dir+"/bin/detect!"] = "#!/bin/bash\nset -eu\n" + detect + "\n"
		files[dir+"/bin/build!"] = "#!/bin/bash\nset -euo pipefail\numask 022\nL=$1\n" + b.build + "\n"
		fmt.Fprintf(&order, "[[order.group]]\nid = %q\nversion = \"1.2.3\"\noptional = %v\n", b.id, b.optional)
	}
	if c.demo != "" {
		if err := p.layOutDemo(c, files, &order); err != nil {
			return err
		}
	}
	files["order.toml"] = order.String()
	maps.Copy(files, c.files)
	for f, text := range files {
		mode := os.FileMode(0o644)
		name, executable := strings.CutSuffix(f, "!")
		if executable {
			mode = 0o755
		}
		at := p.path(name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(text), mode); err != nil {
			return err
		}
	}
	if c.prepare != nil {
		if err := c.prepare(p.path("app")); err != nil {
			return err
		}
	}
	return filepath.WalkDir(p.path("app"), func(at string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if err := os.Lchown(at, uid, gid); err != nil || fi.Mode()&os.ModeSymlink != 0 {
			return err
		}
		return os.Chmod(at, fi.Mode()) // a change of owner takes setuid away
	})
}

// passedOn are the variables by which tools find certificates and mirrors here: a build's environment has no other way.
var passedOn = []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "GOPROXY", "GOSUMDB", "BP_NODE_MIRROR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}

// layOutDemo copies an app of ours and its buildpacks, the most particular one first.
func (p *place) layOutDemo(c testCase, files map[string]string, order *strings.Builder) error {
	if err := os.CopyFS(p.path("app"), os.DirFS(filepath.Join("fixtures", "apps", c.demo))); err != nil {
		return err
	}
	for i, name := range append([]string{demoPack[c.demo]}, c.with...) {
		from := filepath.Join("bin", "buildpacks", name)
		text, err := os.ReadFile(filepath.Join(from, "buildpack.toml"))
		if err != nil {
			return fmt.Errorf("%w (make buildpacks makes it)", err)
		}
		var d struct {
			Buildpack struct{ ID, Version string }
		}
		if err := toml.Unmarshal(text, &d); err != nil {
			return err
		}
		to := p.path("buildpacks", strings.ReplaceAll(d.Buildpack.ID, "/", "_"), d.Buildpack.Version)
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			return err
		}
		fmt.Fprintf(order, "[[order.group]]\nid = %q\nversion = %q\noptional = %v\n", d.Buildpack.ID, d.Buildpack.Version, i > 0)
	}
	for _, name := range passedOn {
		if v := os.Getenv(name); v != "" {
			files["platform/env/"+name] = v
		}
	}
	return nil
}
