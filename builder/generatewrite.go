package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// place puts what an extender reads into <generated>, in the layout of the Platform API.
func (g *generation) place(o generateOutput) error {
	if !g.ownOutput() {
		return g.placeByKind(o)
	}
	id := o.d.ID.Dir()
	if !o.prepared {
		return g.ignore(id, o)
	}
	if o.config != nil {
		if err := g.write(path.Join(id, extendConfig), o.config); err != nil {
			return err
		}
	}
	for _, f := range o.files {
		if err := g.write(path.Join(id, f.Kind+".Dockerfile"+f.suffix()), f.text); err != nil {
			return err
		}
	}
	for _, c := range o.contexts {
		if err := g.copyContext(filepath.Join(g.in.Dirs.Host(o.d.Path), "generate"), path.Join(id, c), c); err != nil {
			return err
		}
	}
	return nil
}

// suffix keeps an extender from a Dockerfile that has no effect.
func (f generatedFile) suffix() string {
	if f.Ignored {
		return ".ignore"
	}
	return ""
}

// ignore renames what lies in an output directory already.
func (g *generation) ignore(id string, o generateOutput) error {
	for _, f := range o.files {
		if f.Ignored {
			from := path.Join(id, f.Kind+".Dockerfile")
			if err := g.generated.Rename(from, from+f.suffix()); err != nil {
				return err
			}
		}
	}
	return nil
}

// placeByKind is the layout before Platform API 0.13, which has no contexts.
func (g *generation) placeByKind(o generateOutput) error {
	for _, kind := range []string{DockerfileBuild, DockerfileRun} {
		if err := g.generated.RemoveAll(path.Join(kind, o.d.ID.Dir())); err != nil {
			return err
		}
	}
	for _, f := range o.files {
		dir := path.Join(f.Kind, o.d.ID.Dir())
		for _, d := range []string{f.Kind, dir} {
			if err := g.in.Dirs.ownDir(g.generated, d); err != nil {
				return err
			}
		}
		if err := g.write(path.Join(dir, "Dockerfile"+f.suffix()), f.text); err != nil {
			return err
		}
		if o.config == nil {
			continue
		}
		if err := g.write(path.Join(dir, extendConfig), o.config); err != nil {
			return err
		}
	}
	return nil
}

// write makes a new file below <generated>.
func (g *generation) write(name string, text []byte) error {
	f, err := g.generated.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close(), g.in.Dirs.chown(g.generated, name))
}

// copyContext copies the directory name below from, an extension's own files, to a new directory to below
// <generated>. Links stay links.
func (g *generation) copyContext(from, to, name string) error {
	src, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer src.Close()
	tree, err := fs.Sub(src.FS(), name)
	if err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(g.generated.Name(), filepath.FromSlash(to)), tree); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	return fs.WalkDir(g.generated.FS(), to, func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, g.in.Dirs.chown(g.generated, p))
	})
}
