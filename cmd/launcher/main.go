// Command launcher is the entrypoint of every app image that Slipway builds: it makes the environment that the
// image's layers ask for and becomes the process that was chosen.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/slipway-build/slipway/builder/launch"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(os.Args, os.Environ(), os.Stdout, os.Stderr)) }

// run returns only where no process was started.
func run(args, environ []string, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[1] == "-version" && filepath.Base(args[0]) == "launcher" {
		fmt.Fprintln(stdout, version)
		return 0
	}
	l := &launch.Launcher{
		Self: args[0], Args: args[1:], Environ: environ, Stdout: stdout, Stderr: stderr,
		Warn: func(s string) { fmt.Fprintln(stderr, "Warning: "+s) },
	}
	c, err := l.Command()
	if err == nil {
		err = c.Exec()
	}
	fmt.Fprintln(stderr, "ERROR: "+err.Error())
	if e, ok := errors.AsType[*launch.Error](err); ok {
		return e.Code
	}
	return launch.CodeLaunch
}
