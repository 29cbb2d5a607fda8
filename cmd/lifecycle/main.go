// Command lifecycle is the static binary that works inside a build's containers and beside them. Which part it plays
// is its first argument, or the name it was called by:
//
//	agent      pid 1 of the build container: runs one buildpack executable per request
//	collector  touches the files of a build, without credentials and without network
//
// Both speak Slipway's own protocol on standard input and output; they are started by slipway and not by hand.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/agent"
)

func main() { os.Exit(run(os.Args, os.Environ(), os.Stderr)) }

// parts are the commands of this binary, by name.
func parts() map[string]func(env []string) error {
	return map[string]func(env []string) error{
		"agent":     serveAgent,
		"collector": serveCollector,
	}
}

// run returns the exit status: 3 for a wrong command line (the spec's "invalid arguments"), 1 for a failure.
func run(args, env []string, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"lifecycle"}
	}
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	part, ok := parts()[name]
	if !ok && len(args) > 1 {
		name = args[1]
		part, ok = parts()[name]
		args = args[1:]
	}
	switch {
	case !ok:
		fmt.Fprintln(stderr, "lifecycle: want one of: agent, collector")
		return 3
	case len(args) > 1:
		fmt.Fprintf(stderr, "lifecycle %s: takes no arguments\n", name)
		return 3
	}
	if err := part(env); err != nil {
		fmt.Fprintf(stderr, "lifecycle %s: %v\n", name, err)
		return 1
	}
	return 0
}

func serveAgent(env []string) error {
	r, w, err := agent.TakeStdio()
	if err != nil {
		return err
	}
	return agent.ServeAgent(r, w, "/", env)
}

func serveCollector([]string) error {
	r, w, err := agent.TakeStdio()
	if err != nil {
		return err
	}
	return agent.ServeCollector(r, w)
}
