package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
)

// readHello gathers what the platform needs to know of a builder image. What cannot be read is left out with a warning:
// whether it matters is for those who need it to say.
func readHello(root string, env []string) Hello {
	h := helloReader{root: root, left: maxAllTOML}
	h.UID, h.GID = os.Getuid(), os.Getgid()
	h.Env = env[:min(len(env), maxEnv)]
	if len(env) > maxEnv {
		h.warn("the builder image sets %d environment variables, those after the first %d are left out", len(env), maxEnv)
	}
	h.OSRelease = h.read("/etc/os-release", maxOSRelease)
	h.Files = map[string][]byte{}
	for _, name := range cnbFiles {
		if b := h.read(path.Join("/cnb", name), maxTOML); b != nil {
			h.Files[path.Base(name)] = b
		}
	}
	h.configEnv()
	h.buildpacks("/cnb/buildpacks")
	return h.Hello
}

// configEnv reads the operator's variables, one file each. What is not a plain file is left out with a warning.
func (h *helloReader) configEnv() {
	dir := path.Join("/cnb", configEnvDir)
	f, err := os.Open(filepath.Join(h.root, dir))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.warn("read %s: %v", dir, err)
		}
		return
	}
	defer f.Close()
	names, err := f.Readdirnames(maxEnvFiles + 1)
	if err != nil && err != io.EOF {
		h.warn("read %s: %v", dir, err)
		return
	}
	if len(names) > maxEnvFiles {
		h.warn("%s has more than %d files, the rest is left out", dir, maxEnvFiles)
		names = names[:maxEnvFiles]
	}
	slices.Sort(names)
	left := maxConfigEnv
	for _, name := range names {
		b := h.read(path.Join(dir, name), maxEnvValue)
		if left -= len(b); left < 0 {
			h.warn("%s is larger than %d bytes, the rest from %s on is left out", dir, maxConfigEnv, name)
			return
		}
		if b != nil {
			h.Files[path.Join(configEnvDir, name)] = b
		}
	}
}

type helloReader struct {
	Hello
	root string
	left int // bytes of descriptors that still fit
}

func (h *helloReader) warn(format string, args ...any) {
	if len(h.Warnings) < 100 {
		h.Warnings = append(h.Warnings, fmt.Sprintf(format, args...))
	}
}

// buildpacks reads <dir>/<id>/<version>/buildpack.toml of every id and version (platform, "Buildpacks Directory Layout").
func (h *helloReader) buildpacks(dir string) {
	for _, id := range h.names(dir) {
		for _, version := range h.names(path.Join(dir, id)) {
			bp := path.Join(dir, id, version)
			if len(h.Buildpacks) == maxBuildpacks {
				h.warn("%s: only the first %d buildpacks are used", dir, maxBuildpacks)
				return
			}
			b := h.read(path.Join(bp, "buildpack.toml"), maxTOML)
			if b == nil {
				continue
			}
			if h.left -= len(b); h.left < 0 {
				h.warn("%s: the descriptors of all buildpacks are larger than %d bytes, those from this one on are left out", bp, maxAllTOML)
				return
			}
			build := h.has(bp, "build")
			h.Buildpacks = append(h.Buildpacks, BuildpackFile{
				Path: bp, TOML: b, HasDetect: h.has(bp, "detect"), HasBuild: build,
				Windows: !build && (h.has(bp, "build.bat") || h.has(bp, "build.exe")),
			})
		}
	}
}

func (h *helloReader) has(bp, name string) bool {
	fi, err := os.Stat(filepath.Join(h.root, bp, "bin", name))
	return err == nil && !fi.IsDir()
}

// names lists the directories (and links) in dir, sorted.
func (h *helloReader) names(dir string) []string {
	f, err := os.Open(filepath.Join(h.root, dir))
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, err := f.ReadDir(maxBuildpacks)
	if err != nil && err != io.EOF {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// read gives a regular file of at most limit bytes; nil where there is none. A link is followed: there is nothing in
// this container that its own image's author could not read.
func (h *helloReader) read(name string, limit int) []byte {
	f, err := os.OpenFile(filepath.Join(h.root, name), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.warn("read %s: %v", name, err)
		}
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		h.warn("read %s: %v", name, err)
		return nil
	case !fi.Mode().IsRegular():
		h.warn("read %s: it is not a regular file", name)
		return nil
	case fi.Size() > int64(limit):
		h.warn("read %s: it is larger than %d bytes", name, limit)
		return nil
	}
	b := make([]byte, 0, fi.Size()+1)
	for len(b) <= limit {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b
		}
		if err != nil {
			h.warn("read %s: %v", name, err)
			return nil
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
	h.warn("read %s: it is larger than %d bytes", name, limit)
	return nil
}
