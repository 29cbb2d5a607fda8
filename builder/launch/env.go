// Package launch starts the processes of an app image as the launcher does: it makes the environment from
// the layers of the image, runs exec.d, chooses a process and replaces itself by it. It also holds the rules
// by which files in env directories change variables, which the build phase shares.
package launch

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// An Env is a set of environment variables. It is not safe for concurrent use.
type Env struct{ vars map[string]string }

// NewEnv makes an Env of "NAME=value" strings. What has no '=' or no name is left out; the last of a name wins.
func NewEnv(environ []string) *Env {
	e := &Env{vars: map[string]string{}}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
			e.vars[k] = v
		}
	}
	return e
}

// Get is the value of name, "" when it is not set.
func (e *Env) Get(name string) string { return e.vars[name] }

// Lookup is the value of name and whether it is set.
func (e *Env) Lookup(name string) (string, bool) { v, ok := e.vars[name]; return v, ok }

// Set gives name a value.
func (e *Env) Set(name, value string) { e.vars[name] = value }

// Unset removes name.
func (e *Env) Unset(name string) { delete(e.vars, name) }

// Clone is an independent copy.
func (e *Env) Clone() *Env { return &Env{vars: maps.Clone(e.vars)} }

// Environ is the variables as "NAME=value", sorted.
func (e *Env) Environ() []string {
	out := make([]string, 0, len(e.vars))
	for _, k := range slices.Sorted(maps.Keys(e.vars)) {
		out = append(out, k+"="+e.vars[k])
	}
	return out
}

// An Action is what a file in an env directory does to its variable (buildpack, "Environment Variable
// Modification Rules"). It is the suffix of the file's name.
type Action string

// The actions of the spec.
const (
	Override Action = "override"
	Default  Action = "default"
	Prepend  Action = "prepend"
	Append   Action = "append"
	delim    Action = "delim"
)

// An EnvFile is one file of an env directory: its name with suffix, and its content, verbatim.
type EnvFile struct{ Name, Value string }

// ApplyLayer changes e by the env directories of one layer, in the order given: env, then env.build or
// env.launch, then env.launch/<process>. A file without a suffix does unsuffixed; one with an unknown suffix
// does nothing. A .delim file counts for its directory and for those after it in the layer.
func (e *Env) ApplyLayer(unsuffixed Action, dirs ...[]EnvFile) error {
	delims := map[string]string{}
	for _, files := range dirs {
		for _, f := range files {
			if name, action := split(f.Name, unsuffixed); action == delim {
				delims[name] = f.Value
			}
		}
		for _, f := range files {
			name, action := split(f.Name, unsuffixed)
			if !action.known() || name == "" {
				continue
			}
			if err := check(name, f); err != nil {
				return err
			}
			e.apply(name, action, f.Value, delims[name])
		}
	}
	return nil
}

// ApplyOperator changes e by <build-config>/env: the rules of a layer, but a file without a suffix gives a
// default (platform, "Operator-Defined Variables").
func (e *Env) ApplyOperator(files []EnvFile) error { return e.ApplyLayer(Default, files) }

// ApplyUser changes e by <platform>/env: a file's whole name is the variable. The value goes before that of a
// path variable and replaces that of any other (platform, "User-Provided Variables").
func (e *Env) ApplyUser(files []EnvFile, paths []PathVar) error {
	for _, f := range files {
		if err := check(f.Name, f); err != nil {
			return err
		}
		action := Override
		if slices.ContainsFunc(paths, func(p PathVar) bool { return p.Name == f.Name }) {
			action = Prepend
		}
		e.apply(f.Name, action, f.Value, ":")
	}
	return nil
}

func (e *Env) apply(name string, action Action, value, delim string) {
	old := e.vars[name]
	switch {
	case action == Default && old != "":
		return
	case action == Prepend && old != "":
		value += delim + old
	case action == Append && old != "":
		value = old + delim + value
	}
	e.vars[name] = value
}

// split takes a file's name apart at its first period.
func split(file string, unsuffixed Action) (name string, action Action) {
	name, suffix, ok := strings.Cut(file, ".")
	if !ok {
		return name, unsuffixed
	}
	return name, Action(suffix)
}

func (a Action) known() bool {
	return a == Override || a == Default || a == Prepend || a == Append
}

// check refuses what execve would: a name or value that cannot be in an environment.
func check(name string, f EnvFile) error {
	if _, err := cnb.ParseEnvName(name); err != nil {
		return fmt.Errorf("env file %q: %w: rename the file", f.Name, err)
	}
	if strings.ContainsRune(f.Value, 0) {
		return fmt.Errorf("env file %q: the value has a NUL byte in it", f.Name)
	}
	return nil
}

// A PathVar is a variable that lists a directory of each layer (buildpack, "Layer Paths").
type PathVar struct {
	Dir  string // below the layer
	Name string
}

// BuildPaths are the path variables of the build phase.
func BuildPaths() []PathVar {
	return []PathVar{
		{"bin", "PATH"}, {"lib", "LD_LIBRARY_PATH"}, {"lib", "LIBRARY_PATH"},
		{"include", "CPATH"}, {"pkgconfig", "PKG_CONFIG_PATH"},
	}
}

// LaunchPaths are the path variables at launch.
func LaunchPaths() []PathVar {
	return []PathVar{{"bin", "PATH"}, {"lib", "LD_LIBRARY_PATH"}}
}

// AddLayerPaths puts a layer's directories before what is in the path variables. layer is its path as the
// process will see it; exists tells whether a name below it is a directory. Called for the layers of a
// buildpack in ascending order, as the reference does, so that the last layer's directory comes first.
func (e *Env) AddLayerPaths(layer string, paths []PathVar, exists func(dir string) bool) {
	for _, p := range paths {
		if exists(p.Dir) {
			e.apply(p.Name, Prepend, layer+"/"+p.Dir, ":")
		}
	}
}
