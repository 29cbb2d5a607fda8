package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// What bin/release says of an app.
type released struct {
	Processes []process // in the order in which they stand there
	Vars      map[string]string
}

type process struct{ name, command string }

var (
	processName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	varName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// maxRelease is how much bin/release may print.
const maxRelease = 1 << 20

// release asks bin/release, which may be absent, empty or say nothing.
func (j *job) release(ctx context.Context) (r released, err error) {
	if _, err := os.Stat(j.bin("release")); errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	out, err := parcel.Command{Path: j.bin("release"), Args: []string{j.c.ApplicationPath}, Dir: j.dir, Env: j.env}.Run(ctx)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		return r, broken("bin/release", e)
	}
	if err != nil {
		return r, parcel.Ours("look at its first line, which names its interpreter", "bin/release of the classic buildpack cannot be run: %w", err)
	}
	if len(out) > maxRelease {
		return r, parcel.Ours("tell its author", "bin/release of the classic buildpack prints more than %d bytes", maxRelease)
	}
	r, addons, err := parseRelease(out)
	if err != nil {
		return r, parcel.Ours("tell its author", "what bin/release of the classic buildpack prints: %w", err)
	}
	if len(addons) > 0 {
		j.w.Sayf("the buildpack asks for add-ons, which an image has none of: %s", strings.Join(addons, ", "))
	}
	return r, nil
}

// parseRelease reads the YAML: default_process_types, config_vars and addons, each of which may be absent. What else stands
// there means nothing. An error names the line.
func parseRelease(b []byte) (r released, addons []string, err error) {
	var doc struct {
		Processes yaml.Node         `yaml:"default_process_types"`
		Vars      map[string]string `yaml:"config_vars"`
		Addons    []string          `yaml:"addons"`
	}
	var whole yaml.Node
	if err := yaml.Unmarshal(b, &whole); err != nil {
		return r, nil, errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if len(whole.Content) == 0 || whole.Content[0].Tag == "!!null" {
		return r, nil, nil
	}
	if n := whole.Content[0]; n.Kind != yaml.MappingNode {
		return r, nil, fmt.Errorf("line %d: it is no mapping", n.Line)
	}
	if err := whole.Decode(&doc); err != nil {
		return r, nil, errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	for name := range doc.Vars {
		if !varName.MatchString(name) {
			return r, nil, fmt.Errorf("config_vars: %.60q is no name of a variable", name)
		}
	}
	r.Vars = doc.Vars
	switch n := doc.Processes; {
	case n.IsZero() || n.Tag == "!!null":
	case n.Kind != yaml.MappingNode:
		return r, nil, fmt.Errorf("line %d: default_process_types is no mapping of names to commands", n.Line)
	default:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if value.Kind != yaml.ScalarNode || !processName.MatchString(key.Value) {
				return r, nil, fmt.Errorf("line %d: default_process_types: %.60q wants a name and a command", key.Line, key.Value)
			}
			if strings.TrimSpace(value.Value) != "" {
				r.Processes = append(r.Processes, process{key.Value, value.Value})
			}
		}
	}
	return r, doc.Addons, nil
}
