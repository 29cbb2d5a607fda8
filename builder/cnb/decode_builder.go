package cnb

import "strings"

// A BuilderConfig is builder.toml, the recipe of a builder image, in the form that pack reads.
type BuilderConfig struct {
	Description string
	Buildpacks  []ModuleSource
	Order       Order
	System      System
	RunImages   []RunImageName
	BuildImage  string
	BuildEnv    []ConfigEnv
	StackID     string
	// Lifecycle is the lifecycle to put into the builder: a local directory or archive, or "" for none.
	// Slipway brings its own to every build; other platforms need one in the builder.
	Lifecycle string
	Targets   []Target
}

// A ModuleSource says where a buildpack of a builder comes from: a directory, a .cnb file or an image. Ref
// may be zero; where it is given it must be what the source holds.
type ModuleSource struct {
	Ref
	URI string // path or URI; "docker://" and "urn:cnb:" forms included
}

// A ConfigEnv is one variable of the operator, kept in /cnb/build-config/env of a builder.
type ConfigEnv struct {
	Name   string
	Value  string
	Suffix string // "", "default", "override", "append", "prepend"
	Delim  string
}

// DecodeBuilderConfig reads builder.toml. Keys of pack that mean nothing here are left alone; the older
// [stack] table is read where [build] and [[run.images]] are absent.
func DecodeBuilderConfig(name string, b []byte) (BuilderConfig, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return BuilderConfig{}, err
	}
	stack, build, lifecycle := t.sub("stack"), t.sub("build"), t.sub("lifecycle")
	c := BuilderConfig{
		Description: t.str("description"),
		Order:       order(t, "order"),
		BuildImage:  build.str("image"),
		StackID:     stack.str("id"),
		Lifecycle:   lifecycle.str("uri"),
	}
	if c.Lifecycle == "" && lifecycle.str("version") != "" {
		lifecycle.fail("version", "a lifecycle cannot be fetched by version: give [lifecycle] uri, a directory or an archive")
	}
	if t.has("extensions") || t.has("order-extensions") {
		t.fail("extensions", "image extensions are not built into builders here: take the key out")
	}
	for _, m := range t.subs("buildpacks", 0) {
		c.Buildpacks = append(c.Buildpacks, moduleSource(m))
	}
	for _, i := range t.sub("run").subs("images", 0) {
		r := runImageName(i)
		if r.Image == "" {
			i.fail("image", "is missing: give it a value")
		}
		c.RunImages = append(c.RunImages, r)
	}
	c.fromStack(stack)
	for _, e := range build.subs("env", 0) {
		c.BuildEnv = append(c.BuildEnv, configEnv(e))
	}
	for _, g := range t.subs("targets", 0) {
		c.Targets = append(c.Targets, target(g))
	}
	sys := t.sub("system")
	c.System = System{Pre: elements(sys.sub("pre"), "buildpacks"), Post: elements(sys.sub("post"), "buildpacks")}
	switch {
	case c.BuildImage == "":
		t.fail("build.image", "is missing: name the build image")
	case len(c.RunImages) == 0:
		t.fail("run.images", "is missing: name at least one run image")
	case len(c.Order) == 0:
		t.fail("order", "is missing: name at least one group of buildpacks")
	}
	return c, d.err
}

// fromStack fills what only the older [stack] table says.
func (c *BuilderConfig) fromStack(stack table) {
	if image := stack.str("build-image"); image != "" {
		if c.BuildImage != "" && c.BuildImage != image {
			stack.fail("build-image", "differs from build.image: keep one of the two")
		}
		c.BuildImage = image
	}
	if image := stack.str("run-image"); image != "" && len(c.RunImages) == 0 {
		c.RunImages = []RunImageName{{Image: image, Mirrors: stack.strs("run-image-mirrors", "")}}
	}
}

func moduleSource(m table) ModuleSource {
	s := ModuleSource{URI: m.str("uri")}
	if image := m.str("image"); image != "" {
		if s.URI != "" {
			m.fail("image", "stands beside uri: keep one of the two")
		}
		s.URI = "docker://" + strings.TrimPrefix(image, "docker://")
	}
	if m.has("id") {
		s.ID = parsed(m, "id", ParseID)
	}
	if m.has("version") {
		s.Version = parsed(m, "version", ParseVersion)
	}
	if s.URI == "" {
		m.fail("uri", "is missing: name a directory, a .cnb file or an image")
	}
	return s
}

func configEnv(e table) ConfigEnv {
	v := ConfigEnv{Name: string(parsed(e, "name", ParseEnvName)), Value: e.str("value"), Suffix: e.str("suffix"), Delim: e.str("delim")}
	switch v.Suffix {
	case "", "default", "override", "append", "prepend":
	default:
		e.fail("suffix", "%s is not one of default, override, append, prepend", quote(v.Suffix))
	}
	return v
}
