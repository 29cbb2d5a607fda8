package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// manifest is what we read of package.json.
type manifest struct {
	Name            string            `json:"name"`
	Version         string            `json:"version"`
	Main            string            `json:"main"`
	PackageManager  string            `json:"packageManager"`
	Scripts         map[string]string `json:"scripts"`
	Engines         engines           `json:"engines"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	Workspaces      json.RawMessage   `json:"workspaces"`

	raw map[string]json.RawMessage
}

type engines struct{ Node, NPM string }

// UnmarshalJSON takes the object form only; npm ignores the old array form, and so do we.
func (e *engines) UnmarshalJSON(b []byte) error {
	var m map[string]any
	if json.Unmarshal(b, &m) != nil {
		return nil
	}
	e.Node, _ = m["node"].(string)
	e.NPM, _ = m["npm"].(string)
	return nil
}

// parseManifest reads package.json; its errors name the line.
func parseManifest(text string) (*manifest, error) {
	const fix = "correct package.json (npm pkg fix, or any JSON checker, shows the place)"
	m := &manifest{}
	if err := json.Unmarshal([]byte(text), m); err != nil {
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, parcel.Yours(fix, "your package.json is not JSON, line %d: %w", lineAt(text, e.Offset), err)
		}
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, parcel.Yours(fix, "your package.json, line %d: %s is a %s", lineAt(text, e.Offset), e.Field, e.Value)
		}
		return nil, parcel.Yours(fix, "your package.json: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &m.raw); err != nil {
		return nil, parcel.Yours(fix, "your package.json: %w", err)
	}
	if m.raw == nil {
		return nil, parcel.Yours(fix, "your package.json is null, not an object")
	}
	return m, nil
}

func lineAt(text string, offset int64) int {
	return 1 + strings.Count(text[:min(int(offset), len(text))], "\n")
}

// rootHooks are the scripts that npm runs in the app itself when it installs, in its order.
func rootHooks() []string {
	return []string{"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"}
}

func (m *manifest) hooks() []string {
	return slices.DeleteFunc(rootHooks(), func(n string) bool { return m.Scripts[n] == "" })
}

// scrubbed is package.json without the hooks, as bytes: npm installs beside the app, where they would not
// find its files; we run them in the app afterwards.
func (m *manifest) scrubbed() ([]byte, error) {
	scripts := maps.Clone(m.Scripts)
	for _, n := range rootHooks() {
		delete(scripts, n)
	}
	b, err := json.Marshal(scripts)
	if err != nil {
		return nil, err
	}
	raw := maps.Clone(m.raw)
	if raw["scripts"] = b; scripts == nil {
		delete(raw, "scripts")
	}
	return json.MarshalIndent(raw, "", "  ")
}

// installKey is the part of package.json that decides what npm installs.
func (m *manifest) installKey() string {
	var parts []string
	for _, k := range []string{"name", "version", "dependencies", "devDependencies", "optionalDependencies",
		"peerDependencies", "peerDependenciesMeta", "bundleDependencies", "bundledDependencies", "overrides",
		"engines", "os", "cpu", "libc", "workspaces", "config", "allowScripts"} {
		parts = append(parts, k, string(m.raw[k]))
	}
	for _, h := range m.hooks() {
		parts = append(parts, "script "+h, m.Scripts[h])
	}
	return parcel.KeyOf(parts...)
}

// lockfile is what we read of package-lock.json or npm-shrinkwrap.json.
type lockfile struct {
	LockfileVersion int `json:"lockfileVersion"`
	Packages        map[string]struct {
		Name      string `json:"name"`
		Version   string `json:"version"`
		Integrity string `json:"integrity"`
		Dev       bool   `json:"dev"`
		DevOpt    bool   `json:"devOptional"`
		Optional  bool   `json:"optional"`
		Link      bool   `json:"link"`
		License   any    `json:"license"`
	} `json:"packages"`
}

func parseLock(name, text string) (*lockfile, error) {
	l := &lockfile{}
	if err := json.Unmarshal([]byte(text), l); err != nil {
		do := "make it anew: rm " + name + " && npm install, and commit it"
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			line := lineAt(text, e.Offset)
			if strings.Contains(text, "<<<<<<<") {
				return nil, parcel.Yours(do, "your %s has merge conflict marks (line %d)", name, line)
			}
			return nil, parcel.Yours(do, "your %s is not JSON, line %d: %w", name, line, err)
		}
		return nil, parcel.Yours(do, "your %s: %w", name, err)
	}
	return l, nil
}

// linked names a package that npm links to a directory of the app (a workspace or a file: dependency).
func (l *lockfile) linked() string {
	for _, path := range slices.Sorted(maps.Keys(l.Packages)) {
		if l.Packages[path].Link {
			return strings.TrimPrefix(path, "node_modules/")
		}
	}
	return ""
}

// components lists the production modules for the SBOM.
func (l *lockfile) components() []parcel.Component {
	var list []parcel.Component
	for path, p := range l.Packages {
		_, name, ok := cutLast(path, "node_modules/")
		if !ok || p.Dev || p.Link || p.Version == "" {
			continue
		}
		if p.Name != "" {
			name = p.Name // an alias: "a": "npm:b@1"
		}
		license, _ := p.License.(string)
		list = append(list, parcel.Component{
			Name: name, Version: p.Version, License: license, SHA512: hexSHA512(p.Integrity),
			PURL: "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + p.Version,
		})
	}
	return list
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// start is the command of the web process: the program of a plain "node …" start script (so that signals
// reach it), `npm start`, or a file; files says which of the candidates exist.
func (m *manifest) start(exists func(string) bool) ([]string, error) {
	if s := strings.TrimSpace(m.Scripts["start"]); s != "" {
		if plain(s) && m.Scripts["prestart"] == "" && m.Scripts["poststart"] == "" {
			return strings.Fields(s), nil
		}
		return []string{"npm", "start"}, nil
	}
	for _, f := range []string{m.Main, "server.js", "index.js", "app.js", "main.js", "server.mjs", "index.mjs"} {
		for _, c := range []string{f, f + ".js", f + "/index.js"} {
			if f != "" && strings.Contains(c, ".") && exists(c) {
				return []string{"node", c}, nil
			}
		}
	}
	if m.Main != "" {
		return nil, parcel.Yours(`correct "main", or add a "start" script, or a Procfile with a line "web: …"`,
			"your package.json: main is %q, which does not exist after the build, and there is no start script", m.Main)
	}
	return nil, parcel.Yours(`add "start" to "scripts" in package.json, for example "start": "node server.js", or a Procfile with a line "web: …"; for a site that only has to be built, set BP_STATIC_ROOT to the directory it is built into`,
		"your package.json has no start script and no main, and there is no server.js, index.js or app.js")
}

// plain says that a script is one node command that needs no shell and nothing from node_modules/.bin.
func plain(s string) bool {
	return (s == "node" || strings.HasPrefix(s, "node ")) && len(s) > 5 && !strings.ContainsAny(s, "|&;<>()$`\\\"'*?[]#~=%!{}\n")
}

// usesNPM says that a command line wants npm at run time.
func usesNPM(text string) bool {
	return slices.ContainsFunc(strings.Fields(text), func(w string) bool { return w == "npm" || w == "npx" })
}

// describe is the app's name for the log.
func (m *manifest) describe() string {
	if m.Name == "" {
		return "package.json"
	}
	return fmt.Sprintf("package.json of %s", m.Name)
}

// hexSHA512 is the digest in a subresource-integrity string, in hex, or "".
func hexSHA512(sri string) string {
	for part := range strings.FieldsSeq(sri) {
		if v, ok := strings.CutPrefix(part, "sha512-"); ok {
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				return hex.EncodeToString(b)
			}
		}
	}
	return ""
}
