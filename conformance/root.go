package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/txtar"
)

// The CNB user, where the suite runs as root and can be another: nobody, for a creator may look its user up.
const (
	cnbUID = 65534
	cnbGID = 65534
)

// exportedLauncher is what exporter and creator are given as launcher: small, for many images are made.
const exportedLauncher = "#!/bin/sh\necho the launcher of the suite\n"

// A root is the directory of one run of one case, with its registry and the words that stand for what is known only
// now.
type root struct {
	c        *Case
	api      string
	dir      string
	uid, gid int
	reg      *registryPair
	words    map[string]string
}

func newRoot(c *Case, api, base, lifecycle string) (*root, error) {
	dir, err := os.MkdirTemp(base, "case")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	r := &root{c: c, api: api, dir: dir, uid: os.Getuid(), gid: os.Getgid(), reg: newRegistryPair(c.Access)}
	if r.uid == 0 {
		r.uid, r.gid = cnbUID, cnbGID
	}
	r.words = map[string]string{
		"root": dir, "api": api, "uid": strconv.Itoa(r.uid), "gid": strconv.Itoa(r.gid),
		"lifecycle": lifecycle, "launcher": filepath.Join(lifecycle, "launcher"),
		"registry": r.reg.first.host(), "other": r.reg.second.host(), "run": r.reg.first.host() + "/run",
		"os": "linux", "arch": architecture(),
	}
	for _, name := range []string{"app", "layers", "platform", "buildpacks", "extensions", "build-config", "home", "tmp", "cache", "out"} {
		r.words[name] = filepath.Join(dir, name)
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *root) close() {
	r.reg.close()
	// What a phase has left without write permission is removed all the same.
	_ = filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o755)
		}
		return nil
	})
	_ = os.RemoveAll(r.dir)
}

// expand puts what is known for {{words}}. {{digest NAME}} is the digest of an image in the registry now, and
// {{layer N NAME}} that of its layer N.
func (r *root) expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		word, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", fmt.Errorf("{{ without }}")
		}
		value, known := r.words[word]
		if name, ok := strings.CutPrefix(word, "digest "); ok {
			digest, err := r.reg.digest(r.ref(name), -1)
			if err != nil {
				return "", err
			}
			value, known = digest, true
		}
		if layer, ok := strings.CutPrefix(word, "layer "); ok {
			number, name, _ := strings.Cut(layer, " ")
			n, err := strconv.Atoi(number)
			if err != nil {
				return "", err
			}
			if value, err = r.reg.digest(r.ref(name), n); err != nil {
				return "", err
			}
			known = true
		}
		if !known {
			return "", fmt.Errorf("no word {{%s}}", word)
		}
		out.WriteString(value)
		text = after
	}
}

func (r *root) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, name)
}

// build writes all that the case starts from.
func (r *root) build() error {
	if err := r.reg.seed(r); err != nil {
		return err
	}
	generated, err := r.generated()
	if err != nil {
		return err
	}
	for _, name := range r.c.Dirs {
		if err := os.MkdirAll(r.path(name), 0o755); err != nil {
			return err
		}
	}
	if err := r.write(generated); err != nil {
		return err
	}
	if err := r.write(r.inputs("")); err != nil {
		return err
	}
	for name, target := range r.c.Links {
		target, err := r.expand(target)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, r.path(name)); err != nil {
			return err
		}
	}
	if err := r.own(); err != nil {
		return err
	}
	for name, text := range r.c.Modes {
		mode, err := strconv.ParseUint(text, 8, 32)
		if err != nil {
			return err
		}
		if err := os.Chmod(r.path(name), os.FileMode(mode)); err != nil {
			return err
		}
	}
	return nil
}

// inputs returns the case's files for a step, by what stands before the first slash: "" for those that are there from
// the start.
func (r *root) inputs(prefix string) []txtar.File {
	var files []txtar.File
	for _, f := range r.c.files {
		kind, _, name := section(f.Name)
		switch {
		case prefix == "" && kind == "":
			files = append(files, f)
		case prefix != "" && strings.HasPrefix(f.Name, prefix+"/"):
			files = append(files, txtar.File{Name: name, Data: f.Data})
		}
	}
	return files
}

// write writes files below the root, expanded. What begins with #! can be executed.
func (r *root) write(files []txtar.File) error {
	for _, f := range files {
		name, err := r.expand(f.Name)
		if err != nil {
			return err
		}
		data, err := r.expand(string(f.Data))
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		path := r.path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(data, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			return err
		}
	}
	return nil
}

// own gives everything to the CNB user, where we are root.
func (r *root) own() error {
	if os.Getuid() != 0 {
		return nil
	}
	return filepath.WalkDir(r.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, r.uid, r.gid)
	})
}

// generated are the files that the header's short forms stand for. A file of the case with the same name wins.
func (r *root) generated() ([]txtar.File, error) {
	var files []txtar.File
	add := func(name, text string) { files = append(files, txtar.File{Name: name, Data: []byte(text)}) }
	c := r.c
	add("launcher", exportedLauncher)
	for id, m := range c.Buildpacks {
		files = append(files, m.files("buildpack", "buildpacks", id)...)
	}
	for id, m := range c.Extensions {
		files = append(files, m.files("extension", "extensions", id)...)
	}
	if len(c.Order) > 0 || len(c.OrderExt) > 0 {
		add("order.toml", c.groups("order", c.Order)+c.groups("order-extensions", c.OrderExt))
	}
	if c.Pre != "" || c.Post != "" {
		add("system.toml", c.entries("[[system.pre.buildpacks]]", c.Pre)+c.entries("[[system.post.buildpacks]]", c.Post))
	}
	if c.Group != "" {
		files = append(files, c.groupFiles()...)
	}
	for dir, layers := range c.LayerTypes {
		for name, types := range layers {
			var text strings.Builder
			text.WriteString("[types]\n")
			for word := range strings.FieldsSeq(types) {
				fmt.Fprintf(&text, "%s = true\n", word)
			}
			add("layers/"+dir+"/"+name+".toml", text.String())
		}
	}
	for name, value := range c.PlatEnv {
		add("platform/env/"+name, value)
	}
	for name, value := range c.ConfEnv {
		add("build-config/env/"+name, value)
	}
	files = append(files, r.runFiles()...)
	given := r.inputs("")
	return slices.DeleteFunc(files, func(f txtar.File) bool {
		return slices.ContainsFunc(given, func(g txtar.File) bool { return g.Name == f.Name })
	}), nil
}

// runFiles are run.toml, stack.toml and analyzed.toml.
func (r *root) runFiles() []txtar.File {
	images := r.c.Run
	if len(images) == 0 {
		images = []string{"{{run}}"}
	}
	var quoted []string
	for _, m := range images[1:] {
		quoted = append(quoted, strconv.Quote(m))
	}
	body := fmt.Sprintf("image = %q\nmirrors = [%s]\n", images[0], strings.Join(quoted, ", "))
	files := []txtar.File{
		{Name: "run.toml", Data: []byte("[[images]]\n" + body)},
		{Name: "stack.toml", Data: []byte("[run-image]\n" + body)},
	}
	name := r.c.RunImage
	if name == "" {
		name = "run"
	}
	if name != "-" {
		var text bytes.Buffer
		ref := r.ref(name)
		fmt.Fprintf(&text, "[run-image]\nimage = %q\nreference = \"%s@{{digest %s}}\"\n", ref, repository(ref), name)
		image := r.c.image(name)
		fmt.Fprintf(&text, "[run-image.target]\nos = %q\narch = %q\n", image.OS, image.Arch)
		files = append(files, txtar.File{Name: "layers/analyzed.toml", Data: text.Bytes()})
	}
	return files
}

// ref makes a whole reference of an image's short name.
func (r *root) ref(name string) string {
	if name, err := r.expand(name); err == nil {
		if strings.HasPrefix(name, r.words["registry"]+"/") || strings.HasPrefix(name, r.words["other"]+"/") {
			return name
		}
	}
	return r.words["registry"] + "/" + name
}
