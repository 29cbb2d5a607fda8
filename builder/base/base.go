// Package base makes the default base images from Debian packages: the build image, in which buildpacks run,
// and the run image, on which apps stand. It needs a Debian mirror and mmdebstrap (or, as root, debootstrap),
// and no image registry.
//
// The same recipe and the same packages in the mirror give the same image, byte for byte. What differs between
// two bootstraps (times, caches, logs, machine ids, lock files) is not in the image, nor is anything of the machine
// that made it: no proxy, no credential, no name.
//
// Users are those of the common CNB base images, so that images can be mixed: group cnb is 1000 on both sides,
// user cnb is 1001 in the build image and 1002 in the run image. They differ because the spec wants an app
// unable to write what was built (platform, "Run Image"), and share the group so that it can read it.
package base

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A Kind is which of the two base images is meant.
type Kind string

// The two base images.
const (
	Build Kind = "build"
	Run   Kind = "run"
)

// Defaults of Options.
const (
	DefaultSuite          = "trixie"
	DefaultMirror         = "http://deb.debian.org/debian"
	DefaultSecurityMirror = "http://deb.debian.org/debian-security"
)

// Ids of the user that buildpacks (BuildUID) or apps (RunUID) run as, and their common group.
const (
	BuildUID = 1001
	RunUID   = 1002
	GID      = 1000
)

// Options say what to make, and how. The zero value of each field but Kind is its default.
type Options struct {
	Kind     Kind
	Suite    string   // of Debian, default trixie
	Mirror   string   // of the Debian archive; packages are signed, so plain http is the custom
	Security string   // mirror of the security archive; "none" leaves it out
	Arch     string   // Debian's or Go's name, default this machine's; another one needs qemu-user's binfmt
	Packages []string // on top of the essential packages, default Packages(Kind)

	Created time.Time // date of the image; default that of the newest change in its packages

	// Env is the environment to take PATH, HOME, TMPDIR and proxy variables from; nothing else of it is used.
	Env []string
	// CAFile is a bundle of PEM certificates that apt trusts for an https mirror, default the system's.
	CAFile string
	// Progress receives the output of the tools, line by line; may be nil.
	Progress io.Writer
}

// Make bootstraps the image into dir, an OCI layout of its own that is replaced as a whole when the new image is
// complete. The layers of the image it returns read from dir. On cancel the tools are stopped and clean up.
func Make(ctx context.Context, dir string, o Options) (img v1.Image, err error) {
	o, err = o.complete()
	if err != nil {
		return nil, err
	}
	if err := replaceable(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil {
		return nil, fmt.Errorf("make %s image: %w", o.Kind, err)
	}
	stage, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), "."+filepath.Base(dir)+"-")
	if err != nil {
		return nil, fmt.Errorf("make %s image: %w", o.Kind, err)
	}
	defer os.RemoveAll(stage)

	layer, tree, err := o.layer(ctx, stage)
	if err != nil {
		return nil, fmt.Errorf("make %s image from Debian %s: %w", o.Kind, o.Suite, err)
	}
	if err := writeLayout(stage, o, tree, layer); err != nil {
		return nil, fmt.Errorf("make %s image: %w", o.Kind, err)
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return nil, fmt.Errorf("make %s image: %w", o.Kind, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("replace %s: %w", dir, err)
	}
	if err := os.Rename(stage, dir); err != nil {
		return nil, fmt.Errorf("replace %s: %w", dir, err)
	}
	return readLayout(dir)
}

// layer runs the bootstrap and turns what it writes into the layer's blob, in one pass.
func (o Options) layer(ctx context.Context, stage string) (*blob, *tree, error) {
	tool, err := findTool(o)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := tool.bootstrap(ctx, o, pw)
		pw.CloseWithError(err)
		done <- err
	}()

	w, err := newBlobWriter(stage)
	if err != nil {
		return nil, nil, err
	}
	t := newTree(o)
	err = t.copy(w, pr)
	pr.CloseWithError(err)
	if err != nil {
		cancel(err)
	}
	if toolErr := <-done; toolErr != nil && (err == nil || errors.Is(err, toolErr)) {
		err = toolErr // a tree cut short is only the consequence
	}
	if err != nil {
		w.abort()
		return nil, nil, err
	}
	b, err := w.finish()
	return b, t, err
}

// complete fills in the defaults and refuses what could not be meant.
func (o Options) complete() (Options, error) {
	if o.Kind != Build && o.Kind != Run {
		return o, fmt.Errorf("make base image: kind %q is neither %q nor %q", o.Kind, Build, Run)
	}
	if o.Suite == "" {
		o.Suite = DefaultSuite
	}
	if o.Mirror == "" {
		o.Mirror = DefaultMirror
	}
	if o.Security == "" {
		o.Security = securityOf(o.Mirror)
	}
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	o.Arch = debianArch(o.Arch)
	if o.Packages == nil {
		o.Packages = Packages(o.Kind)
	}
	for what, s := range map[string]string{"suite": o.Suite, "architecture": o.Arch} {
		if !plainWord(s) {
			return o, fmt.Errorf("make %s image: %s %q: want lower-case letters, digits, and - . inside", o.Kind, what, s)
		}
	}
	for _, p := range o.Packages {
		if err := checkPackage(p); err != nil {
			return o, fmt.Errorf("make %s image: %w", o.Kind, err)
		}
	}
	for _, m := range []string{o.Mirror, o.Security} {
		if err := checkMirror(m); err != nil {
			return o, fmt.Errorf("make %s image: %w", o.Kind, err)
		}
	}
	return o, nil
}

// user is the user of the image.
func (o Options) user() (uid, gid int) {
	if o.Kind == Build {
		return BuildUID, GID
	}
	return RunUID, GID
}

// id is the target ID, which serves as the legacy stack ID too (platform, "Target Data": reverse domain notation).
func (o Options) id() string { return "io.github.slipway-build." + o.Suite }

// env returns the value of a variable in Options.Env, the last one where there are several.
func (o Options) env(name string) string {
	value := ""
	for _, kv := range o.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}
