package cnb

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// EncodeMetadata writes metadata.toml for an image made under the given Platform API, byte for byte as the
// reference lifecycle does (platform, "metadata.toml"): before 0.10 a process has one command and what
// follows it goes to its args, and the bill of materials is written before 0.9 only.
func EncodeMetadata(m Metadata, platformAPI API) ([]byte, error) {
	var procs []object
	if m.Processes != nil || len(m.Buildpacks) > 0 {
		procs = []object{} // "processes = []" says that there are none
	}
	for _, p := range m.Processes {
		p = p.forPlatform(platformAPI)
		procs = append(procs, object{
			{"type", string(p.Type)},
			{"command", commandText(p.Command, platformAPI)},
			{"args", p.Args},
			{"direct", p.Direct},
			{"default", unlessFalse(p.Default)},
			{"buildpack-id", string(p.BuildpackID)},
			{"working-dir", unlessEmpty(p.WorkingDir)},
			{"exec-env", unlessNone(p.ExecEnv)},
		})
	}
	var labels, slices []object
	for _, l := range m.Labels {
		labels = append(labels, object{{"key", l.Key}, {"value", l.Value}})
	}
	for _, s := range m.Slices {
		slices = append(slices, object{{"paths", s.Paths}})
	}
	var bom []object
	if !platformAPI.AtLeast(0, 9) {
		bom = bomObjects(m.BOM)
	}
	return encode(object{
		{"bom", bom},
		{"buildpacks", elementObjects(m.Buildpacks)},
		{"extensions", elementObjects(m.Extensions)},
		{"labels", labels},
		{"processes", procs},
		{"slices", slices},
		{"buildpack-default-process-type", unlessEmpty(m.BuildpackDefaultType)},
	})
}

// forPlatform is the process as images of the given Platform API know it.
func (p Process) forPlatform(api API) Process {
	if !api.AtLeast(0, 10) && len(p.Command) > 0 {
		p.Args = append(slices.Clone(p.Command[1:]), p.Args...)
		if p.Args == nil {
			p.Args = []string{}
		}
		p.Command = p.Command[:1]
	}
	return p
}

// commandText is a process's command: an array of strings, or one string before Platform API 0.10. Its
// strings are escaped as in JSON, which TOML reads as well.
func commandText(command []string, api API) raw {
	if !api.AtLeast(0, 10) {
		if len(command) == 0 {
			return `""`
		}
		return raw(jsonString(command[0]))
	}
	var s strings.Builder
	s.WriteString("[")
	for i, c := range command {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(jsonString(c))
	}
	return raw(s.String() + "]")
}

func bomObjects(entries []BOMEntry) []object {
	var out []object
	for _, e := range entries {
		o := requireObject(e.Require)
		out = append(out, append(o, pair{"buildpack", elementObject(e.Buildpack)}))
	}
	return out
}

func requireObject(r Require) object {
	return object{{"name", r.Name}, {"version", unlessEmpty(r.Version)}, {"metadata", map[string]any(r.Metadata)}}
}

func elementObjects(es []GroupElement) []object {
	var out []object
	for _, e := range es {
		out = append(out, elementObject(e))
	}
	return out
}

func elementObject(e GroupElement) object {
	return object{
		{"id", string(e.ID)}, {"version", e.Version}, {"api", unlessEmpty(e.API.String())},
		{"homepage", unlessEmpty(e.Homepage)}, {"extension", unlessFalse(e.Extension)}, {"optional", unlessFalse(e.Optional)},
	}
}

// EncodeGroup writes group.toml (platform, "group.toml"). Extensions are always optional and in a list of
// their own, so neither is repeated in them.
func EncodeGroup(g Group) ([]byte, error) {
	group, exts := []object{}, []object(nil)
	for _, e := range g.Elements {
		if e.Extension {
			e.Extension, e.Optional = false, false
			exts = append(exts, elementObject(e))
		} else {
			group = append(group, elementObject(e))
		}
	}
	return encode(object{{"group", group}, {"group-extensions", exts}})
}

// EncodeOrder writes order.toml; extensions may be empty.
func EncodeOrder(o, extensions Order) ([]byte, error) {
	groups := func(o Order) []object {
		var out []object
		for _, g := range o {
			es := []object{}
			for _, e := range g.Elements {
				e.Extension = false
				es = append(es, append(elementObject(e), pair{"exec-env", unlessNone(e.ExecEnv)}))
			}
			out = append(out, object{{"group", es}})
		}
		return out
	}
	return encode(object{{"order", groups(o)}, {"order-extensions", groups(extensions)}})
}

// EncodeSystem writes system.toml.
func EncodeSystem(s System) ([]byte, error) {
	var ends object
	for _, e := range []struct {
		name string
		es   []GroupElement
	}{{"pre", s.Pre}, {"post", s.Post}} {
		if len(e.es) > 0 {
			ends = append(ends, pair{e.name, object{{"buildpacks", elementObjects(e.es)}}})
		}
	}
	return encode(object{{"system", ends}})
}

// EncodeRun writes run.toml.
func EncodeRun(images []RunImageName) ([]byte, error) {
	var out []object
	for _, i := range images {
		out = append(out, runObject(i))
	}
	return encode(object{{"images", out}})
}

// EncodeStack writes stack.toml.
func EncodeStack(i RunImageName) ([]byte, error) {
	return encode(object{{"run-image", runObject(i)}})
}

func runObject(i RunImageName) object {
	return object{{"image", unlessEmpty(i.Image)}, {"mirrors", unlessNone(i.Mirrors)}}
}

// EncodePlan writes plan.toml (platform, "plan.toml"). A plan without entries is an empty file.
func EncodePlan(p Plan) ([]byte, error) {
	var entries []object
	for _, e := range p.Entries {
		var provs, reqs []object
		for _, pr := range e.Providers {
			provs = append(provs, object{{"id", string(pr.ID)}, {"version", pr.Version}, {"extension", unlessFalse(pr.Extension)}})
		}
		for _, r := range e.Requires {
			reqs = append(reqs, requireObject(r))
		}
		entries = append(entries, object{{"providers", provs}, {"requires", reqs}})
	}
	return encode(object{{"entries", entries}})
}

// EncodeBuildpackPlan writes the plan that one bin/build reads (buildpack, "Buildpack Plan").
func EncodeBuildpackPlan(p BuildpackPlan) ([]byte, error) {
	var entries []object
	for _, r := range p.Entries {
		entries = append(entries, requireObject(r))
	}
	return encode(object{{"entries", entries}})
}

// EncodeLayer writes <layer>.toml as it is restored: the metadata without the types, because a buildpack
// that wants to reuse the layer has to say so (buildpack, "Layers").
func EncodeLayer(l LayerTOML) ([]byte, error) {
	o := object{{"metadata", l.Metadata}}
	if l.Types != (LayerTypes{}) {
		o = append(o, pair{"types", object{{"launch", l.Types.Launch}, {"build", l.Types.Build}, {"cache", l.Types.Cache}}})
	}
	return encode(o)
}

// EncodeStore writes store.toml.
func EncodeStore(s StoreTOML) ([]byte, error) { return encode(object{{"metadata", s.Data}}) }

// EncodeLifecycle writes lifecycle.toml. The table api is its older form, the oldest version of each API.
func EncodeLifecycle(l Lifecycle) ([]byte, error) {
	if len(l.BuildpackAPIs) == 0 || len(l.PlatformAPIs) == 0 {
		return nil, errors.New("lifecycle.toml: a lifecycle without APIs")
	}
	set := func(supported []string) object { return object{{"deprecated", []string{}}, {"supported", supported}} }
	return encode(object{
		{"api", object{{"buildpack", l.BuildpackAPIs[0]}, {"platform", l.PlatformAPIs[0]}}},
		{"apis", object{{"buildpack", set(l.BuildpackAPIs)}, {"platform", set(l.PlatformAPIs)}}},
		{"lifecycle", object{{"version", l.Version}, {"sbom-formats", unlessNone(l.SBOMFormats)}}},
	})
}

// EncodeReport writes report.toml (platform, "report.toml").
func EncodeReport(r Report) ([]byte, error) {
	image := object{
		{"tags", r.Image.Tags}, {"image-id", unlessEmpty(r.Image.ImageID)}, {"digest", unlessEmpty(r.Image.Digest)},
	}
	if r.Image.ManifestSize != 0 {
		image = append(image, pair{"manifest-size", r.Image.ManifestSize})
	}
	var build any
	if len(r.Build.BOM) > 0 {
		build = object{{"bom", bomObjects(r.Build.BOM)}}
	}
	return encode(object{{"build", build}, {"image", image}})
}

// EncodeProjectMetadata writes project-metadata.toml.
func EncodeProjectMetadata(p ProjectMetadata) ([]byte, error) {
	if p.Source == nil {
		return nil, nil
	}
	return encode(object{{"source", object{
		{"type", p.Source.Type}, {"version", p.Source.Version}, {"metadata", p.Source.Metadata},
	}}})
}

// EncodeAnalyzed writes analyzed.toml (platform, "analyzed.toml"). The variant of the target is written
// under the spec's key and under the reference's.
func EncodeAnalyzed(a Analyzed) ([]byte, error) {
	ref := func(i *ImageRef) any {
		if i == nil {
			return nil
		}
		return object{{"reference", i.Reference}}
	}
	var run any
	if r := a.RunImage; r != nil {
		o := object{{"reference", r.Reference}, {"image", unlessEmpty(r.Image)}, {"extend", unlessFalse(r.Extend)}}
		if t := r.Target; t != nil {
			g := object{
				{"id", unlessEmpty(t.ID)}, {"os", t.OS}, {"arch", t.Arch},
				{"variant", unlessEmpty(t.Variant)}, {"arch-variant", unlessEmpty(t.Variant)},
			}
			if len(t.Distros) > 0 {
				g = append(g, pair{"distro", object{{"name", t.Distros[0].Name}, {"version", t.Distros[0].Version}}})
			}
			o = append(o, pair{"target", g})
		}
		run = o
	}
	return encode(object{
		{"image", ref(a.Image)}, {"build-image", ref(a.BuildImage)}, {"metadata", layersObject(a.Metadata)}, {"run-image", run},
	})
}

func layersObject(m LayersMetadata) object {
	sha := func(s LayerSHA) object { return object{{"sha", s.SHA}} }
	var app, bps []object
	for _, a := range m.App {
		app = append(app, sha(a))
	}
	for _, b := range m.Buildpacks {
		layers := object{}
		for _, name := range slices.Sorted(maps.Keys(b.Layers)) {
			l := b.Layers[name]
			layers = append(layers, pair{name, object{
				{"sha", l.SHA}, {"metadata", l.Data}, {"build", l.Build}, {"launch", l.Launch}, {"cache", l.Cache},
			}})
		}
		o := object{{"key", string(b.ID)}, {"version", b.Version}, {"layers", layers}}
		if b.Store != nil {
			o = append(o, pair{"store", object{{"metadata", b.Store.Data}}})
		}
		bps = append(bps, o)
	}
	o := object{{"app", app}}
	if m.BOM != nil {
		o = append(o, pair{"sbom", sha(*m.BOM)})
	}
	r := m.RunImage
	o = append(o,
		pair{"buildpacks", bps}, pair{"config", sha(m.Config)}, pair{"launcher", sha(m.Launcher)},
		pair{"process-types", sha(m.ProcessTypes)},
		pair{"run-image", object{
			{"top-layer", r.TopLayer}, {"reference", r.Reference}, {"image", unlessEmpty(r.Image)}, {"mirrors", unlessNone(r.Mirrors)},
		}})
	if m.Stack != nil {
		o = append(o, pair{"stack", object{{"run-image", runObject(m.Stack.RunImage)}}})
	}
	return o
}
