package main

import (
	"bytes"
	"cmp"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// build unpacks the packages into one layer for build and launch. A second layer keeps apt's lists and the
// downloaded packages from build to build.
func build(ctx context.Context, c libcnb.BuildContext, w parcel.Work, s system) (libcnb.BuildResult, error) {
	list, from, err := wanted(c.ApplicationPath)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	packages, err := c.Layers.Layer("packages")
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	cache, err := c.Layers.Layer("apt")
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	arch := c.TargetInfo.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	sources, err := sourcesKey(s.etc)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	key := parcel.KeyOf("deb-packages 1", strings.Join(slices.Sorted(slices.Values(list)), "\n"), c.TargetDistro.Name, c.TargetDistro.Version, arch, sources)
	refresh, err := w.Env.Flag("BP_DEB_REFRESH")
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	if parcel.Fresh(packages, key) && !refresh {
		w.Sayf("Debian packages of %s: reused, the list has not changed (BP_DEB_REFRESH=true takes new versions)", from)
	} else {
		a := apt{system: s, w: w, state: cache.Path, arch: arch}
		if packages, err = install(ctx, a, c, packages, list, from); err != nil {
			return libcnb.BuildResult{}, err
		}
		parcel.Note(&packages, key, nil)
	}
	packages.LayerTypes = libcnb.LayerTypes{Build: true, Launch: true, Cache: true}
	if err := environment(&packages); err != nil {
		return libcnb.BuildResult{}, err
	}
	cache.LayerTypes = libcnb.LayerTypes{Cache: true}
	if err := os.MkdirAll(cache.Path, 0o755); err != nil {
		return libcnb.BuildResult{}, err
	}
	result := libcnb.NewBuildResult()
	result.Layers = []libcnb.Layer{packages, cache}
	return result, nil
}

// sourcesKey is the text of apt's sources: another mirror or release makes other packages.
func sourcesKey(etc string) (string, error) {
	names := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		if err != nil {
			return "", err
		}
		names = append(names, more...)
	}
	var parts []string
	for _, n := range names {
		text, err := parcel.FileKey(n, 1<<20)
		if err != nil {
			return "", err
		}
		parts = append(parts, text)
	}
	return parcel.KeyOf(parts...), nil
}

func install(ctx context.Context, a apt, c libcnb.BuildContext, layer libcnb.Layer, list []string, from string) (libcnb.Layer, error) {
	a.w.Sayf("Debian packages of %s: %s", from, strings.Join(list, " "))
	if err := a.prepare(); err != nil {
		return layer, err
	}
	if err := a.update(ctx); err != nil {
		return layer, err
	}
	debs, err := a.resolve(ctx, list)
	if err != nil {
		return layer, err
	}
	local, err := a.download(ctx, list)
	if err != nil {
		return layer, err
	}
	if layer, err = layer.Reset(); err != nil {
		return layer, err
	}
	var parts []parcel.Component
	for _, d := range debs {
		if slices.Contains(list, d.name) || len(debs) <= 2*len(list)+10 {
			a.w.Sayf("  %s %s", d.name, d.version)
		}
		file := cmp.Or(local[d.file()], filepath.Join(a.state, "archives", d.file()))
		unpack := parcel.Command{Path: filepath.Join(a.bin, "dpkg-deb"), Args: []string{"--extract", file, layer.Path}, Dir: layer.Path, Env: a.w.Env}
		if _, err := unpack.Run(ctx); err != nil {
			return layer, parcel.Ours("try again", "could not unpack the package %s: %w", d.name, err)
		}
		if err := a.alternatives(ctx, file, layer.Path); err != nil {
			return layer, err
		}
		distro := c.TargetDistro.Name
		if distro == "" {
			distro = "debian"
		}
		parts = append(parts, parcel.Component{Name: d.name, Version: d.version,
			PURL: "pkg:deb/" + distro + "/" + d.name + "@" + strings.NewReplacer("+", "%2B", ":", "%3A", "~", "~").Replace(d.version) + "?arch=" + d.arch})
	}
	switch {
	case len(debs) == 0:
		a.w.Sayf("  every base image has them already")
	case len(debs) > 2*len(list)+10:
		a.w.Sayf("  and what they depend on, %d packages in all", len(debs))
	}
	if err := relocate(layer.Path); err != nil {
		return layer, err
	}
	if err := dropOld(filepath.Join(a.state, "archives"), debs); err != nil {
		return layer, err
	}
	return layer, parcel.WriteSBOM(layer.SBOMPath(libcnb.CycloneDXJSON), c.Buildpack, parts)
}

// dropOld removes downloaded packages that this build no longer uses.
func dropOld(dir string, debs []deb) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".deb") && !slices.ContainsFunc(debs, func(d deb) bool { return d.file() == e.Name() }) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// relocate makes what was built for / work below dir: absolute links to files of the packages become
// relative ones, pkg-config files name the new prefix, and permissions let everyone read.
func relocate(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.Type() == fs.ModeSymlink:
			return relink(dir, name)
		case d.IsDir():
			return os.Chmod(name, 0o755)
		case d.Type().IsRegular() && filepath.Ext(name) == ".pc" && filepath.Base(filepath.Dir(name)) == "pkgconfig":
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return os.WriteFile(name, bytes.ReplaceAll(b, []byte("prefix=/usr\n"), []byte("prefix="+dir+"/usr\n")), 0o644)
		}
		return nil
	})
}

func relink(dir, name string) error {
	target, err := os.Readlink(name)
	if err != nil || !filepath.IsAbs(target) {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, target)); err != nil {
		return nil // leads to the base image
	}
	rel, err := filepath.Rel(filepath.Dir(name), filepath.Join(dir, target))
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.Symlink(rel, name)
}

// environment points programs, the dynamic linker, the compiler and pkg-config at the layer.
func environment(l *libcnb.Layer) error {
	below := func(patterns ...string) (list []string, err error) {
		for _, p := range patterns {
			found, err := filepath.Glob(filepath.Join(l.Path, p))
			if err != nil {
				return nil, err
			}
			for _, f := range found {
				if info, err := os.Stat(f); err == nil && info.IsDir() && !slices.Contains(list, f) {
					list = append(list, f)
				}
			}
		}
		return list, nil
	}
	libs, err := below("usr/lib/*-linux-*", "usr/lib", "lib/*-linux-*", "lib")
	if err != nil {
		return err
	}
	private, err := filepath.Glob(filepath.Join(l.Path, "usr/lib/*-linux-*/*/lib*.so.[0-9]*"))
	if err != nil {
		return err
	}
	for _, f := range private { // alternatives such as blas/libblas.so.3
		if d := filepath.Dir(f); !slices.Contains(libs, d) {
			libs = append(libs, d)
		}
	}
	for _, e := range []struct {
		env      libcnb.Environment
		name     string
		patterns []string
		dirs     []string
	}{
		{l.SharedEnvironment, "PATH", []string{"usr/bin", "usr/sbin", "bin", "sbin", "usr/games"}, nil},
		{l.SharedEnvironment, "LD_LIBRARY_PATH", nil, libs},
		{l.BuildEnvironment, "LIBRARY_PATH", nil, libs},
		{l.BuildEnvironment, "PKG_CONFIG_PATH", []string{"usr/lib/*-linux-*/pkgconfig", "usr/lib/pkgconfig", "usr/share/pkgconfig"}, nil},
		{l.BuildEnvironment, "CPATH", []string{"usr/include/*-linux-*", "usr/include"}, nil},
	} {
		dirs := e.dirs
		if e.patterns != nil {
			if dirs, err = below(e.patterns...); err != nil {
				return err
			}
		}
		if len(dirs) > 0 {
			e.env.Prepend(e.name, ":", strings.Join(dirs, ":"))
		}
	}
	return nil
}
