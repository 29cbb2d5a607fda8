package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/source"
)

// readProject finds the project descriptor: the file that --descriptor names, else the source's project.toml.
// b is its text, nil where there is none.
func (j *job) readProject(ctx context.Context) (p *cnb.Project, b []byte, err error) {
	name := source.DescriptorName
	switch {
	case j.o.Descriptor != "":
		name = j.o.Descriptor
		dir, base := filepath.Split(filepath.Clean(name))
		if dir == "" {
			dir = "."
		}
		if b, err = cnb.ReadFile(dir, base, cnb.MaxDescriptor); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("project descriptor %s: there is no such file", name)
		}
	default:
		var told source.Told
		told, err = j.tell(ctx)
		b = told.Descriptor
	}
	if err != nil || b == nil {
		return &cnb.Project{}, nil, err
	}
	if p, err = source.ParseDescriptor(name, b); err != nil {
		return nil, nil, err
	}
	for _, w := range p.Warnings {
		j.warn("%s", w)
	}
	return p.For(j.o.ExecEnv), b, nil
}

// tell has the collector look, once, at what the source says of its builds.
func (j *job) tell(ctx context.Context) (source.Told, error) {
	if j.told == nil {
		told, err := j.collector.Told(ctx, j.o.Source, j.o.Unwrap)
		if err != nil {
			return told, err
		}
		j.told = &told
	}
	return *j.told, nil
}

// applyProject merges the descriptor into the options: what the user said on the command line wins.
func (j *job) applyProject(p *cnb.Project) error {
	if j.o.Builder == "" {
		if strings.HasPrefix(p.Builder, "oci:") {
			return fmt.Errorf("builder %s: a project descriptor may not name a directory of this machine: use --builder", p.Builder)
		}
		j.o.Builder = p.Builder
	}
	if j.o.Builder == "" {
		j.o.Builder = j.o.DefaultBuilder
	}
	env := map[string]string{}
	for _, e := range p.Env {
		env[string(e.Name)] = e.Value
	}
	maps.Copy(env, j.o.Env)
	j.o.Env = env
	for _, l := range []struct {
		name string
		to   *[]string
		from []cnb.ProjectBuildpack
	}{{"group", &j.o.Buildpacks, p.Buildpacks}, {"pre", &j.o.Pre, p.Pre}, {"post", &j.o.Post, p.Post}} {
		if len(*l.to) > 0 {
			continue
		}
		for i, b := range l.from {
			arg, err := j.projectBuildpack(b, fmt.Sprintf("%s-%d", l.name, i))
			if err != nil {
				return err
			}
			if j.foreign == nil {
				j.foreign = map[string]bool{}
			}
			j.foreign[arg] = true
			*l.to = append(*l.to, arg)
		}
	}
	return nil
}

// projectBuildpack turns an entry of the descriptor into an argument. The descriptor is part of a source that may be
// somebody else's, so the paths in it stay below the source's directory; other directories of this machine are the
// user's to name. place names the entry.
func (j *job) projectBuildpack(b cnb.ProjectBuildpack, place string) (string, error) {
	switch {
	case b.Script != nil:
		return j.scriptBuildpack(b, place)
	case b.URI == "" && b.Version != "":
		return prefixNamed + string(b.ID) + "@" + b.Version, nil
	case b.URI == "":
		return prefixNamed + string(b.ID), nil
	case strings.HasPrefix(b.URI, "oci:"):
		return "", outside(b.URI)
	case strings.HasPrefix(b.URI, "urn:"), strings.HasPrefix(b.URI, prefixDocker), isURL(b.URI), b.URI == fromBuilder:
		return b.URI, nil
	}
	name, isPath := strings.CutPrefix(b.URI, "file://")
	if filepath.IsAbs(name) || !filepath.IsLocal(name) {
		return "", outside(b.URI)
	}
	at := filepath.Join(j.o.Source, name)
	if !exists(at) {
		if isPath || strings.HasPrefix(name, ".") {
			return "", fmt.Errorf("buildpack %s: there is no such directory or file in the source", b.URI)
		}
		return prefixNamed + b.URI, nil
	}
	source, err := filepath.EvalSymlinks(j.o.Source)
	if err != nil {
		return "", fmt.Errorf("buildpack %s: %w", b.URI, err)
	}
	if at, err = filepath.EvalSymlinks(at); err != nil {
		return "", fmt.Errorf("buildpack %s: %w", b.URI, err)
	}
	if rel, err := filepath.Rel(source, at); err != nil || !filepath.IsLocal(rel) {
		return "", outside(b.URI)
	}
	return at, nil
}

func outside(uri string) error {
	return fmt.Errorf("buildpack %s: a project descriptor may name buildpacks below the source's directory only: use --buildpack for others of this machine", uri)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// scriptBuildpack makes a buildpack of a script in the descriptor (project descriptor 0.2, "script").
func (j *job) scriptBuildpack(b cnb.ProjectBuildpack, place string) (string, error) {
	dir := filepath.Join(j.dir.path, "script-"+place)
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.Chmod(dir, 0o755), os.Chmod(bin, 0o755)); err != nil { // whatever the umask
		return "", err
	}
	id, version := b.ID, b.Version
	if id == "" {
		id = cnb.ID("project/script-" + place)
	}
	if version == "" {
		version = "0.0.0"
	}
	shell := b.Script.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	files := []struct {
		name, text string
		mode       os.FileMode
	}{
		{"buildpack.toml", fmt.Sprintf("api = %q\n[buildpack]\nid = %q\nversion = %q\nname = \"script of the project descriptor\"\n[[targets]]\n", b.Script.API, id, version), 0o644},
		{"bin/detect", "#!/bin/sh\nexit 0\n", 0o755},
		{"bin/build", "#!" + shell + "\n\n" + b.Script.Inline, 0o755},
	}
	for _, f := range files {
		at := filepath.Join(dir, f.name)
		if err := os.WriteFile(at, []byte(f.text), f.mode); err != nil {
			return "", fmt.Errorf("write the script of %s: %w", id, err)
		}
		if err := os.Chmod(at, f.mode); err != nil {
			return "", fmt.Errorf("write the script of %s: %w", id, err)
		}
	}
	return dir, nil
}

// readable is every path outside the build's directory that the collector reads.
func (j *job) readable() ([]string, error) {
	at, err := filepath.Abs(j.o.Source)
	if err != nil {
		return nil, err
	}
	if !exists(at) {
		return nil, fmt.Errorf("source %s: there is no such directory or file", j.o.Source)
	}
	j.o.Source = at
	paths := []string{at}
	for name, dir := range j.o.Bindings {
		if dir, err = filepath.Abs(dir); err != nil {
			return nil, err
		}
		j.o.Bindings[name] = dir
		paths = append(paths, dir)
	}
	for _, v := range j.o.Volumes {
		if filepath.IsAbs(v.Source) && !exists(v.Source) {
			return nil, fmt.Errorf("volume %s: there is no such directory or file", v.Source)
		}
	}
	return paths, nil
}

// A SourceError tells that the source is unfit: no archive, hostile, or larger than it may be.
type SourceError struct {
	Path string // Options.Source, which the text may name
	Err  error
}

func (e *SourceError) Error() string { return e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

// badSource blames the source, unless something else came between.
func (j *job) badSource(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO) {
		return err
	}
	return &SourceError{Path: j.o.Source, Err: err}
}

// unpack puts the source into the app's directory.
func (j *job) unpack(ctx context.Context, descriptor []byte) error {
	uid, gid := j.dirs.Owner()
	res, err := j.collector.Source(ctx, source.Request{
		Path: j.o.Source, Dest: j.dirs.Host(j.dirs.App), UID: uid, GID: gid,
		Descriptor: descriptor, DescriptorPath: j.o.Descriptor, Limits: source.Limits{Bytes: j.o.Limits.Source},
		Unwrap: j.o.Unwrap,
	})
	if err != nil {
		return j.badSource(ctx, err)
	}
	if len(res.Skipped) > 0 {
		j.warn("source: left out because they are no files: %q", res.Skipped)
	}
	if j.o.Project.Source == nil && res.Git != nil {
		j.o.Project = res.Git.Project()
	}
	return nil
}
