// Command agent works inside a build's containers and beside them for slipway:
//
//	agent agent      pid 1 of the build container: runs one buildpack executable per request
//	agent collector  touches the files of a build, without credentials and without network
//
// Both speak Slipway's own protocol on standard input and output; they are started by slipway and not by hand. It is a
// binary of its own because two of it start in every build: what it does not link costs neither time nor memory there,
// and nothing that knows registries or engines is in reach of what it runs.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/slipway-build/slipway/internal/agent"
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stderr))
}

// run returns the exit status: 0, 1 when the part failed, 2 when it was not asked for one.
func run(args, env []string, stderr io.Writer) int {
	part := ""
	if len(args) == 1 {
		part = args[0]
	}
	var err error
	switch part {
	case "agent":
		err = serveAgent(env)
	case "collector":
		err = serveCollector()
	default:
		fmt.Fprintln(stderr, "agent: this is a part of slipway, which starts it; its one argument is agent or collector")
		return 2
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", part, err)
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

// serveCollector is deaf to who asks every process of a service to end: it ends when slipway does, which has it remove
// what a build left.
func serveCollector() error {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	r, w, err := agent.TakeStdio()
	if err != nil {
		return err
	}
	return agent.ServeCollector(r, w)
}
