package cnb

import (
	"fmt"
	"strings"
)

// Satisfies tells whether something made for target t runs on image, whose Distros holds at most one
// (buildpack, "Targets"). What either side leaves open matches; a distribution that t names must be known.
func (t Target) Satisfies(image Target) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	if !same(t.OS, image.OS) || !same(t.Arch, image.Arch) || !same(t.Variant, image.Variant) {
		return false
	}
	if len(t.Distros) == 0 {
		return true
	}
	for _, d := range t.Distros {
		for _, i := range image.Distros {
			if same(d.Name, i.Name) && same(d.Version, i.Version) {
				return true
			}
		}
	}
	return false
}

// String is "os/arch/variant (distro version, ...)" with what is open left out.
func (t Target) String() string {
	var parts []string
	for _, p := range []string{t.OS, t.Arch, t.Variant} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	s := strings.Join(parts, "/")
	if s == "" {
		s = "any"
	}
	var ds []string
	for _, d := range t.Distros {
		ds = append(ds, strings.TrimSpace(d.Name+" "+d.Version))
	}
	if len(ds) > 0 {
		s += " (" + strings.Join(ds, ", ") + ")"
	}
	return s
}

// Bionic is the stack that the spec translates to a target.
const bionic = "io.buildpacks.stacks.bionic"

// EffectiveTargets are the targets of a buildpack after the legacy stacks are translated and an absent list
// is filled in (buildpack, "Targets" and "Deprecations"). A composite buildpack may have none.
func (d *Descriptor) EffectiveTargets() []Target {
	if len(d.Targets) > 0 {
		return d.Targets
	}
	if d.Extension && !d.HasDetect && !d.HasGenerate {
		return []Target{{}} // nothing of it runs
	}
	var out []Target
	for _, s := range d.Stacks {
		switch {
		case s.ID == "*":
			out = append(out, Target{})
		case s.ID == bionic && (d.API.AtLeast(0, 10) || len(d.Stacks) == 1):
			out = append(out, Target{OS: "linux", Arch: "amd64", Distros: []Distro{{"ubuntu", "18.04"}}})
		}
	}
	switch {
	case len(out) > 0 || len(d.Order) > 0:
		return out
	case d.Windows:
		return []Target{{OS: "windows"}}
	}
	return []Target{{OS: "linux"}}
}

// Supports tells whether the buildpack runs on a run image with this target and (legacy) stack id; if not,
// why says so in a few words.
func (d *Descriptor) Supports(image Target, stackID string) (ok bool, why string) {
	for _, s := range d.Stacks {
		if stackID != "" && s.ID == stackID {
			return true, ""
		}
	}
	targets := d.EffectiveTargets()
	if len(targets) == 0 {
		return true, ""
	}
	var names []string
	for _, t := range targets {
		if t.Satisfies(image) {
			return true, ""
		}
		names = append(names, t.String())
	}
	return false, fmt.Sprintf("it is made for %s, the run image is %s", strings.Join(names, ", "), image)
}
