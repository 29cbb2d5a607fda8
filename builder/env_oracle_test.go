package builder

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/builder/launch"
)

// An envLayer is what of a layer bears on environments. Names of files are below the layer's directory; one that
// ends in a slash is a directory.
type envLayer struct {
	name  string
	build bool
	files map[string]string
}

// An envWorld is everything that decides an environment: buildpacks with their layers in order of name, and what
// platform, operator and image give.
type envWorld struct {
	buildpacks     [][]envLayer
	start          []string
	user, operator map[string]string
	process        string // "" for none
}

func drawEnvWorld(t *rapid.T) envWorld {
	names := rapid.SampledFrom([]string{"A", "A", "B", "PATH", "LD_LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH"})
	suffixes := rapid.SampledFrom([]string{"", ".append", ".default", ".delim", ".override", ".prepend", ".prepend", ".append", ".delim", ".other", ".append.x"})
	values := rapid.SampledFrom([]string{"", "1", "2", "$A\n", "/x:/y", " "})
	w := envWorld{
		start:    rapid.SampledFrom([][]string{nil, {"PATH=/bin"}, {"PATH=", "A=", "HOME=/h"}, {"PATH=/usr/bin:/bin", "A=a", "B=b", "CPATH=/c", "LD_LIBRARY_PATH=/l"}}).Draw(t, "start"),
		process:  rapid.SampledFrom([]string{"", "web"}).Draw(t, "process"),
		user:     map[string]string{},
		operator: map[string]string{},
	}
	for range rapid.IntRange(0, 3).Draw(t, "user") {
		w.user[names.Draw(t, "name")+rapid.SampledFrom([]string{"", "", ".append"}).Draw(t, "suffix")] = values.Draw(t, "value")
	}
	for range rapid.IntRange(0, 3).Draw(t, "operator") {
		w.operator[names.Draw(t, "name")+suffixes.Draw(t, "suffix")] = values.Draw(t, "value")
	}
	for range rapid.IntRange(1, 3).Draw(t, "buildpacks") {
		var layers []envLayer
		for _, name := range rapid.SampledFrom([][]string{{}, {"a"}, {"a", "b"}, {"B", "a", "a.b", "b"}}).Draw(t, "layers") {
			l := envLayer{name: name, build: rapid.IntRange(0, 3).Draw(t, "build") > 0, files: map[string]string{}}
			for _, dir := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"bin/", "lib/", "include/", "pkgconfig/"}), 0, 2, rapid.ID[string]).Draw(t, "paths") {
				l.files[dir] = ""
			}
			for range rapid.IntRange(0, 5).Draw(t, "files") {
				dir := rapid.SampledFrom([]string{"env", "env", "env.build", "env.launch", "env.launch/web", "env.launch/other"}).Draw(t, "dir")
				l.files[dir+"/"+names.Draw(t, "name")+suffixes.Draw(t, "suffix")] = values.Draw(t, "value")
			}
			layers = append(layers, l)
		}
		w.buildpacks = append(w.buildpacks, layers)
	}
	return w
}

// A change is one thing that happens to one variable.
type change struct{ action, value, delim string }

// fold applies changes to a value one by one.
func fold(value string, set bool, cs []change) (string, bool) {
	for _, c := range cs {
		switch {
		case c.action == "override", value == "":
			value = c.value
		case c.action == "append":
			value = value + c.delim + c.value
		case c.action == "prepend":
			value = c.value + c.delim + value
		}
		set = true
	}
	return value, set
}

// changes reads one variable's files in directories of one layer: env, then env.build or env.launch, then the
// process's own; within one, in order of file names. A delimiter holds from its directory on, in its layer only.
func changes(files map[string]string, variable, unsuffixed string, dirs ...string) []change {
	if strings.Contains(variable, ".") {
		return nil // only a user's variable can have such a name
	}
	var out []change
	delim := ""
	for _, dir := range dirs {
		at := path.Join(dir, variable)
		if d, ok := files[at+".delim"]; ok {
			delim = d
		}
		for _, suffix := range []string{"", ".append", ".default", ".override", ".prepend"} {
			if v, ok := files[at+suffix]; ok {
				action := strings.TrimPrefix(suffix, ".")
				if action == "" {
					action = unsuffixed
				}
				out = append(out, change{action, v, delim})
			}
		}
	}
	return out
}

// pathDirs is the table of buildpack, "Layer Paths".
func pathDirs(variable string, build bool) string {
	switch {
	case variable == "PATH":
		return "bin/"
	case variable == "LD_LIBRARY_PATH", build && variable == "LIBRARY_PATH":
		return "lib/"
	case build && variable == "CPATH":
		return "include/"
	case build && variable == "PKG_CONFIG_PATH":
		return "pkgconfig/"
	}
	return ""
}

// variables is every name that anything mentions.
func (w envWorld) variables() []string {
	seen := map[string]bool{"PATH": true, "LD_LIBRARY_PATH": true, "LIBRARY_PATH": true, "CPATH": true, "PKG_CONFIG_PATH": true}
	add := func(file string) {
		name, _, _ := strings.Cut(path.Base(file), ".")
		seen[name], seen[path.Base(file)] = true, true
	}
	for _, kv := range w.start {
		name, _, _ := strings.Cut(kv, "=")
		seen[name] = true
	}
	for f := range w.user {
		add(f)
	}
	for f := range w.operator {
		add(f)
	}
	for _, layers := range w.buildpacks {
		for _, l := range layers {
			for f := range l.files {
				if !strings.HasSuffix(f, "/") {
					add(f)
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (w envWorld) started(variable string) (string, bool) {
	for _, kv := range w.start {
		if name, v, _ := strings.Cut(kv, "="); name == variable {
			return v, true
		}
	}
	return "", false
}

// pathChange is the directory that a layer adds to a path variable, if it has it.
func pathChange(l envLayer, at, variable string, build bool) []change {
	dir := pathDirs(variable, build)
	if _, ok := l.files[dir]; !ok || dir == "" {
		return nil
	}
	return []change{{"prepend", at + "/" + strings.TrimSuffix(dir, "/"), ":"}}
}

// launchEnv is the environment of a process: of each buildpack first the path variables of all its layers, then
// their files.
func (w envWorld) launchEnv(layersDir string) []string {
	var out []string
	for _, v := range w.variables() {
		value, set := w.started(v)
		for i, layers := range w.buildpacks {
			for _, l := range layers {
				value, set = fold(value, set, pathChange(l, fmt.Sprintf("%s/bp%d/%s", layersDir, i, l.name), v, false))
			}
			for _, l := range layers {
				dirs := []string{"env", "env.launch"}
				if w.process != "" {
					dirs = append(dirs, "env.launch/"+w.process)
				}
				value, set = fold(value, set, changes(l.files, v, "override", dirs...))
			}
		}
		if set {
			out = append(out, v+"="+value)
		}
	}
	return out
}

// buildEnv is the environment of a buildpack after those of the world: layer by layer, then the user's variables
// unless it clears them, then the operator's.
func (w envWorld) buildEnv(layersDir string, clearEnv bool) []string {
	allowed := []string{"PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH", "HOME"}
	var out []string
	for _, v := range w.variables() {
		value, set := "", false
		if slices.Contains(allowed, v) {
			value, set = w.started(v)
		}
		for i, layers := range w.buildpacks {
			for _, l := range layers {
				if l.build {
					value, set = fold(value, set, pathChange(l, fmt.Sprintf("%s/bp%d/%s", layersDir, i, l.name), v, true))
					value, set = fold(value, set, changes(l.files, v, "override", "env", "env.build"))
				}
			}
		}
		if u, ok := w.user[v]; ok && !clearEnv {
			c := change{"override", u, ":"}
			if pathDirs(v, true) != "" {
				c.action = "prepend"
			}
			value, set = fold(value, set, []change{c})
		}
		value, set = fold(value, set, changes(w.operator, v, "default", ""))
		if set {
			out = append(out, v+"="+value)
		}
	}
	return out
}

// write puts the world on disk.
func (w envWorld) write(dir string) error {
	put := func(name, text string) error {
		if strings.HasSuffix(name, "/") {
			return os.MkdirAll(name, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, []byte(text), 0o644)
	}
	files := map[string]string{"app/": "", "layers/": ""}
	for f, v := range w.user {
		files["platform/env/"+f] = v
	}
	for f, v := range w.operator {
		files["build-config/env/"+f] = v
	}
	var md strings.Builder
	for i, layers := range w.buildpacks {
		fmt.Fprintf(&md, "[[buildpacks]]\nid = \"bp%d\"\nversion = \"1.0.0\"\napi = \"0.12\"\n", i)
		for _, l := range layers {
			at := fmt.Sprintf("layers/bp%d/%s/", i, l.name)
			files[at] = ""
			for f, v := range l.files {
				files[at+f] = v
			}
		}
	}
	files["layers/config/metadata.toml"] = md.String() + "[[processes]]\ntype = \"web\"\ncommand = [\"/bin/true\"]\ndirect = true\nbuildpack-id = \"bp0\"\n"
	for f, v := range files {
		if err := put(dir+"/"+f, v); err != nil {
			return err
		}
	}
	return nil
}

// launched asks the launcher.
func (w envWorld) launched(dir string) ([]string, error) {
	l := launch.Launcher{
		Self:    "/cnb/process/" + w.process,
		Environ: append([]string{"CNB_PLATFORM_API=0.15", "CNB_APP_DIR=" + dir + "/app", "CNB_LAYERS_DIR=" + dir + "/layers"}, w.start...),
	}
	if w.process == "" {
		l.Self, l.Args = "launcher", []string{"--", "/bin/true"}
	}
	c, err := l.Command()
	if err != nil {
		return nil, err
	}
	return c.Env, nil
}

// built asks what the build phase does for the buildpack after the last.
func (w envWorld) built(dir string, clearEnv bool) ([]string, error) {
	dirs := Dirs{Platform: dir + "/platform", BuildConfig: dir + "/build-config"}
	e, err := newExecution(dirs, cnb.NewestPlatformAPI, w.start, "", "", cnb.Target{})
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir + "/layers")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for i, layers := range w.buildpacks {
		for _, l := range layers {
			name := fmt.Sprintf("bp%d/%s", i, l.name)
			if !l.build {
				continue
			}
			if err := e.addLayer(root, name, path.Join(dir, "layers", name)); err != nil {
				return nil, err
			}
		}
	}
	env, err := e.environ(&cnb.Descriptor{API: cnb.API{Major: 0, Minor: 9}, ClearEnv: clearEnv}, map[string]string{})
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "CNB_") }), err
}

func TestEnvironmentsAgainstTheSpec(t *testing.T) {
	top := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawEnvWorld(t)
		n++
		dir := filepath.Join(top, fmt.Sprint(n))
		if err := w.write(dir); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		got, err := w.launched(dir)
		if want := w.launchEnv(dir + "/layers"); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%+v\nlaunch: %v\ngot  %q\nwant %q", w, err, got, want)
		}
		for _, clearEnv := range []bool{false, true} {
			got, err := w.built(dir, clearEnv)
			if want := w.buildEnv(dir+"/layers", clearEnv); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%+v\nbuild, clear-env %v: %v\ngot  %q\nwant %q", w, clearEnv, err, got, want)
			}
		}
	})
}
