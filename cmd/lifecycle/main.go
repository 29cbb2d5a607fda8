// Command lifecycle is a drop-in Cloud Native Buildpacks lifecycle: which phase it is, is told by the name it was called
// by (detector, analyzer, restorer, builder, exporter, creator, rebaser, extender) or by its first argument (detect,
// analyze and so on).
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Set when the binary is linked; they stand in the label of every image that it makes.
var (
	version    = "0.0.0"
	commit     = ""
	repository = ""
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args, os.Environ(), os.Stdout, os.Stderr))
}

// run returns the exit status (platform, "Outputs" of each phase).
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"lifecycle"}
	}
	name := strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0]))
	if p, ok := byName()[name]; ok {
		return runPhase(ctx, p, args[1:], env, stdout, stderr)
	}
	part, rest := name, args[1:]
	if len(rest) > 0 {
		part, rest = filepath.Base(rest[0]), rest[1:]
	}
	if p, ok := phases()[phase(part)]; ok {
		return runPhase(ctx, p.name, rest, env, stdout, stderr)
	}
	log := &logger{w: stdout, plain: parseEnvironment(env).bool("CNB_NO_COLOR")}
	switch part {
	case "-version", "--version":
		fmt.Fprintln(stdout, fullVersion())
		return 0
	case name:
		log.errorf("failed to parse arguments: name a phase: detect, analyze, restore, build, export, create, extend or rebase")
	default:
		log.errorf("failed to recognize phase: %s: valid phases are detect, analyze, restore, build, export, create, extend and rebase", part)
	}
	return exitArguments
}

// fullVersion is the version with the commit that it was built from, as semver has it.
func fullVersion() string {
	if commit == "" || strings.Contains(version, commit) {
		return version
	}
	return version + "+" + commit
}
