package cnb

import "strings"

// DecodeMetadata reads metadata.toml, which the launcher finds in an image (platform, "metadata.toml").
// A process's command is a string in images made for Platform API 0.9 and older. A process gets the API of
// the buildpack that it names.
func DecodeMetadata(name string, b []byte) (Metadata, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return Metadata{}, err
	}
	m := Metadata{
		Buildpacks:           elements(t, "buildpacks"),
		Extensions:           elements(t, "extensions"),
		Labels:               labels(t, false),
		Slices:               sliceList(t),
		BuildpackDefaultType: ProcessType(t.str("buildpack-default-process-type")),
		BOM:                  bom(t),
	}
	for i, e := range t.subs("bom", 0) { // here each entry names the buildpack it came from
		bp := e.sub("buildpack")
		m.BOM[i].Buildpack.Ref = Ref{ID: ID(bp.str("id")), Version: bp.str("version")}
	}
	apis := map[ID]API{}
	for _, bp := range m.Buildpacks {
		apis[bp.ID] = bp.API
	}
	for _, p := range t.subs("processes", 0) {
		proc := Process{
			Type:        parsed(p, "type", ParseProcessType),
			Args:        p.strs("args", ""),
			Direct:      p.bool("direct"),
			Default:     p.bool("default"),
			BuildpackID: ID(p.str("buildpack-id")),
			WorkingDir:  p.str("working-dir"),
			ExecEnv:     p.strs("exec-env", ""),
		}
		if s, ok := p.m["command"].(string); ok {
			proc.Command = []string{s}
		} else {
			proc.Command = p.strs("command", "")
		}
		proc.API = apis[proc.BuildpackID]
		m.Processes = append(m.Processes, proc)
	}
	return m, d.err
}

// DecodeExecD reads what an exec.d executable wrote: variables to set, at the top level, as strings
// (buildpack, "Exec.d Output").
func DecodeExecD(name string, b []byte) (map[string]string, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for k := range t.m {
		if _, err := ParseEnvName(k); err != nil {
			t.fail(k, "%s", err)
		}
		v := t.str(k)
		if strings.ContainsRune(v, 0) {
			t.fail(k, "the value has a NUL byte in it")
		}
		out[k] = v
	}
	return out, d.err
}
