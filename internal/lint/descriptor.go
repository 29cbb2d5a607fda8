package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"

	"github.com/slipway-build/slipway/builder/cnb"
)

// architectures are those that images of Linux and Windows are made for, by the names of Go, which OCI takes.
func architectures() []string {
	return []string{"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"}
}

// buildpack looks at a descriptor and at the files that it stands for.
func (t *text) buildpack(d *cnb.Descriptor) {
	t.module(d, "buildpack")
	switch {
	case len(d.Order) > 0:
		t.composite(d)
		return
	case d.API.AtLeast(0, 10) && len(d.Targets) == 0 && len(d.Stacks) > 0:
		t.add(t.name, t.line("stacks", 0), "stacks", Warning, "Buildpack API 0.10 and newer have targets in the place of stacks",
			"write [[targets]] with os, arch and, where it depends on it, [[targets.distros]]")
	case d.API.AtLeast(0, 10) && len(d.Targets) == 0:
		t.add(t.name, 0, "targets", Warning, "it does not say what it runs on", "write [[targets]] with os and arch for each")
	}
	t.executables(d)
}

func (t *text) extension(d *cnb.Descriptor) {
	t.module(d, "extension")
	t.executables(d)
}

// module looks at what buildpacks and extensions have in common.
func (t *text) module(d *cnb.Descriptor, table string) {
	if !d.API.Within(cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI) {
		t.add(t.name, t.line("api", 0), "api", Error, fmt.Sprintf("Buildpack API %s is not spoken", d.API),
			fmt.Sprintf("write a version from %s to %s", cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI))
	} else if !d.API.AtLeast(0, 9) {
		t.add(t.name, t.line("api", 0), "api", Warning, fmt.Sprintf("Buildpack API %s is deprecated", d.API),
			"write 0.10 or newer; since 0.9 processes are started without a shell")
	}
	if !strings.Contains(string(d.ID), "/") {
		t.add(t.name, t.line(table+".id", 0), "id", Warning, quote(string(d.ID))+" has no namespace, and cannot be in an index", "write NAMESPACE/NAME")
	}
	if !cnb.IsStrictVersion(d.Version) {
		t.add(t.name, t.line(table+".version", 0), "version", Warning, quote(d.Version)+" is not X.Y.Z", "write three numbers without leading zeros")
	}
	for _, f := range []struct{ key, value string }{{"name", d.Name}, {"description", d.Description}, {"homepage", d.Homepage}} {
		if f.value == "" {
			t.add(t.name, t.line(table, 0), "described", Warning, "it has no "+f.key, "write "+f.key+" in ["+table+"]")
		}
	}
	t.licences(d, table)
	t.targets(d.Targets)
}

// licences wants the SPDX names of what the buildpack may be used under, or expressions of them.
func (t *text) licences(d *cnb.Descriptor, table string) {
	if len(d.Licenses) == 0 {
		t.add(t.name, t.line(table, 0), "licence", Warning, "it names no licence", "write [["+table+".licenses]] with type, an SPDX identifier such as Apache-2.0")
	}
	named := -1
	for i, l := range d.Licenses {
		if l.Type == "" && l.URI == "" {
			t.add(t.name, t.line(table+".licenses", i), "licence", Warning, "a licence has neither type nor uri", "write type, an SPDX identifier")
		}
		if l.Type == "" {
			continue
		}
		named++
		if ok, _ := spdxexp.ValidateLicenses([]string{l.Type}); !ok || len(l.Type) > 200 {
			t.add(t.name, t.line(table+".licenses.type", named), "licence", Warning, quote(l.Type)+" is no SPDX identifier",
				"write one of https://spdx.org/licenses, or uri where it is none of them")
		}
	}
}

func (t *text) targets(all []cnb.Target) {
	var os, arch, distro int
	seen := map[string]bool{}
	for i, g := range all {
		if g.OS != "" && g.OS != "linux" && g.OS != "windows" {
			t.add(t.name, t.line("targets.os", os), "target", Error, quote(g.OS)+" is no system that images are for", "write linux")
		}
		if g.Arch != "" && !slices.Contains(architectures(), g.Arch) {
			t.add(t.name, t.line("targets.arch", arch), "target", Error, quote(g.Arch)+" is no architecture", "write one of "+strings.Join(architectures(), ", "))
		}
		if g.OS != "" {
			os++
		}
		if g.Arch != "" {
			arch++
		}
		if name := fmt.Sprintf("%+v", g); seen[name] {
			t.add(t.name, t.line("targets", i), "target", Warning, "the same target stands above", "take one of them out")
		} else {
			seen[name] = true
		}
		for _, d := range g.Distros {
			if d.Name == "" {
				t.add(t.name, t.line("targets.distros", distro), "target", Warning, "a distribution has no name", "write name, as ID of /etc/os-release has it")
			}
			distro++
		}
	}
}

// composite looks at a buildpack that is an order of others.
func (t *text) composite(d *cnb.Descriptor) {
	if len(d.Stacks) > 0 || len(d.Targets) > 0 {
		at := max(t.line("stacks", 0), t.line("targets", 0))
		t.add(t.name, at, "composite", Warning, "a composite buildpack runs where those of its order do", "take [[targets]] and [[stacks]] out")
	}
	for _, name := range []string{"bin/detect", "bin/build"} {
		if _, err := t.root.Lstat(name); err == nil {
			t.add(name, 0, "composite", Warning, "nothing runs it: the buildpack is an order of others", "remove it, or take [[order]] out of "+t.name)
		}
	}
	t.order(d.Order, true)
	var n int
	for _, g := range d.Order {
		for _, e := range g.Elements {
			if e.ID == d.ID && (e.Version == "" || e.Version == d.Version) {
				t.add(t.name, t.line("order.group.id", n), "order", Error, "the buildpack is in its own order", "take it out")
			}
			n++
		}
	}
}

// order looks at the groups of an order. Where versions are wanted, an element without one is told of.
func (t *text) order(o cnb.Order, versions bool) {
	var groups []string
	n := 0 // elements before
	for i, g := range o {
		if len(g.Elements) == 0 {
			t.add(t.name, t.line("order", i), "order", Error, "a group has no buildpacks", "write [[order.group]] with id and version below it")
		}
		seen, needed, name := map[cnb.ID]bool{}, false, ""
		for _, e := range g.Elements {
			at := t.line("order.group.id", n)
			n++
			if seen[e.ID] {
				t.add(t.name, at, "order", Error, quote(string(e.ID))+" stands in the group twice", "take one of them out")
			}
			seen[e.ID] = true
			if versions && e.Version == "" {
				t.add(t.name, at, "order", Warning, quote(string(e.ID))+" has no version", "write version, so that a package of it is always of the same")
			}
			needed = needed || !e.Optional
			name += fmt.Sprintf("%s %t,", e.Ref, e.Optional)
		}
		if len(g.Elements) > 0 && !needed {
			t.add(t.name, t.line("order", i), "order", Warning, "all buildpacks of a group are optional", "take optional from the one without which the group is for nothing")
		}
		if slices.Contains(groups, name) {
			t.add(t.name, t.line("order", i), "order", Warning, "the same group stands above, and is tried first", "take it out")
		}
		groups = append(groups, name)
	}
}
