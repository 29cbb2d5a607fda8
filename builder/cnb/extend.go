package cnb

// An ExtendConfig is extend-config.toml: the build args of an extension's Dockerfiles (image_extension,
// "extend-config.toml").
type ExtendConfig struct {
	Build []ExtendArg
	Run   []ExtendArg
}

// An ExtendArg is one build arg.
type ExtendArg struct {
	Name  string
	Value string
}

// DecodeExtendConfig reads extend-config.toml. The args that the extender itself gives every Dockerfile are
// refused in it.
func DecodeExtendConfig(name string, b []byte) (ExtendConfig, error) {
	d, t, err := parse(name, b, MaxBuildFile)
	if err != nil {
		return ExtendConfig{}, err
	}
	c := ExtendConfig{Build: extendArgs(t.sub("build")), Run: extendArgs(t.sub("run"))}
	return c, d.err
}

func extendArgs(t table) []ExtendArg {
	var out []ExtendArg
	for _, a := range t.subs("args", maxEntries) {
		arg := ExtendArg{Name: a.need("name"), Value: a.str("value")}
		switch arg.Name {
		case "build_id", "user_id", "group_id":
			a.fail("name", "%s is given by the lifecycle: take it out", quote(arg.Name))
		}
		out = append(out, arg)
	}
	return out
}
