package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// distroPart is what a name or version of a distribution may be: it becomes the name of a directory.
var distroPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// parseTarget reads "os/arch[/variant][:distro@version[;...]]", as pack writes targets.
func parseTarget(s string) (cnb.Target, error) {
	text, distros, more := strings.Cut(s, ":")
	p, err := image.ParsePlatform(text)
	if err != nil {
		return cnb.Target{}, fmt.Errorf("target %.100q: want os/arch or os/arch/variant, and :distro@version where it is for one", s)
	}
	t := cnb.Target{OS: p.OS, Arch: p.Architecture, Variant: p.Variant}
	if t.OS != "linux" {
		return t, fmt.Errorf("target %.100q: only linux is built for", s)
	}
	if !more {
		return t, nil
	}
	for d := range strings.SplitSeq(distros, ";") {
		name, version, ok := strings.Cut(d, "@")
		if !ok || !distroPart.MatchString(name) || !distroPart.MatchString(version) {
			return t, fmt.Errorf("target %.100q: want distro@version behind the colon", s)
		}
		t.Distros = append(t.Distros, cnb.Distro{Name: name, Version: version})
	}
	return t, nil
}

// packageTargets are the targets that a package is made for, one a platform: those that were asked for, else those that
// the recipe or the buildpack's own directory names for linux. Without any it is one, of no architecture.
func packageTargets(asked []string, recipe []cnb.Target, own *cnb.Descriptor) ([]cnb.Target, error) {
	var all []cnb.Target
	for _, s := range asked {
		t, err := parseTarget(s)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	named := recipe
	if len(named) == 0 && own != nil {
		named = own.Targets
	}
	if len(all) == 0 {
		for _, t := range named {
			if t.OS == "" || t.OS == "linux" {
				t.OS = "linux"
				all = append(all, t)
			}
		}
	}
	switch {
	case len(all) == 0 && len(named) > 0:
		return nil, fmt.Errorf("its targets are %s: only linux is built for", targetList(named))
	case len(all) == 0:
		return []cnb.Target{{OS: "linux"}}, nil
	}
	return onePerPlatform(all), nil
}

// onePerPlatform joins the distributions of targets of one platform: a platform has one image in an index.
func onePerPlatform(all []cnb.Target) []cnb.Target {
	var out []cnb.Target
	for _, t := range all {
		i := slices.IndexFunc(out, func(o cnb.Target) bool { return o.OS == t.OS && o.Arch == t.Arch && o.Variant == t.Variant })
		if i < 0 {
			out = append(out, t)
			continue
		}
		out[i].Distros = slices.Concat(out[i].Distros, t.Distros)
	}
	return out
}

func targetList(all []cnb.Target) string {
	var names []string
	for _, t := range all {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// platformOf is the platform of a target.
func platformOf(t cnb.Target) v1.Platform {
	return v1.Platform{OS: t.OS, Architecture: t.Arch, Variant: t.Variant}
}

// targetDir finds the directory of a target in a buildpack's directory, in pack's layout: os, arch, variant and
// distro@version, each below the one before and each allowed to be absent. It is the deepest that has a bin/build; dir
// itself where none has. A link is none of them.
func targetDir(dir string, t cnb.Target) (string, error) {
	at, best := dir, dir
	step := func(name string) bool {
		next := filepath.Join(at, name)
		if fi, err := os.Lstat(next); name == "" || err != nil || !fi.IsDir() {
			return false
		}
		at = next
		if _, err := os.Stat(filepath.Join(at, "bin", "build")); err == nil {
			best = at
		}
		return true
	}
	for _, name := range []string{t.OS, t.Arch, t.Variant} {
		if name != "" && !step(name) {
			break
		}
	}
	if at == dir {
		return best, nil
	}
	var distros []string
	for _, d := range t.Distros {
		name := d.Name + "@" + d.Version
		if fi, err := os.Lstat(filepath.Join(at, name)); distroPart.MatchString(d.Name) && distroPart.MatchString(d.Version) && err == nil && fi.IsDir() && !slices.Contains(distros, name) {
			distros = append(distros, name)
		}
	}
	switch len(distros) {
	case 0:
	case 1:
		step(distros[0])
	default:
		return "", fmt.Errorf("%s has directories for %s: an image has one per platform, so choose with --target OS/ARCH:DISTRO@VERSION", t.OS+"/"+t.Arch, strings.Join(distros, " and "))
	}
	return best, nil
}

// readBuildpackFor reads a buildpack's directory for a target and checks that the engine could run it. Dir of what it
// returns may be the target's own directory, which then has no buildpack.toml.
func readBuildpackFor(dir string, t cnb.Target) (builder.BuilderBuildpack, error) {
	var b builder.BuilderBuildpack
	d, toml, err := readDescriptor(dir)
	if err != nil {
		return b, err
	}
	b = builder.BuilderBuildpack{Descriptor: d, Dir: dir}
	if len(d.Order) > 0 {
		return b, nil
	}
	if b.Dir, err = targetDir(dir, t); err != nil {
		return b, err
	}
	err = executable(filepath.Join(b.Dir, "bin", "build"))
	if fi, serr := os.Lstat(filepath.Join(dir, t.OS)); errors.Is(err, errNoBuild) && serr == nil && fi.IsDir() {
		return b, fmt.Errorf("it has neither bin/build nor %s", filepath.Join(t.OS, t.Arch, t.Variant, "bin", "build"))
	}
	if err != nil || b.Dir == dir {
		return b, err
	}
	b.Arch = t.Arch
	_, err = os.Lstat(filepath.Join(b.Dir, "buildpack.toml"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.TOML = toml
		return b, nil
	case err != nil:
		return b, err
	}
	own, _, err := readDescriptor(b.Dir)
	if err == nil && own.Ref != d.Ref {
		err = fmt.Errorf("the buildpack.toml in %s is of %s, not of %s", b.Dir, own.Ref, d.Ref)
	}
	b.Descriptor = own
	return b, err
}

// madeFor says whether a buildpack that is to be packaged for a platform says that it runs there. Distributions are
// left to detection.
func madeFor(d *cnb.Descriptor, t cnb.Target) error {
	if len(d.Targets) == 0 || len(d.Order) > 0 || t.Arch == "" {
		return nil
	}
	for _, own := range d.Targets {
		own.Distros = nil
		if own.Satisfies(cnb.Target{OS: t.OS, Arch: t.Arch, Variant: t.Variant}) {
			return nil
		}
	}
	return fmt.Errorf("it is made for %s, not for %s", targetList(d.Targets), t)
}
