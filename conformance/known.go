package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// A KnownFailure explains a case that a lifecycle fails.
type KnownFailure struct {
	Case   string   `toml:"case"`
	APIs   []string `toml:"platform"` // all of the case's if empty
	Reason string   `toml:"reason"`
}

// loadKnown reads a file of [[known]] tables.
func loadKnown(path string, cases []*Case) ([]KnownFailure, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Known []KnownFailure `toml:"known"`
	}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&file); err != nil {
		return nil, fmt.Errorf("known failures %s: %w", path, err)
	}
	for _, k := range file.Known {
		if k.Reason == "" || !slices.ContainsFunc(cases, func(c *Case) bool { return c.Name == k.Case }) {
			return nil, fmt.Errorf("known failures %s: %q wants the name of a case, and a reason", path, k.Case)
		}
	}
	return file.Known, nil
}

func findKnown(known []KnownFailure, name, api string) (KnownFailure, bool) {
	for _, k := range known {
		if k.Case == name && (len(k.APIs) == 0 || slices.Contains(k.APIs, api)) {
			return k, true
		}
	}
	return KnownFailure{}, false
}
