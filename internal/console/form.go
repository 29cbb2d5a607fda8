package console

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	"github.com/slipway-build/slipway/internal/fetch"
)

// A field is a config var on the form of a template.
type field struct {
	Name        build.EnvName
	Description string
	Value       string // as it is shown
	Default     string
	HasDefault  bool
	Required    bool
	Linked      bool   // the value is the link's
	Wrong       string // why it was not taken
	of          string // the value that Value stands for
	set         bool   // "" is a value too
}

// Input is the name of the field's input.
func (f field) Input() string { return "env[" + string(f.Name) + "]" }

// An addon is one that a template wants, with the config vars that it would set.
type addon struct {
	appjson.Addon
	Fields []field
	Others []build.EnvName // that stand on the form already
	Wrong  string
}

// A pack is a buildpack that an app.json names, with what builds in its place.
type pack struct {
	appjson.Buildpack
	Builds []string
}

// A form is what somebody is asked before a template is deployed: what it wants, and what is filled in.
type form struct {
	Vars   []field
	Addons []addon
	Others []field // that the link gives, and the app.json does not know
	Made   []appjson.Var
	Packs  []pack
	appjson.Settings
}

// formOf is the form of a template, with the values of its link filled in.
func formOf(p button.Pinned, has func(id string) bool) (f form) {
	f.Settings = p.App.For(appjson.Production)
	linked := map[build.EnvName]string{}
	for _, s := range p.Env {
		linked[s.Name] = s.Value
	}
	known := map[build.EnvName]bool{}
	add := func(list *[]field, one field) {
		if known[one.Name] {
			return
		}
		known[one.Name] = true
		if value, ok := linked[one.Name]; ok {
			one.Linked, one.of, one.set = true, value, true
		}
		one.Value = shown(one.of)
		*list = append(*list, one)
	}
	for _, v := range f.Env {
		if _, ok := linked[v.Name]; v.Secret && !ok {
			known[v.Name] = true
			f.Made = append(f.Made, v)
			continue
		}
		add(&f.Vars, field{Name: v.Name, Description: v.Description, Default: v.Value, HasDefault: v.HasValue, Required: v.Required && !v.Secret, of: v.Value, set: v.HasValue})
	}
	for _, a := range f.Settings.Addons {
		one := addon{Addon: a}
		for _, text := range a.Vars() {
			name, err := build.ParseEnvName(text)
			switch {
			case err != nil:
			case known[name]:
				one.Others = append(one.Others, name)
			default:
				add(&one.Fields, field{Name: name})
			}
		}
		f.Addons = append(f.Addons, one)
	}
	for _, s := range p.Env {
		add(&f.Others, field{Name: s.Name})
	}
	for _, b := range f.Buildpacks {
		f.Packs = append(f.Packs, pack{b, b.Choose(has)})
	}
	return f
}

// each calls a function with every field.
func (f *form) each(do func(*field)) {
	for i := range f.Vars {
		do(&f.Vars[i])
	}
	for i := range f.Addons {
		for j := range f.Addons[i].Fields {
			do(&f.Addons[i].Fields[j])
		}
	}
	for i := range f.Others {
		do(&f.Others[i])
	}
}

// Linked are the names of the config vars whose values are the link's.
func (f form) Linked() (names []build.EnvName) {
	f.each(func(one *field) {
		if one.Linked {
			names = append(names, one.Name)
		}
	})
	return names
}

// fill takes what somebody has filled in. ok tells that nothing is missing and nothing is wrong.
func (f *form) fill(posted url.Values) (given map[string]string, ok bool) {
	given, ok = map[string]string{}, true
	f.each(func(one *field) {
		text, is := posted[one.Input()]
		if is {
			value := strings.ReplaceAll(text[0], "\r\n", "\n")
			if value != one.Value { // what the browser gives back may stand for what cannot be shown
				one.of, one.Value, one.Linked = value, value, false
			}
			one.set = value != "" || one.HasDefault && one.Default != ""
		}
		switch {
		case one.Required && one.of == "":
			one.Wrong, ok = "The app needs a value here.", false
		case strings.ContainsRune(one.of, 0) || !utf8.ValidString(one.of):
			one.Wrong, ok = "This is not text that a config var can have.", false
		case len(one.of) > build.MaxVarBytes:
			one.Wrong, ok = fmt.Sprintf("This has %d bytes, %d is the most.", len(one.of), build.MaxVarBytes), false
		case one.set:
			given[string(one.Name)] = one.of
		}
	})
	return given, ok
}

// shown is a text as a page has it, and as the browser gives it back.
func shown(s string) string { return string(visible([]byte(s))) }

// suggested is a name for an app of a template: that of its directory or repository.
func suggested(p button.Pinned) build.AppName {
	text := "/" + string(p.Dir)
	if p.Dir == "" {
		text = p.Repository.String()
	}
	text = strings.ToLower(strings.TrimSuffix(text[strings.LastIndexByte(text, '/')+1:], ".git"))
	text = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, text)
	text = strings.Trim(text, "-")
	if text == "" || text[0] < 'a' {
		text = strings.Trim("app-"+text, "-")
	}
	for len(text) < 3 {
		text += "-app"
	}
	name, err := build.ParseAppName(strings.TrimRight(text[:min(len(text), 23)], "-"))
	if err != nil {
		return "my-app"
	}
	return name
}

// another is a name like one that is taken.
func another(name build.AppName) build.AppName {
	return name[:min(len(name), 23)] + "-" + build.AppName(strings.ToLower(rand.Text()[:5]))
}

// A forge's pages, for people: of the repository, of the commit, and of a file in it; "" where we do not know.
func commitPage(g fetch.GitURL, c fetch.Commit) string {
	part := "/commit/"
	if g.Host() == "bitbucket.org" {
		part = "/commits/"
	}
	return repositoryPage(g) + part + string(c)
}

func repositoryPage(g fetch.GitURL) string { return strings.TrimSuffix(g.String(), ".git") }

func filePage(p button.Pinned, file string, line int) string {
	part, mark := "", "#L"
	switch p.Repository.Host() {
	case "github.com":
		part = "/blob/"
	case "gitlab.com":
		part = "/-/blob/"
	case "codeberg.org":
		part = "/src/commit/"
	case "bitbucket.org":
		part, mark = "/src/", "#lines-"
	default:
		return ""
	}
	to := repositoryPage(p.Repository) + part + string(p.Commit) + "/" + (&url.URL{Path: path.Join(string(p.Dir), file)}).EscapedPath()
	if line > 0 {
		to += mark + strconv.Itoa(line)
	}
	return to
}

// A finding is something about an app.json, with the page of its line.
type finding struct {
	appjson.Finding
	Page string
}

// findings are those of a severity that concern a deploy.
func findings(p button.Pinned, severity appjson.Severity) (all []finding) {
	list := p.Found
	if severity == appjson.Error {
		list = appjson.Blocking(p.Found, appjson.Production)
	}
	for _, f := range list {
		if f.Severity == severity {
			all = append(all, finding{f, filePage(p, "app.json", f.Line)})
		}
	}
	return all
}

// refOf is how people call what a template is at.
func refOf(p button.Pinned) string {
	if p.Ref == "" && p.Path == "" {
		return "the default branch"
	}
	return cmp.Or(strings.TrimPrefix(strings.TrimPrefix(string(p.Ref), "refs/heads/"), "refs/tags/"), "a commit that the link names")
}

// hasOf tells which buildpacks are in a list.
func hasOf(all []Buildpack) func(id string) bool {
	return func(id string) bool { return slices.ContainsFunc(all, func(b Buildpack) bool { return b.ID == id }) }
}
