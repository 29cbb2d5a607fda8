package cnb

import "slices"

// DecodeOrder reads the buildpacks of order.toml (platform, "order.toml").
func DecodeOrder(name string, b []byte) (Order, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	return order(t, "order"), d.err
}

// DecodeOrderExtensions reads the image extensions of order.toml; they are always optional.
func DecodeOrderExtensions(name string, b []byte) (Order, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	o := order(t, "order-extensions")
	for _, g := range o {
		asExtensions(g.Elements)
	}
	return o, d.err
}

func asExtensions(es []GroupElement) {
	for i := range es {
		es[i].Extension, es[i].Optional = true, true
	}
}

// DecodeSystem reads system.toml (platform, "system.toml").
func DecodeSystem(name string, b []byte) (System, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return System{}, err
	}
	sys := t.sub("system")
	s := System{Pre: elements(sys.sub("pre"), "buildpacks"), Post: elements(sys.sub("post"), "buildpacks")}
	return s, d.err
}

// DecodeGroup reads group.toml (platform, "group.toml"). Image extensions come first in the result, as they
// run before buildpacks.
func DecodeGroup(name string, b []byte) (Group, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return Group{}, err
	}
	exts := elements(t, "group-extensions")
	asExtensions(exts)
	return Group{Elements: slices.Concat(exts, elements(t, "group"))}, d.err
}

// DecodeRun reads run.toml: the run images that may be used, each with its mirrors (platform, "run.toml").
func DecodeRun(name string, b []byte) ([]RunImageName, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	var out []RunImageName
	for _, i := range t.subs("images", 0) {
		out = append(out, runImageName(i))
	}
	return out, d.err
}

// DecodeStack reads stack.toml, which platforms before 0.12 used in place of run.toml.
func DecodeStack(name string, b []byte) (RunImageName, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return RunImageName{}, err
	}
	return runImageName(t.sub("run-image")), d.err
}

func runImageName(t table) RunImageName {
	r := RunImageName{Image: t.str("image"), Mirrors: t.strs("mirrors", "")}
	if r.Image == "" && len(r.Mirrors) > 0 {
		t.fail("mirrors", "mirrors of no image: give image a value")
	}
	return r
}

// DecodeProjectMetadata reads project-metadata.toml (platform, "project-metadata.toml").
func DecodeProjectMetadata(name string, b []byte) (ProjectMetadata, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return ProjectMetadata{}, err
	}
	if !t.has("source") {
		return ProjectMetadata{}, nil
	}
	s := t.sub("source")
	return ProjectMetadata{Source: &ProjectSource{
		Type: s.str("type"), Version: s.sub("version").m, Metadata: s.sub("metadata").m,
	}}, d.err
}

// A Lifecycle is lifecycle.toml: which lifecycle a builder holds.
type Lifecycle struct {
	Version       string
	BuildpackAPIs []string
	PlatformAPIs  []string
	SBOMFormats   []string // media types
}

// DecodeLifecycle reads lifecycle.toml.
func DecodeLifecycle(name string, b []byte) (Lifecycle, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return Lifecycle{}, err
	}
	apis := t.sub("apis")
	return Lifecycle{
		Version:       t.sub("lifecycle").str("version"),
		BuildpackAPIs: apis.sub("buildpack").strs("supported", ""),
		PlatformAPIs:  apis.sub("platform").strs("supported", ""),
		SBOMFormats:   t.sub("lifecycle").strs("sbom-formats", ""),
	}, d.err
}
