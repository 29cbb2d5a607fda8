// Package lifecycle is the drop-in lifecycle as it is shipped: from the two static binaries it makes the directory
// with the phases' links and bills of materials, the tarball that other platforms put into builders, and the lifecycle
// image. The same binaries give the same bytes. How the phases work is package builder's business.
package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// DescriptorName is the file that says what a lifecycle is; DirName is the directory beside it with the executables.
const (
	DescriptorName = "lifecycle.toml"
	DirName        = "lifecycle"
)

// A Distribution is one lifecycle for one platform.
type Distribution struct {
	// Version is a semantic version without build metadata: platforms compare it, and make an image tag of it.
	Version string
	// Lifecycle and Launcher are the static binaries.
	Lifecycle, Launcher string
}

// Phases are the names by which the lifecycle binary is called (platform, "Phases"), each a link to it.
func Phases() []string {
	return []string{"analyzer", "builder", "creator", "detector", "exporter", "extender", "rebaser", "restorer"}
}

var versionPattern = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// Check says whether platforms can work with the version.
func (d Distribution) Check() error {
	ok := versionPattern.MatchString(d.Version)
	_, pre, _ := strings.Cut(d.Version, "-")
	for part := range strings.SplitSeq(pre, ".") {
		digits := part != "" && strings.Trim(part, "0123456789") == ""
		ok = ok && (part != "" || pre == "") && !(digits && len(part) > 1 && part[0] == '0')
	}
	if !ok {
		return fmt.Errorf("lifecycle version %q: want MAJOR.MINOR.PATCH with or without -PRERELEASE", d.Version)
	}
	return nil
}

// Descriptor is lifecycle.toml.
func (d Distribution) Descriptor() ([]byte, error) {
	return cnb.EncodeLifecycle(cnb.Lifecycle{
		Version: d.Version, BuildpackAPIs: cnb.BuildpackAPIs(), PlatformAPIs: cnb.PlatformAPIs(),
		SBOMFormats: []string{cnb.MediaTypeCycloneDX, cnb.MediaTypeSPDX, cnb.MediaTypeSyft},
	})
}

// Describe is what labels say of the lifecycle.
func (d Distribution) Describe() cnb.BuilderLifecycle { return cnb.NewBuilderLifecycle(d.Version) }

// A file is one entry of the directory: a link, contents, or a file of this machine.
type file struct {
	name string
	link string
	data []byte
	host string
}

func (f file) executable() bool { return f.host != "" }

// files is everything in the directory, sorted by name.
func (d Distribution) files() ([]file, error) {
	files := []file{{name: "lifecycle", host: d.Lifecycle}, {name: "launcher", host: d.Launcher}}
	for _, p := range Phases() {
		files = append(files, file{name: p, link: "lifecycle"})
	}
	for _, b := range []struct{ name, version, path string }{
		{"lifecycle", d.Version, d.Lifecycle},
		// The launcher is in every app image, and its bill too: neither changes with every commit here.
		{"launcher", "", d.Launcher},
	} {
		sboms, err := readBill(b.name, b.version, b.path)
		if err != nil {
			return nil, err
		}
		files = append(files, sboms...)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// Write makes the directory dir: both executables, the phases' links, the bills of materials. A binary of the
// distribution may lie there already.
func (d Distribution) Write(dir string) error {
	files, err := d.files()
	if err != nil {
		return err
	}
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("write lifecycle: %w", err)
	}
	for _, f := range files {
		if err := f.write(filepath.Join(dir, f.name)); err != nil {
			return fmt.Errorf("write lifecycle: %w", err)
		}
	}
	return nil
}

// write replaces what is at the path in one step.
func (f file) write(at string) error {
	if f.host != "" {
		have, err := os.Stat(at)
		want, err2 := os.Stat(f.host)
		if err == nil && err2 == nil && os.SameFile(have, want) {
			return nil
		}
	}
	tmp := at + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	switch {
	case f.link != "":
		err = os.Symlink(f.link, tmp)
	case f.host != "":
		err = copyFile(tmp, f.host)
	default:
		err = errors.Join(os.WriteFile(tmp, f.data, 0o644), os.Chmod(tmp, 0o644))
	}
	if err == nil {
		err = os.Rename(tmp, at)
	}
	return err
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o755), out.Close())
}

// makeDir makes a directory that is the same under any umask: it goes into images.
func makeDir(dir string) error { return errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)) }

// fileTime is the time of everything that is made here, as in the layers of images (platform, "Build Reproducibility").
func fileTime() time.Time { return time.Date(1980, time.January, 1, 0, 0, 1, 0, time.UTC) }
