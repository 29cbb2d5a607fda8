package main

import (
	"maps"
	"slices"
	"strings"
)

// paragraph is one package of a dpkg status file.
type paragraph struct {
	text      string
	name      string
	essential bool
	depends   [][]string // each: alternatives
	provides  []string
}

// baseStatus is the part of the build image's package database that every image of the distribution has: the
// essential packages and what they depend on. apt resolves against it, not against all that the build image
// has, for the run image lacks the compilers and libraries of the build image.
func baseStatus(status string) string {
	byName, providers := map[string]*paragraph{}, map[string]string{}
	for text := range strings.SplitSeq(status, "\n\n") {
		p := parseParagraph(text)
		if p == nil {
			continue
		}
		byName[p.name] = p
		for _, v := range p.provides {
			providers[v] = p.name
		}
	}
	keep := map[string]bool{}
	var visit func(name string) bool
	visit = func(name string) bool {
		if byName[name] == nil {
			name = providers[name]
		}
		p := byName[name]
		if p == nil {
			return false
		}
		if keep[name] {
			return true
		}
		keep[name] = true
		for _, alternatives := range p.depends {
			_ = slices.ContainsFunc(alternatives, visit) // up to the first that is there
		}
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if byName[name].essential {
			visit(name)
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(keep)) {
		b.WriteString(byName[name].text + "\n\n")
	}
	return b.String()
}

// parseParagraph is nil for anything but an installed package.
func parseParagraph(text string) *paragraph {
	p := &paragraph{text: strings.Trim(text, "\n")}
	installed := false
	for l := range strings.Lines(p.text) {
		key, value, ok := strings.Cut(strings.TrimRight(l, "\n"), ":")
		if !ok || strings.HasPrefix(l, " ") {
			continue
		}
		value = strings.TrimSpace(value)
		switch key {
		case "Package":
			p.name = value
		case "Status":
			installed = strings.HasSuffix(value, " installed")
		case "Essential":
			p.essential = value == "yes"
		case "Depends", "Pre-Depends":
			for d := range strings.SplitSeq(value, ",") {
				var alternatives []string
				for a := range strings.SplitSeq(d, "|") {
					alternatives = append(alternatives, bareName(a))
				}
				p.depends = append(p.depends, alternatives)
			}
		case "Provides":
			for v := range strings.SplitSeq(value, ",") {
				p.provides = append(p.provides, bareName(v))
			}
		}
	}
	if !installed || p.name == "" {
		return nil
	}
	return p
}

// bareName drops a version condition and an architecture.
func bareName(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), " ")
	s, _, _ = strings.Cut(s, "(")
	s, _, _ = strings.Cut(s, ":")
	return s
}
