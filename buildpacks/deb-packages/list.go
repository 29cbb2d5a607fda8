package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// maxPackages is more than anyone means to write down.
const maxPackages = 500

// packageName is Debian's, with an optional version: "libvips42", "ffmpeg=7:7.1-1".
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?$`)

// wanted reads the app's list: [com.slipway.deb-packages] install = […] in project.toml, else an Aptfile.
// The table of Heroku's buildpack of the same purpose is read, too. from is "" when there is no list.
func wanted(app string) (list []string, from string, err error) {
	text, ok, err := parcel.ReadText(app, "project.toml")
	if err != nil {
		return nil, "", err
	}
	if ok {
		if list, from, err = parseProject(text); err != nil || from != "" {
			return list, from, err
		}
	}
	text, ok, err = parcel.ReadText(app, "Aptfile")
	if err != nil || !ok {
		return nil, "", err
	}
	list, err = parseAptfile(text)
	return list, "Aptfile", err
}

// parseProject reads both tables.
func parseProject(text string) (list []string, from string, err error) {
	type table struct {
		Install []any `toml:"install"`
	}
	var doc struct {
		Com struct {
			Slipway struct {
				Deb *table `toml:"deb-packages"`
			} `toml:"slipway"`
			Heroku struct {
				Buildpacks struct {
					Deb *table `toml:"deb-packages"`
				} `toml:"buildpacks"`
			} `toml:"heroku"`
		} `toml:"com"`
	}
	const do = `write install = ["name", …] into the table [com.slipway.deb-packages] of project.toml`
	if err := toml.Unmarshal([]byte(text), &doc); err != nil {
		if e, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ := e.Position()
			return nil, "", parcel.Yours("correct project.toml", "your project.toml, line %d: %w", line, err)
		}
		return nil, "", parcel.Yours("correct project.toml", "your project.toml: %w", err)
	}
	t, name := doc.Com.Slipway.Deb, "com.slipway.deb-packages"
	if t == nil {
		t, name = doc.Com.Heroku.Buildpacks.Deb, "com.heroku.buildpacks.deb-packages"
	}
	if t == nil {
		return nil, "", nil
	}
	for i, v := range t.Install {
		where := fmt.Sprintf("project.toml, [%s] install, entry %d", name, i+1)
		if m, ok := v.(map[string]any); ok {
			for k := range m {
				if k != "name" {
					return nil, "", parcel.Yours("remove it: the package comes with what it depends on", "your %s: %q is not supported", where, k)
				}
			}
			v = m["name"]
		}
		s, ok := v.(string)
		if !ok {
			return nil, "", parcel.Yours(do, "your %s is no package name", where)
		}
		if list, err = add(list, s, where); err != nil {
			return nil, "", err
		}
	}
	return list, "project.toml", nil
}

// parseAptfile reads one package a line; # begins a comment.
func parseAptfile(text string) (list []string, err error) {
	n := 0
	for l := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		n++
		l, _, _ = strings.Cut(l, "#")
		where := fmt.Sprintf("Aptfile, line %d", n)
		for word := range strings.FieldsSeq(l) {
			switch {
			case strings.HasPrefix(word, ":repo:"):
				return nil, parcel.Yours("take the package from Debian, or make a base image that has it", "your %s names another package repository, which is not supported", where)
			case strings.Contains(word, "://"):
				return nil, parcel.Yours("take the package from Debian, or make a base image that has it", "your %s names a URL, which is not supported", where)
			}
			if list, err = add(list, word, where); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// add checks one name. Names twice count once.
func add(list []string, name, where string) ([]string, error) {
	if !packageName.MatchString(name) {
		return nil, parcel.Yours("write the package's name as Debian spells it, with =version behind it if you must", "your %s: %.80q is not a package name", where, name)
	}
	if len(list) == maxPackages {
		return nil, parcel.Yours("name fewer; what they depend on comes by itself", "your %s: more than %d packages", where, maxPackages)
	}
	if slices.Contains(list, name) {
		return list, nil
	}
	return append(list, name), nil
}
