package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// A job is one run of a classic buildpack.
type job struct {
	c    libcnb.BuildContext
	w    parcel.Work
	env  parcel.Env
	dir  string // of the classic buildpack, a copy that it may write to
	vars string // ENV_DIR
	test bool   // built to be tested
}

// build runs bin/compile, or for a test bin/test-compile where there is one, and makes layers of what it leaves.
func build(ctx context.Context, c libcnb.BuildContext, w parcel.Work) (result libcnb.BuildResult, err error) {
	result = libcnb.NewBuildResult()
	tmp, err := os.MkdirTemp("", "classic-")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(tmp)
	j := &job{c: c, w: w, env: environment(w.Env, c.Platform.Environment, c.ApplicationPath), dir: filepath.Join(tmp, "buildpack"), vars: filepath.Join(tmp, "env"), test: w.Env["CNB_EXEC_ENV"] == "test"}
	if err := os.CopyFS(j.dir, os.DirFS(filepath.Join(c.Buildpack.Path, classicDir))); err != nil {
		return result, err
	}
	if err := j.writeVars(); err != nil {
		return result, err
	}
	cache, err := c.Layers.Layer("cache")
	if err != nil {
		return result, err
	}
	cache.LayerTypes = libcnb.LayerTypes{Cache: true}
	if err := os.MkdirAll(cache.Path, 0o755); err != nil {
		return result, err
	}
	if err := j.compile(ctx, cache.Path); err != nil {
		return result, err
	}
	result.Layers = append(result.Layers, cache)
	if result.Layers, err = j.export(ctx, result.Layers); err != nil {
		return result, err
	}
	rel, err := j.release(ctx)
	if err != nil {
		return result, err
	}
	launch, err := j.launch(rel)
	if err != nil {
		return result, err
	}
	result.Layers = append(result.Layers, launch)
	if result.Processes, err = j.processes(rel, launch.Path); err != nil {
		return result, err
	}
	result.Labels = append(result.Labels, j.label())
	return result, nil
}

// compile runs what builds the app.
func (j *job) compile(ctx context.Context, cache string) error {
	name := "compile"
	if _, err := os.Stat(j.bin("test-compile")); err == nil && j.test {
		name = "test-compile"
	}
	cmd := parcel.Command{Path: j.bin(name), Args: []string{j.c.ApplicationPath, cache, j.vars}, Dir: j.dir, Env: j.env, Out: j.w.Out}
	_, err := cmd.Run(ctx)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		return parcel.Yours("look at what it printed above", "bin/%s of the classic buildpack ended with exit code %d", name, e.Code)
	}
	if err != nil {
		return parcel.Ours("look at its first line, which names its interpreter", "bin/%s of the classic buildpack cannot be run: %w", name, err)
	}
	return nil
}

func (j *job) bin(name string) string { return filepath.Join(j.dir, "bin", name) }

// writeVars makes ENV_DIR: a file for each config var, with nothing behind its value.
func (j *job) writeVars() error {
	if err := os.MkdirAll(j.vars, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(j.vars)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, value := range j.c.Platform.Environment {
		if err := root.WriteFile(name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("config var %s: %w", name, err)
		}
	}
	return nil
}

// export sources the file that the buildpack may have written for those after it, and gives them what it changes.
func (j *job) export(ctx context.Context, layers []libcnb.Layer) ([]libcnb.Layer, error) {
	at := filepath.Join(j.dir, "export")
	if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
		return layers, nil
	}
	changed, err := sourced(ctx, j.env, j.c.ApplicationPath, at)
	if err != nil {
		return layers, parcel.Ours("look at what the buildpack writes there", "the file export of the classic buildpack: %w", err)
	}
	l, err := j.c.Layers.Layer("export")
	if err != nil {
		return layers, err
	}
	if l, err = l.Reset(); err != nil {
		return layers, err
	}
	l.LayerTypes = libcnb.LayerTypes{Build: true}
	for name, value := range changed {
		l.BuildEnvironment.Override(name, value)
	}
	return append(layers, l), nil
}

// launch is the layer that has the app's processes find what they found: HOME is the app's directory, .profile.d and .profile
// are sourced, config_vars of bin/release are there where nobody set others. For a test it has the buildpack itself, too.
func (j *job) launch(rel released) (libcnb.Layer, error) {
	l, err := j.c.Layers.Layer("app")
	if err != nil {
		return l, err
	}
	if l, err = l.Reset(); err != nil {
		return l, err
	}
	l.LayerTypes = libcnb.LayerTypes{Launch: true}
	l.LaunchEnvironment.Override("HOME", j.c.ApplicationPath)
	for name, value := range rel.Vars {
		l.LaunchEnvironment.Default(name, value)
	}
	to := filepath.Join(l.Path, "exec.d", "profile")
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return l, err
	}
	if err := os.WriteFile(to, profileScript, 0o755); err != nil {
		return l, err
	}
	if _, err := os.Stat(j.bin("test")); err == nil && j.test {
		if err := os.CopyFS(filepath.Join(l.Path, "buildpack"), os.DirFS(j.dir)); err != nil {
			return l, err
		}
		if err := os.CopyFS(filepath.Join(l.Path, "env"), os.DirFS(j.vars)); err != nil {
			return l, err
		}
	}
	md := j.c.Buildpack.Metadata
	component := parcel.Component{Name: j.c.Buildpack.Info.Name, Version: cmp.Or(text(md["commit"]), j.c.Buildpack.Info.Version), App: true}
	component.PURL = "pkg:generic/" + strings.TrimPrefix(j.c.Buildpack.Info.ID, "classic/") + "@" + component.Version
	if u := text(md["url"]); u != "" {
		component.PURL += "?vcs_url=" + strings.NewReplacer("%", "%25", "&", "%26", "#", "%23", " ", "%20").Replace(u)
	}
	return l, parcel.WriteSBOM(l.SBOMPath(libcnb.CycloneDXJSON), j.c.Buildpack, []parcel.Component{component})
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// label says of the image what it was built with.
func (j *job) label() libcnb.Label {
	md := j.c.Buildpack.Metadata
	what, _ := json.Marshal(map[string]string{"url": text(md["url"]), "ref": text(md["ref"]), "commit": text(md["commit"])})
	return libcnb.Label{Key: "io.github.slipway-build." + strings.ReplaceAll(j.c.Buildpack.Info.ID, "/", "."), Value: string(what)}
}

var procfileLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(\S.*)$`)

// processes are those of the Procfile, and of the defaults of bin/release those that it does not name.
func (j *job) processes(rel released, launch string) (all []libcnb.Process, err error) {
	commands := map[string]string{}
	var names []string
	add := func(name, command string) {
		if _, ok := commands[name]; !ok {
			names = append(names, name)
			commands[name] = command
		}
	}
	b, err := os.ReadFile(filepath.Join(j.c.ApplicationPath, "Procfile"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for l := range bytes.Lines(b) {
		if m := procfileLine.FindStringSubmatch(strings.TrimSpace(string(l))); m != nil {
			add(m[1], m[2])
		}
	}
	for _, p := range rel.Processes {
		add(p.name, p.command)
	}
	for _, name := range names {
		all = append(all, libcnb.Process{Type: name, Command: []string{"bash", "-c", commands[name]}, Default: name == "web" || len(names) == 1})
		j.w.Sayf("process %s: %s", name, commands[name])
	}
	if _, err := os.Stat(j.bin("test")); err == nil && j.test {
		all = append(all, libcnb.Process{Type: "test", Command: []string{filepath.Join(launch, "buildpack", "bin", "test"), j.c.ApplicationPath, filepath.Join(launch, "env")}, Default: len(names) == 0})
	}
	return all, nil
}
