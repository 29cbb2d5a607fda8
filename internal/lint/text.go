package lint

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A text is a TOML file that is looked at.
type text struct {
	*linter
	name string
	src  []byte
	keys []key // none where the file is not TOML, or too much of it
}

// A key is one key of a file, headers of tables included.
type key struct {
	path string // dotted, without indices: "buildpack.licenses.type"
	line int
}

// decoded tells of a decoder's error. Keys are known then, where the text is TOML within the decoder's limits: its
// errors about those have no key.
func (t *text) decoded(err error) bool {
	if e, ok := errors.AsType[*cnb.FileError](err); ok {
		t.add(t.name, e.Line, "invalid", Error, strings.TrimPrefix(e.Key+": ", ": ")+e.What, "write it as the message says")
		if e.Key != "" {
			t.keys = keysOf(t.src)
		}
		return false
	}
	t.keys = keysOf(t.src)
	return err == nil
}

// keysOf lists the keys of a text that a decoder has read.
func keysOf(src []byte) (out []key) {
	var p unstable.Parser
	p.Reset(src)
	var table string
	var value func(prefix string, n *unstable.Node)
	pair := func(prefix string, n *unstable.Node) {
		path := prefix
		for it := n.Key(); it.Next(); {
			path = join(path, string(it.Node().Data))
			out = append(out, key{path, p.Shape(it.Node().Raw).Start.Line})
		}
		value(path, n.Value())
	}
	value = func(prefix string, n *unstable.Node) {
		switch n.Kind {
		case unstable.InlineTable:
			for it := n.Children(); it.Next(); {
				pair(prefix, it.Node())
			}
		case unstable.Array:
			for it := n.Children(); it.Next(); {
				value(prefix, it.Node())
			}
		}
	}
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = ""
			for it := e.Key(); it.Next(); {
				table = join(table, string(it.Node().Data))
				out = append(out, key{table, p.Shape(it.Node().Raw).Start.Line})
			}
		case unstable.KeyValue:
			pair(table, e)
		}
	}
	return out
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// line is that of the n-th key of that path, from 0, or the last one's before it; 0 where there is none.
func (t *text) line(path string, n int) (line int) {
	for _, k := range t.keys {
		if k.path != path {
			continue
		}
		line = k.line
		if n--; n < 0 {
			break
		}
	}
	return line
}

// lineEndings looks for what editors of other systems leave.
func (t *text) lineEndings() {
	if bytes.HasPrefix(t.src, []byte("\xef\xbb\xbf")) {
		t.add(t.name, 1, "byte-order-mark", Warning, "it begins with a byte order mark", "save it as UTF-8 without one")
	}
	if i := bytes.Index(t.src, []byte("\r\n")); i >= 0 {
		t.add(t.name, 1+bytes.Count(t.src[:i], []byte("\n")), "line-ending", Warning, "lines end with CR LF", crlfFix)
	}
}

const crlfFix = `end lines with LF alone, and keep git from changing them: "* text eol=lf" in .gitattributes`

// known are the keys of each kind of file. What is below a key that ends in ".*" is its author's.
func known(kind string) []string {
	module := []string{"id", "version", "name", "homepage", "description", "keywords", "licenses", "licenses.type", "licenses.uri", "clear-env", "exec-env", "exec-env.name", "sbom-formats"}
	targets := []string{"targets", "targets.os", "targets.arch", "targets.variant", "targets.arch-variant", "targets.distros", "targets.distros.name", "targets.distros.version"}
	order := []string{"order", "order.group", "order.group.id", "order.group.version", "order.group.optional", "order.group.exec-env", "order.group.homepage", "order.group.api"}
	below := func(table string, keys ...string) (out []string) {
		out = append(out, table)
		for _, k := range keys {
			out = append(out, join(table, k))
		}
		return out
	}
	var out []string
	switch kind {
	case fileBuildpack:
		out = append(below("buildpack", module...), "api", "stacks", "stacks.id", "stacks.mixins", "metadata.*")
		out = append(append(out, targets...), order...)
	case fileExtension:
		out = append(append(below("extension", module...), "api", "metadata.*"), targets...)
	case filePackage:
		out = append(below("buildpack", "uri"), "platform", "platform.os", "dependencies", "dependencies.uri", "dependencies.image", "dependencies.id", "dependencies.version")
		out = append(out, targets...)
	case fileBuilder:
		out = append([]string{"description"}, below("buildpacks", "uri", "image", "id", "version")...)
		out = append(out, below("run", "images", "images.image", "images.mirrors")...)
		out = append(out, below("build", "image", "env", "env.name", "env.value", "env.suffix", "env.delim")...)
		out = append(out, below("stack", "id", "build-image", "run-image", "run-image-mirrors")...)
		out = append(out, below("lifecycle", "uri", "version")...)
		out = append(out, below("system", "pre", "pre.buildpacks", "pre.buildpacks.id", "pre.buildpacks.version", "pre.buildpacks.optional",
			"post", "post.buildpacks", "post.buildpacks.id", "post.buildpacks.version", "post.buildpacks.optional")...)
		out = append(append(out, targets...), order...)
	}
	return out
}

// unknownKeys tells of keys that nobody reads. What is below one is not told of again.
func (t *text) unknownKeys(kind string) {
	all := known(kind)
	told := map[string]bool{}
next:
	for _, k := range t.keys {
		parts := strings.Split(k.path, ".")
		for i := range parts {
			if told[strings.Join(parts[:i+1], ".")] {
				continue next
			}
		}
		if isKnown(all, k.path) {
			continue
		}
		told[k.path] = true
		fix := "take it out, or put what is your own under [metadata]"
		if near := nearest(all, k.path); near != "" {
			fix = fmt.Sprintf("write %s, if that is meant, or take it out", near)
		}
		t.add(t.name, k.line, "unknown-key", Warning, "nothing reads the key "+quote(k.path), fix)
	}
}

func isKnown(all []string, path string) bool {
	for _, k := range all {
		if open, ok := strings.CutSuffix(k, ".*"); ok && (path == open || strings.HasPrefix(path, open+".")) || k == path {
			return true
		}
	}
	return false
}

// nearest is the known key of the same table that is at most two letters away, "" for none.
func nearest(all []string, path string) (best string) {
	at := strings.LastIndexByte(path, '.')
	least := 3
	for _, k := range all {
		if i := strings.LastIndexByte(k, '.'); i >= 0 && (at < 0 || k[:i] != path[:at]) || i < 0 && at >= 0 || len(path) > 100 {
			continue
		}
		if d := distance(k, path); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to put in, take out or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return fmt.Sprintf("%q", s)
}
