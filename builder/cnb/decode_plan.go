package cnb

import "fmt"

const maxEntries = 1024

// DecodeBuildPlan reads what bin/detect wrote (buildpack, "Build Plan").
func DecodeBuildPlan(name string, b []byte) (BuildPlan, error) {
	d, t, err := parse(name, b, MaxBuildFile)
	if err != nil {
		return BuildPlan{}, err
	}
	p := BuildPlan{PlanSections: sections(t)}
	for _, o := range t.subs("or", maxEntries) {
		p.Or = append(p.Or, sections(o))
	}
	return p, d.err
}

func sections(t table) PlanSections {
	var s PlanSections
	for _, p := range t.subs("provides", maxEntries) {
		s.Provides = append(s.Provides, Provide{Name: p.need("name")})
	}
	s.Requires = requires(t, "requires")
	return s
}

func requires(t table, key string) []Require {
	var out []Require
	for _, r := range t.subs(key, maxEntries) {
		out = append(out, Require{Name: r.need("name"), Version: r.str("version"), Metadata: r.sub("metadata").m})
	}
	return out
}

// CheckPlan refuses the deprecated version key of requires, from Buildpack API 0.11 on, and before that a
// version that contradicts the metadata. An extension may not require anything.
func (d *Descriptor) CheckPlan(p BuildPlan) error {
	kind := "buildpack"
	if d.Extension {
		kind = "extension"
	}
	for _, s := range append([]PlanSections{p.PlanSections}, p.Or...) {
		if d.Extension && len(s.Requires) > 0 {
			return fmt.Errorf("extension %s: build plan: requires %s: an extension may only provide", d.Ref, quote(s.Requires[0].Name))
		}
		for _, r := range s.Requires {
			if r.Version == "" {
				continue
			}
			if d.API.AtLeast(0, 11) {
				return fmt.Errorf("%s %s: build plan: requires %s: top-level version is not supported from Buildpack API 0.11 on: move it to requires.metadata", kind, d.Ref, quote(r.Name))
			}
			if v, ok := r.Metadata["version"]; ok && v != r.Version {
				return fmt.Errorf("%s %s: build plan: requires %s: version %s and metadata.version differ: remove version", kind, d.Ref, quote(r.Name), quote(r.Version))
			}
		}
	}
	return nil
}

// DecodeBuildTOML reads build.toml (buildpack, "build.toml").
func DecodeBuildTOML(name string, b []byte) (BuildTOML, error) {
	d, t, err := parse(name, b, MaxBuildFile)
	if err != nil {
		return BuildTOML{}, err
	}
	var out BuildTOML
	for _, u := range t.subs("unmet", maxEntries) {
		out.Unmet = append(out.Unmet, Provide{Name: u.need("name")})
	}
	out.BOM = bom(t)
	return out, d.err
}

func bom(t table) []BOMEntry {
	var out []BOMEntry
	for _, e := range t.subs("bom", 0) {
		out = append(out, BOMEntry{Require: Require{Name: e.str("name"), Version: e.str("version"), Metadata: e.sub("metadata").m}})
	}
	return out
}

// DecodePlan reads plan.toml (platform, "plan.toml").
func DecodePlan(name string, b []byte) (Plan, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return Plan{}, err
	}
	var p Plan
	for _, e := range t.subs("entries", 0) {
		entry := PlanEntry{Requires: requires(e, "requires")}
		for _, pr := range e.subs("providers", 0) {
			entry.Providers = append(entry.Providers, Provider{Ref: ref(pr), Extension: pr.bool("extension")})
		}
		p.Entries = append(p.Entries, entry)
	}
	return p, d.err
}

// DecodeBuildpackPlan reads the plan of one bin/build (buildpack, "Buildpack Plan").
func DecodeBuildpackPlan(name string, b []byte) (BuildpackPlan, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return BuildpackPlan{}, err
	}
	return BuildpackPlan{Entries: requires(t, "entries")}, d.err
}
