package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// profileScript is exec.d of apps: it sources .profile.d and .profile, as a dyno did before it started a process.
//
//go:embed profile.bash
var profileScript []byte

// sourceOne sources a file and prints the environment that it leaves; what it prints itself is shown.
const sourceOne = `. "$1" >&2
exec env -0`

// sourced is what a file changes in an environment when a shell sources it in a directory.
func sourced(ctx context.Context, env parcel.Env, dir, file string) (map[string]string, error) {
	shell := "/bin/bash"
	if _, err := os.Stat(shell); err != nil {
		shell = "/bin/sh"
	}
	out, err := parcel.Command{Path: shell, Args: []string{"-c", sourceOne, filepath.Base(shell), file}, Dir: dir, Env: env}.Run(ctx)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		return nil, fmt.Errorf("it ends with exit code %d: %s", e.Code, lastLine(e.Tail))
	}
	if err != nil {
		return nil, err
	}
	changed := map[string]string{}
	for kv := range bytes.SplitSeq(out, []byte{0}) {
		name, value, ok := strings.Cut(string(kv), "=")
		if old, was := env[name]; !ok || was && old == value || !varName.MatchString(name) || slices.Contains([]string{"_", "SHLVL", "PWD", "OLDPWD"}, name) {
			continue
		}
		changed[name] = value
	}
	return changed, nil
}
