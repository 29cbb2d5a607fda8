package main

import (
	"fmt"
	"strings"

	"golang.org/x/tools/txtar"
)

// files are a buildpack's or extension's descriptor and scripts, below <dir>/<id>/<version>.
func (m Module) files(kind, dir, id string) []txtar.File {
	version, api := m.version(), m.api()
	base := dir + "/" + strings.ReplaceAll(id, "/", "_") + "/" + version + "/"
	var text strings.Builder
	fmt.Fprintf(&text, "api = %q\n\n[%s]\nid = %q\nname = %q\nversion = %q\n%s\n\n%s\n", api, kind, id, id, version, m.Keys, m.Extra)
	for _, group := range m.Order {
		text.WriteString("[[order]]\n")
		for entry := range strings.FieldsSeq(group) {
			id, version, optional := parseEntry(entry)
			fmt.Fprintf(&text, "[[order.group]]\nid = %q\nversion = %q\noptional = %v\n", id, version, optional)
		}
	}
	files := []txtar.File{{Name: base + kind + ".toml", Data: []byte(text.String())}}
	if len(m.Order) > 0 {
		return files
	}
	script := func(name, body string) {
		files = append(files, txtar.File{Name: base + "bin/" + name, Data: []byte("#!/bin/sh\nset -eu\n" + body + "\n")})
	}
	script("detect", m.Detect)
	if kind == "extension" {
		script("generate", m.Generate)
	} else {
		script("build", m.Build)
	}
	return files
}

func (m Module) version() string {
	if m.Version == "" {
		return "1.0.0"
	}
	return m.Version
}

func (m Module) api() string {
	if m.API == "" {
		return "0.12"
	}
	return m.API
}

// parseEntry reads an entry of a group: "id", "id?" where it is optional, "id@2.0.0?".
func parseEntry(entry string) (id, version string, optional bool) {
	entry, optional = strings.CutSuffix(entry, "?")
	id, version, found := strings.Cut(entry, "@")
	if !found {
		version = "1.0.0"
	}
	return id, version, optional
}

// groups are an order's groups, each under [[<key>]].
func (c *Case) groups(key string, groups []string) string {
	var text strings.Builder
	for _, group := range groups {
		fmt.Fprintf(&text, "[[%s]]\n", key)
		for entry := range strings.FieldsSeq(group) {
			id, version, optional := parseEntry(entry)
			fmt.Fprintf(&text, "[[%s.group]]\nid = %q\nversion = %q\n", key, id, version)
			if optional {
				text.WriteString("optional = true\n")
			}
		}
	}
	return text.String()
}

// entries are a list of buildpacks, each under header; with its api, where the case knows the buildpack and the list
// is a detected group.
func (c *Case) entries(header, list string) string {
	var text strings.Builder
	for entry := range strings.FieldsSeq(list) {
		id, version, optional := parseEntry(entry)
		fmt.Fprintf(&text, "%s\nid = %q\nversion = %q\n", header, id, version)
		if optional {
			text.WriteString("optional = true\n")
		}
		if header == "[[group]]" {
			fmt.Fprintf(&text, "api = %q\n", c.Buildpacks[id].api())
		}
	}
	return text.String()
}

// groupFiles are a detected group and its plan.
func (c *Case) groupFiles() []txtar.File {
	return []txtar.File{
		{Name: "layers/group.toml", Data: []byte(c.entries("[[group]]", c.Group))},
		{Name: "layers/plan.toml", Data: nil},
	}
}
