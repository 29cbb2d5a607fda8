package main

import (
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// parseEnv reads --env values: NAME=value, or NAME for the value that this process has.
func parseEnv(list []string, getenv func(string) string) (map[string]string, error) {
	out := map[string]string{}
	for _, e := range list {
		name, value, ok := strings.Cut(e, "=")
		if _, err := cnb.ParseEnvName(name); err != nil {
			return nil, fmt.Errorf("--env %s: %w", e, err)
		}
		if !ok {
			value = getenv(name)
		}
		out[name] = value
	}
	return out, nil
}
