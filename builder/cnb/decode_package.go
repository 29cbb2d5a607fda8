package cnb

// A PackageConfig is package.toml, the recipe of a buildpackage, in the form that pack reads.
type PackageConfig struct {
	URI          string         // of the buildpack that the package is about: a directory, "." where it is not said
	Dependencies []ModuleSource // what it is composed of
	OS           string         // "" or "linux"
	Targets      []Target       // what it is made for; where it is not said, what the buildpack is made for
}

// DecodePackageConfig reads package.toml. Keys of pack that mean nothing here are left alone.
func DecodePackageConfig(name string, b []byte) (PackageConfig, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return PackageConfig{}, err
	}
	c := PackageConfig{URI: t.sub("buildpack").str("uri"), OS: t.sub("platform").str("os")}
	if c.URI == "" {
		c.URI = "."
	}
	if t.has("extension") {
		t.fail("extension", "image extensions are not packaged here: take the table out")
	}
	if c.OS != "" && c.OS != "linux" {
		t.sub("platform").fail("os", "is %q: only linux is built for", c.OS)
	}
	for _, m := range t.subs("dependencies", 0) {
		c.Dependencies = append(c.Dependencies, moduleSource(m))
	}
	for _, g := range t.subs("targets", 0) {
		c.Targets = append(c.Targets, target(g))
	}
	return c, d.err
}
