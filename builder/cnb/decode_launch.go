package cnb

import (
	"fmt"
	"path/filepath"
)

// The limits of what one buildpack may put into an image.
const (
	maxProcesses  = 128
	maxLabels     = 128
	maxLabelBytes = 32 << 10
	maxSlices     = 128
	maxArgs       = 4096
)

// DecodeLaunch reads launch.toml as the given Buildpack API defines it (buildpack, "launch.toml"). The
// processes carry that API and no buildpack id: the caller knows it.
func DecodeLaunch(name string, b []byte, api API) (Launch, error) {
	d, t, err := parse(name, b, MaxBuildFile)
	if err != nil {
		return Launch{}, err
	}
	l := Launch{Labels: labels(t, true), BOM: bom(t)}
	types := map[ProcessType]bool{}
	var first ProcessType // the process that is the default
	for _, p := range t.subs("processes", maxProcesses) {
		proc := process(p, api)
		if d.err == nil && types[proc.Type] {
			p.fail("type", "process type %q is given twice: keep one", proc.Type)
		}
		types[proc.Type] = true
		if proc.Default {
			if first != "" {
				p.fail("default", "processes %q and %q are both the default: keep one", first, proc.Type)
			}
			first = proc.Type
		}
		l.Processes = append(l.Processes, proc)
	}
	l.Slices = sliceList(t)
	return l, d.err
}

// labels reads [[labels]]: one buildpack's, whose keys differ, or those of a whole build, of which the last one with a
// key counts (buildpack, "launch.toml").
func labels(t table, distinct bool) []Label {
	var out []Label
	seen := map[string]bool{}
	for _, e := range t.subs("labels", maxLabels) {
		key := string(parsed(e, "key", ParseLabelKey))
		value := e.str("value")
		switch {
		case distinct && seen[key]:
			e.fail("key", "label %s is given twice: keep one", quote(key))
		case len(key)+len(value) > maxLabelBytes:
			e.fail("value", "%d bytes, the limit for a label is %d", len(value), maxLabelBytes)
		}
		seen[key] = true
		out = append(out, Label{Key: key, Value: value})
	}
	return out
}

func sliceList(t table) []Slice {
	var out []Slice
	for _, s := range t.subs("slices", maxSlices) {
		paths := s.strs("paths", "")
		for _, p := range paths {
			if _, err := filepath.Match(p, ""); err != nil {
				s.fail("paths", "%s is not a pattern: %s", quote(p), err)
			}
		}
		out = append(out, Slice{Paths: paths})
	}
	return out
}

func process(t table, api API) Process {
	p := Process{
		Type:       parsed(t, "type", ParseProcessType),
		Command:    command(t, api),
		Args:       t.strs("args", ""),
		Default:    t.bool("default"),
		WorkingDir: t.str("working-dir"),
		ExecEnv:    t.strs("exec-env", ""),
		Direct:     true,
		API:        api,
	}
	if api.AtLeast(0, 9) {
		if t.has("direct") {
			t.fail("direct", "process.direct is not supported on this buildpack version (Buildpack API %s: processes are always direct, remove the key)", api)
		}
	} else {
		p.Direct = t.bool("direct")
	}
	if len(p.Args) > maxArgs {
		t.fail("args", "%d entries, the limit is %d", len(p.Args), maxArgs)
	}
	if hasControl(p.WorkingDir) {
		t.fail("working-dir", "has control characters")
	}
	execEnvs(t, "exec-env", p.ExecEnv)
	return p
}

// command reads the key command: one string before Buildpack API 0.9, an array of strings from then on.
func command(t table, api API) []string {
	if !t.has("command") {
		t.fail("command", "is missing: name the executable")
		return nil
	}
	if !api.AtLeast(0, 9) {
		if _, ok := t.m["command"].([]any); ok {
			t.fail("command", "want a string, found an array (an array is for Buildpack API 0.9 and newer, this buildpack has %s)", api)
		}
		return []string{t.str("command")}
	}
	hint := ""
	if s, ok := t.m["command"].(string); ok {
		hint = fmt.Sprintf(" (from Buildpack API 0.9 on write command = [%s])", quote(s))
	}
	c := t.strs("command", hint)
	switch {
	case len(c) == 0:
		t.fail("command", "is empty: name the executable")
	case c[0] == "":
		t.fail("command", "the executable's name is empty")
	case len(c) > maxArgs:
		t.fail("command", "%d entries, the limit is %d", len(c), maxArgs)
	}
	return c
}

// execEnvs checks the names of an exec-env list.
func execEnvs(t table, key string, list []string) {
	for _, e := range list {
		if _, err := ParseExecEnv(e); err != nil {
			t.fail(key, "%s", err)
		}
	}
}
