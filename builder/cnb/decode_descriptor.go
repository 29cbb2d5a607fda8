package cnb

const (
	maxGroups       = 256
	maxGroupEntries = 1024
)

// DecodeDescriptor reads buildpack.toml (buildpack, "buildpack.toml"). It does not say whether this engine
// speaks the buildpack's API: check API.Within, which has an exit code of its own.
func DecodeDescriptor(name string, b []byte) (*Descriptor, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	out := &Descriptor{API: apiAt(t, "api")}
	info := out.module(t, "buildpack")
	out.SBOMFormats = info.strs("sbom-formats", "")
	for _, f := range out.SBOMFormats {
		if SBOMExtension(f) == "" {
			info.fail("sbom-formats", "unknown media type %s (known: %s, %s, %s)", quote(f), MediaTypeCycloneDX, MediaTypeSPDX, MediaTypeSyft)
		}
	}
	for _, s := range t.subs("stacks", 0) {
		out.Stacks = append(out.Stacks, Stack{ID: s.str("id"), Mixins: s.strs("mixins", "")})
	}
	out.Order = order(t, "order")
	if d.err != nil {
		return nil, d.err
	}
	return out, nil
}

// DecodeExtension reads extension.toml (image_extension, "extension.toml"). As with DecodeDescriptor, the
// caller checks the API.
func DecodeExtension(name string, b []byte) (*Descriptor, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	out := &Descriptor{API: apiAt(t, "api"), Extension: true}
	out.module(t, "extension")
	if d.err != nil {
		return nil, d.err
	}
	return out, nil
}

// module reads what buildpacks and extensions have in common; kind names the table, which it returns.
func (out *Descriptor) module(t table, kind string) table {
	if !t.has(kind) {
		t.fail(kind, "the table [%s] is missing", kind)
	}
	info := t.sub(kind)
	out.Ref = Ref{ID: parsed(info, "id", ParseID), Version: parsed(info, "version", ParseVersion)}
	out.Name, out.Homepage, out.Description = info.str("name"), info.str("homepage"), info.str("description")
	out.ClearEnv = info.bool("clear-env")
	out.Keywords = info.strs("keywords", "")
	for _, l := range info.subs("licenses", 0) {
		out.Licenses = append(out.Licenses, License{Type: l.str("type"), URI: l.str("uri")})
	}
	out.ExecEnv = execEnvOf(info)
	for _, g := range t.subs("targets", 0) {
		out.Targets = append(out.Targets, target(g))
	}
	out.Metadata = t.sub("metadata").m
	return info
}

func apiAt(t table, key string) API {
	s := t.need(key)
	if t.d.err != nil {
		return API{}
	}
	a, err := ParseAPI(s)
	if err != nil {
		t.fail(key, "%s", err)
	}
	return a
}

// execEnvOf reads exec-env in both forms that are in use: the spec's array of tables with a name each, and
// the array of strings that the reference and pack read.
func execEnvOf(t table) []string {
	var out []string
	if a, ok := t.m["exec-env"].([]any); ok && len(a) > 0 {
		if _, ok := a[0].(map[string]any); ok {
			for _, e := range t.subs("exec-env", 0) {
				out = append(out, e.need("name"))
			}
			execEnvs(t, "exec-env", out)
			return out
		}
	}
	out = t.strs("exec-env", "")
	execEnvs(t, "exec-env", out)
	return out
}

// target reads a [[targets]] table. The spec calls the variant "variant", the reference "arch-variant".
func target(t table) Target {
	g := Target{OS: t.str("os"), Arch: t.str("arch"), Variant: t.str("variant")}
	if g.Variant == "" {
		g.Variant = t.str("arch-variant")
	}
	for _, d := range t.subs("distros", 0) {
		g.Distros = append(g.Distros, Distro{Name: d.str("name"), Version: d.str("version")})
	}
	return g
}

// ref reads id and version where both must be there.
func ref(t table) Ref {
	return Ref{ID: parsed(t, "id", ParseID), Version: parsed(t, "version", ParseVersion)}
}

// order reads [[order]] tables. An element's version may be absent: it is then the only one of its id.
func order(t table, key string) Order {
	var o Order
	for _, g := range t.subs(key, maxGroups) {
		o = append(o, Group{Elements: elements(g, "group")})
	}
	return o
}

func elements(t table, key string) []GroupElement {
	var out []GroupElement
	for _, e := range t.subs(key, maxGroupEntries) {
		el := GroupElement{
			Ref:      Ref{ID: parsed(e, "id", ParseID)},
			Homepage: e.str("homepage"),
			Optional: e.bool("optional"),
			ExecEnv:  e.strs("exec-env", ""),
		}
		execEnvs(e, "exec-env", el.ExecEnv)
		if e.str("version") != "" {
			el.Version = parsed(e, "version", ParseVersion)
		}
		// An api that is no version is none: who needs it says so with the buildpack's name, and the exit status for
		// it (platform, "Outputs"), which an error of this file could not.
		el.API, _ = ParseAPI(e.str("api"))
		out = append(out, el)
	}
	return out
}
