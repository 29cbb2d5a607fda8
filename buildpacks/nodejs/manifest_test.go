package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		pass  bool
		said  string
	}{
		{"nothing", nil, false, "no package.json"},
		{"plain", map[string]string{"package.json": `{"name":"a"}`}, true, "found package.json of a"},
		{"lock", map[string]string{"package.json": `{}`, "package-lock.json": "{}"}, true, "and package-lock.json"},
		{"no lock", map[string]string{"package.json": `{"dependencies":{"a":"1"}}`}, true, "but no package-lock.json"},
		{"yarn", map[string]string{"package.json": `{}`, "yarn.lock": ""}, false, "yarn (yarn.lock) is not supported; run `npm install --package-lock-only`"},
		{"pnpm", map[string]string{"package.json": `{"packageManager":"pnpm@9.0.0"}`}, false, "pnpm"},
		{"yarn and npm", map[string]string{"package.json": `{}`, "yarn.lock": "", "package-lock.json": "{}"}, true, "package-lock.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pass, said, err := parceltest.Detect(t, detect, nil, c.files)
			if err != nil || pass != c.pass || !strings.Contains(said, c.said) || strings.Count(said, "\n") != 1 {
				t.Errorf("%t, %q, %v", pass, said, err)
			}
		})
	}
	_, _, err := parceltest.Detect(t, detect, nil, map[string]string{"package.json": "{\n  \"name\": \"a\",\n}"})
	if err == nil || !strings.Contains(err.Error(), "your package.json is not JSON, line 3") {
		t.Errorf("%v", err)
	}
}

func TestWish(t *testing.T) {
	all := []release{}
	for _, s := range []string{"18.20.0", "20.1.0", "20.9.0", "22.4.0", "23.0.0", "24.1.0", "24.5.0", "26.2.0"} {
		all = append(all, release{version: semver.MustParse(s)})
	}
	for text, want := range map[string]string{
		"20": "20.9.0", "v20": "20.9.0", "20.x": "20.9.0", "^20.1": "20.9.0", "~20.1.0": "20.1.0", "20.1.0": "20.1.0", "v20.1.0": "20.1.0", "=20.1.0": "20.1.0",
		">=18": "24.5.0", ">=18 <22": "20.9.0", "18 || 20": "20.9.0", "18 - 22": "22.4.0", "*": "24.5.0", "": "24.5.0", "x": "24.5.0",
		">24": "26.2.0", "latest": "26.2.0", "node": "26.2.0", "lts/*": "24.5.0", "lts/iron": "20.9.0", "LTS/Jod": "22.4.0", ">= 22.0.0": "24.5.0",
		"<=22": "22.4.0", "stable": "24.5.0",
	} {
		w, err := parseWish(text, "test")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		r, err := w.choose(all, "24.x")
		if err != nil || r.version.String() != want {
			t.Errorf("%q chooses %v (%v), want %s", text, r.version, err, want)
		}
	}
}

func TestWishComesFrom(t *testing.T) {
	for _, c := range []struct {
		engines, env string
		files        map[string]string
		want, where  string
	}{
		{"22.x", "20.1.0", nil, "20.1.0", "BP_NODE_VERSION"},
		{"22.x", "", map[string]string{".nvmrc": "20"}, "22.x", "engines.node in package.json"},
		{"", "", map[string]string{".nvmrc": "# ours\nv20.1.0\n", ".node-version": "22"}, "v20.1.0", ".nvmrc"},
		{"", "", map[string]string{".node-version": "22\n"}, "22", ".node-version"},
		{"", "", nil, "24.x", "the buildpack's default"},
	} {
		m := &manifest{Engines: engines{Node: c.engines}}
		w, err := wishOf(parceltest.App(t, c.files), m, parcel.Env{"BP_NODE_VERSION": c.env}, "24.x")
		if err != nil || w.text != c.want || w.where != c.where {
			t.Errorf("%+v: %q from %q, %v", c, w.text, w.where, err)
		}
	}
}

func TestStart(t *testing.T) {
	for _, c := range []struct {
		json  string
		files []string
		want  string
	}{
		{`{"scripts":{"start":"node server.js"}}`, nil, "node server.js"},
		{`{"scripts":{"start":"node server.js --flag x"}}`, nil, "node server.js --flag x"},
		{`{"scripts":{"start":"node server.js | tee log"}}`, nil, "npm start"},
		{`{"scripts":{"start":"NODE_ENV=x node server.js"}}`, nil, "npm start"},
		{`{"scripts":{"start":"node server.js","prestart":"x"}}`, nil, "npm start"},
		{`{"scripts":{"start":"next start"}}`, nil, "npm start"},
		{`{"main":"lib/app"}`, []string{"lib/app.js"}, "node lib/app.js"},
		{`{"main":"."}`, []string{"index.js"}, "node index.js"},
		{`{"main":"gone.js"}`, []string{"server.js"}, "node server.js"},
		{`{}`, []string{"app.js"}, "node app.js"},
		{`{}`, nil, ""},
	} {
		m, err := parseManifest(c.json)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.start(func(n string) bool { return slices.Contains(c.files, n) })
		if strings.Join(got, " ") != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", c.json, got, err)
		}
	}
}

func TestScrubbedKeepsAllButTheHooks(t *testing.T) {
	m, err := parseManifest(`{"name":"a","scripts":{"postinstall":"x","build":"y"},"overrides":{"b":"1"}}`)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.scrubbed()
	if err != nil || strings.Contains(string(b), "postinstall") || !strings.Contains(string(b), `"build"`) || !strings.Contains(string(b), `"overrides"`) {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzManifest(f *testing.F) {
	for _, s := range []string{`{}`, `{"engines":["node"]}`, `{"scripts":null}`, `[]`, `{"scripts":{"start":"node x"}}`, `null`, `{"engines":{"node":5}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseManifest(s)
		if err != nil {
			return
		}
		m.installKey()
		if _, err := m.scrubbed(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if c, err := m.start(func(string) bool { return true }); err == nil && len(c) == 0 {
			t.Errorf("%q: an empty command", s)
		}
		if _, err := parseWish(m.Engines.Node, "x"); err != nil && !strings.Contains(err.Error(), "version range") {
			t.Error(err)
		}
	})
}

func FuzzLock(f *testing.F) {
	f.Add(lock)
	f.Add(`{"packages":{"":{},"node_modules/a/node_modules/@b/c":{"version":"1","link":false}}}`)
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parseLock("package-lock.json", s)
		if err != nil {
			return
		}
		l.linked()
		l.components()
	})
}
