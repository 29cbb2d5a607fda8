package appjson

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"github.com/slipway-build/slipway/internal/build"
)

// TestClassics holds the table to what there is: own buildpacks are in buildpacks/, the others are in the list of those
// that were seen in the public registry with a version that is not yanked.
func TestClassics(t *testing.T) {
	b, err := os.ReadFile("testdata/registry.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(line, " ")
		seen[name] = true
	}
	own := map[string]bool{}
	files, _ := filepath.Glob("../../buildpacks/*/buildpack.toml")
	for _, file := range files {
		var d struct {
			Buildpack struct{ ID string }
		}
		b, err := os.ReadFile(file)
		if err == nil {
			err = toml.Unmarshal(b, &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		own[d.Buildpack.ID] = true
	}
	var table struct {
		Classic []classic `toml:"classic"`
	}
	d := toml.NewDecoder(strings.NewReader(string(classicTOML))).DisallowUnknownFields()
	if err := d.Decode(&table); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, c := range table.Classic {
		for _, key := range append(c.Names, c.Repositories...) {
			if got, _ := classicName(key); keys[key] || got != key {
				t.Errorf("%s is there twice, or is not written as it is looked for: %s", key, got)
			}
			keys[key] = true
		}
		for _, name := range c.CNB {
			if !seen[name] {
				t.Errorf("%v: %s was not seen in the registry", c.Names, name)
			}
		}
		for _, id := range c.Own {
			if !own[id] {
				t.Errorf("%v: there is no buildpack %s", c.Names, id)
			}
		}
		switch {
		case len(c.CNB) == 0 && c.Note == "", len(c.Own) > 0 && len(c.CNB) == 0, c.Skip && len(c.CNB) > 0:
			t.Errorf("%v%v: it has no successor and no note, or contradicts itself", c.Names, c.Repositories)
		case strings.HasSuffix(c.Note, "."), len(c.Names)+len(c.Repositories) == 0:
			t.Errorf("%v%v: %q", c.Names, c.Repositories, c.Note)
		}
	}
	if len(table.Classic) < 40 || len(classics()) != len(keys) {
		t.Errorf("%d entries with %d keys", len(table.Classic), len(keys))
	}
}

func TestAddonVars(t *testing.T) {
	for service, vars := range addonVars() {
		if !addonName().MatchString(service) || strings.Contains(service, ":") {
			t.Errorf("%q is no add-on", service)
		}
		for _, v := range vars {
			if _, err := build.ParseEnvName(v); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	s := Successor{Own: []string{"slipway/nodejs", "slipway/static"}, CNB: []string{"heroku/website-cra"}}
	for has, want := range map[string]string{"slipway/nodejs slipway/static slipway/go": "slipway/nodejs slipway/static", "slipway/nodejs": "heroku/website-cra", "": "heroku/website-cra"} {
		got := s.Choose(func(id string) bool { return slices.Contains(strings.Fields(has), id) })
		if strings.Join(got, " ") != want {
			t.Errorf("a builder with %q: %v", has, got)
		}
	}
	if got := (Successor{}).Choose(func(string) bool { return true }); len(got) != 0 {
		t.Error(got)
	}
}

func TestOrder(t *testing.T) {
	parse := func(urls string) Settings {
		a, _ := Parse([]byte(`{"buildpacks": [` + urls + `]}`))
		return a.For(Production)
	}
	const own, mixed = `{"url": "heroku/nodejs"}, {"url": "mars/create-react-app"}, {"url": "heroku/metrics"}`, `{"url": "heroku/nodejs"}, {"url": "heroku/ruby"}, {"url": "heroku/procfile"}`
	for _, c := range []struct {
		urls, has string
		procfile  bool
		want      string
	}{
		{own, "slipway/", true, "slipway/nodejs slipway/static slipway/procfile"}, {own, "x", true, "heroku/nodejs heroku/website-cra heroku/procfile"},
		{mixed, "slipway/", true, "slipway/nodejs heroku/ruby slipway/procfile"}, {mixed, "x", false, "heroku/nodejs heroku/ruby heroku/procfile"},
		{`{"url": "heroku/metrics"}`, "slipway/", true, ""}, {"", "slipway/", true, ""},
	} {
		got := parse(c.urls).Order(func(id string) bool { return strings.HasPrefix(id, c.has) }, c.procfile)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s with %s: %v", c.urls, c.has, got)
		}
	}
}

func TestFor(t *testing.T) {
	a, found := Parse([]byte(`{"env": {"A": "1", "B": "2"}, "formation": {"web": 2}, "addons": ["heroku-redis"], "scripts": {"postdeploy": "seed"}, "buildpacks": [{"url": "heroku/go"}],
		"environments": {"review": {"env": {"A": "3"}, "addons": [], "scripts": {"pr-predestroy": "x"}}, "test": {"env": {"1": "x"}, "formation": {"web": 1}, "buildpacks": []}}}`))
	for e, want := range map[Environment]string{
		Production: `2 1 1 2 seed ""`, Review: `1 0 1 2 "" x`, Test: `0 1 0 1 seed ""`,
	} {
		s := a.For(e)
		var b strings.Builder
		for _, n := range []int{len(s.Env), len(s.Addons), len(s.Buildpacks), s.Formation[0].Quantity} {
			b.WriteString(string(rune('0'+n)) + " ")
		}
		for i, script := range []string{s.Scripts.Postdeploy, s.Scripts.PRPredestroy} {
			if script == "" {
				script = `""`
			}
			b.WriteString(script + []string{" ", ""}[i])
		}
		if b.String() != want {
			t.Errorf("%s has %s, want %s", e, &b, want)
		}
	}
	for e, want := range map[Environment]int{Production: 0, Review: 0, Test: 1} {
		if got := Blocking(found, e); len(got) != want {
			t.Errorf("%s: %v", e, got)
		}
	}
	a, _ = Parse([]byte(`{"name": "x"}`))
	if s := a.For(Production); s.Scripts == nil || s.Env != nil {
		t.Errorf("%+v", s)
	}
}

func TestValues(t *testing.T) {
	a, _ := Parse([]byte(`{"env": {"DEFAULT": "d", "EMPTY": "", "KEY": {"generator": "secret"}, "NEEDED": {}, "OPTIONAL": {"required": false}, "OPTIONAL_DEFAULT": {"required": false, "value": "o"}}}`))
	const made = "made"
	for _, c := range []struct {
		given, want map[build.EnvName]string
		missing     string
	}{
		{nil, map[build.EnvName]string{"DEFAULT": "d", "EMPTY": "", "KEY": made, "OPTIONAL_DEFAULT": "o"}, "[NEEDED]"},
		{map[build.EnvName]string{"NEEDED": "n", "KEY": "k", "MORE": "m"}, map[build.EnvName]string{"DEFAULT": "d", "EMPTY": "", "KEY": "k", "OPTIONAL_DEFAULT": "o", "NEEDED": "n", "MORE": "m"}, "[]"},
		{map[build.EnvName]string{"NEEDED": "", "KEY": "", "DEFAULT": "", "OPTIONAL": "", "OPTIONAL_DEFAULT": ""}, map[build.EnvName]string{"EMPTY": "", "KEY": made, "OPTIONAL": "", "OPTIONAL_DEFAULT": ""}, "[DEFAULT NEEDED]"},
	} {
		given := maps.Clone(c.given)
		got, missing := a.For(Production).Values(given)
		if len(got["KEY"]) == 64 {
			got["KEY"] = made
		}
		if !maps.Equal(got, c.want) || fmt.Sprint(missing) != c.missing || !maps.Equal(given, c.given) {
			t.Errorf("%v: %v, %v", c.given, got, missing)
		}
	}
}

func TestSuccess(t *testing.T) {
	for _, c := range [][3]string{
		{"/welcome?x=1", "https://app.example.com/", "https://app.example.com/welcome?x=1"}, {"/", "http://127.0.0.1:5000", "http://127.0.0.1:5000/"},
		{"https://docs.example.com/", "https://app.example.com", "https://docs.example.com/"}, {"https://docs.example.com/", "", "https://docs.example.com/"},
		{"/welcome", "", ""}, {"/welcome", "app", ""}, {"", "https://app.example.com", ""},
	} {
		a := &App{SuccessURL: c[0]}
		if got := a.Success(c[1]); got != c[2] {
			t.Errorf("%q of an app at %q: %q", c[0], c[1], got)
		}
	}
}

func TestSecret(t *testing.T) {
	a, b := Secret(), Secret()
	if len(a) != 64 || strings.Trim(a, "0123456789abcdef") != "" || a == b {
		t.Errorf("%s, %s", a, b)
	}
}

// FuzzParse: whatever comes, we say in clear lines what is wrong, we agree with encoding/json about what is JSON, and
// what leaves the package is what its types promise.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"wild", "hostile"} {
		files, _ := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			_, text, _ := strings.Cut(string(b), "-- app.json --\n")
			text, _, _ = strings.Cut(text, "-- findings --\n")
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, found := Parse(b)
		lines := strings.Count(string(b), "\n") + 1
		foreign := false
		for _, x := range found {
			line := x.String()
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(line) || x.Line < 1 || x.Line > lines || x.Column < 1 || len(line) > 8000 {
				t.Errorf("%q", line)
			}
			foreign = foreign || strings.Contains(x.Text, "and no template")
		}
		isJSON := json.Valid(b) && len(b) <= MaxBytes && utf8.Valid(b) && strings.HasPrefix(strings.TrimLeft(string(b), " \t\r\n"), "{")
		if a != nil && !json.Valid([]byte(strings.TrimPrefix(string(b), "\ufeff"))) {
			t.Errorf("%q is read, and is no JSON: %v", b, found)
		}
		if a == nil && isJSON && !foreign && !strings.Contains(found[0].Text, "the limit") {
			t.Errorf("%q is JSON: %v", b, found)
		}
		if a == nil {
			if len(Blocking(found, Production)) == 0 {
				t.Error("there is no app, and no error")
			}
			return
		}
		for _, u := range []string{a.Website, a.Repository, a.Logo} {
			if u != "" && !strings.HasPrefix(strings.ToLower(u), "http") {
				t.Errorf("%q", u)
			}
		}
		if s := a.Success("https://app.example.com"); s != "" && !strings.HasPrefix(strings.ToLower(s), "http") {
			t.Errorf("%q", s)
		}
		for _, s := range append(slices.Collect(maps.Values(a.environments)), a.Settings) {
			for _, v := range s.Env {
				if _, err := build.ParseEnvName(string(v.Name)); err != nil || strings.ContainsRune(v.Value, 0) {
					t.Errorf("%+v", v)
				}
			}
		}
	})
}
