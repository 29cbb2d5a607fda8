package lint

import (
	"errors"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// recipe looks at a package.toml.
func (t *text) recipe(c cnb.PackageConfig) {
	t.targets(c.Targets)
	t.local("buildpack.uri", 0, c.URI)
	for i, m := range c.Dependencies {
		t.local("dependencies.uri", i, m.URI)
	}
}

// builder looks at a builder.toml.
func (t *text) builder(c cnb.BuilderConfig) {
	t.targets(c.Targets)
	t.order(c.Order, false)
	named := map[cnb.ID]bool{}
	all := true // say which buildpack they are
	for i, m := range c.Buildpacks {
		t.local("buildpacks.uri", i, m.URI)
		named[m.ID] = true
		all = all && m.ID != ""
	}
	n := 0
	for _, g := range c.Order {
		for _, e := range g.Elements {
			if all && !named[e.ID] {
				t.add(t.name, t.line("order.group.id", n), "order", Warning, quote(string(e.ID))+" is none of [[buildpacks]]",
					"write [[buildpacks]] with its uri, unless one of them is composed of it")
			}
			n++
		}
	}
}

// local wants a path below the directory to be there. What is elsewhere is not looked at.
func (t *text) local(key string, n int, uri string) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "" || path.IsAbs(uri) || uri == "." {
		return
	}
	at := path.Join(path.Dir(t.name), uri)
	if at == ".." || strings.HasPrefix(at, "../") || !strings.HasPrefix(uri, "./") && !strings.HasSuffix(uri, ".cnb") && !strings.HasSuffix(uri, ".tgz") {
		return // also an id of an index, or an image
	}
	if _, err := t.root.Stat(at); errors.Is(err, fs.ErrNotExist) {
		t.add(t.name, t.line(key, n), "missing", Error, "there is no "+quote(uri), "name a directory, a .cnb file or an image that is there")
	}
}
