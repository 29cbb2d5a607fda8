package builder

import (
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/builder/cnb"
)

// Limits of what all buildpacks together may put into an image's configuration, because registries limit it.
const (
	maxProcesses  = 128
	maxLabels     = 128
	maxLabelBytes = 32 << 10
	maxSlices     = 128
)

// merge adds what one buildpack left to the result.
func (b *buildRun) merge(d *cnb.Descriptor, out buildOutput) error {
	var lost cnb.ProcessType // was the default until now
	for _, p := range out.launch.Processes {
		p.BuildpackID, p.API = d.ID, d.API
		if p.WorkingDir != "" && !d.API.AtLeast(0, 8) {
			b.warn(d, "process %s: working-dir is for Buildpack API 0.8 and newer, it is ignored", p.Type)
			p.WorkingDir = ""
		}
		switch isDefault := p.Default; {
		case b.processes.add(p):
			lost = p.Type
		case isDefault:
			lost = ""
		}
	}
	if lost != "" {
		b.warn(d, "process %s was the default process and is redefined without default = true: there is no default process now", lost)
	}
	md := &b.built.Metadata
	md.Labels = append(md.Labels, out.launch.Labels...)
	md.Slices = append(md.Slices, out.launch.Slices...)
	by := cnb.GroupElement{Ref: d.Ref}
	for _, e := range out.launch.BOM {
		e.Buildpack = by
		md.BOM = append(md.BOM, e)
	}
	for _, e := range out.build.BOM {
		e.Buildpack = by
		b.built.BuildBOM = append(b.built.BuildBOM, e)
	}
	el := cnb.GroupElement{Ref: d.Ref, API: d.API, Homepage: d.Homepage, ClearEnv: d.ClearEnv}
	md.Buildpacks = append(md.Buildpacks, el)
	b.built.Buildpacks = append(b.built.Buildpacks, BuiltBuildpack{GroupElement: el, Layers: out.layers, Store: out.store})
	b.built.SBOMs = append(b.built.SBOMs, out.sboms...)
	if err := b.withinLimits(); err != nil {
		return b.outputError(d, "launch.toml", err)
	}
	return nil
}

func (b *buildRun) warn(d *cnb.Descriptor, format string, args ...any) {
	b.emit(Event{Kind: EventWarning, Buildpack: d.Ref, Text: fmt.Sprintf(format, args...)})
}

func (b *buildRun) withinLimits() error {
	md := b.built.Metadata
	labels := map[string]string{}
	for _, l := range md.Labels {
		labels[l.Key] = l.Value
	}
	bytes := 0
	for k, v := range labels {
		bytes += len(k) + len(v)
	}
	switch {
	case len(b.processes.byType) > maxProcesses:
		return fmt.Errorf("the image would have more than %d processes", maxProcesses)
	case len(labels) > maxLabels:
		return fmt.Errorf("the image would have more than %d labels of buildpacks", maxLabels)
	case bytes > maxLabelBytes:
		return fmt.Errorf("the labels of buildpacks would have more than %d bytes", maxLabelBytes)
	case len(md.Slices) > maxSlices:
		return fmt.Errorf("the image would have more than %d slices", maxSlices)
	}
	return nil
}

// result completes the metadata.
func (b *buildRun) result() *Built {
	built := b.built
	built.Metadata.Processes = b.processes.list()
	built.Metadata.BuildpackDefaultType = b.processes.defaultType
	for _, el := range b.in.Group.Elements {
		if el.Extension {
			el.Extension, el.Optional = false, false
			built.Metadata.Extensions = append(built.Metadata.Extensions, el)
		}
	}
	return &built
}

// processes joins the processes of all buildpacks: the last of a type counts (buildpack, "launch.toml").
type processes struct {
	byType      map[cnb.ProcessType]cnb.Process
	defaultType cnb.ProcessType
}

// add reports whether the process takes the place of the default process without being one.
func (ps *processes) add(p cnb.Process) (lostDefault bool) {
	switch {
	case p.Default:
		ps.defaultType = p.Type
	case p.Type == ps.defaultType:
		ps.defaultType, lostDefault = "", true
	}
	p.Default = false // the image's default is said once, in metadata.toml
	ps.byType[p.Type] = p
	return lostDefault
}

// list is sorted by type. It is empty rather than nil, which is something else in metadata.toml.
func (ps *processes) list() []cnb.Process {
	out := []cnb.Process{}
	for _, t := range slices.Sorted(maps.Keys(ps.byType)) {
		out = append(out, ps.byType[t])
	}
	return out
}
