// Command interchange has Slipway, pack and registries of others take each other's buildpacks: this project's own are
// packaged, pushed to Debian's docker-registry and to the registry of a service, registered in the index of that service,
// yanked, locked, and built with by the command line, by the service and by an unmodified pack that reads the index by
// git; then packages of either tool are built with by the other, in every form. Every command is printed with what it
// said, and has to say and to end as it should.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(args, env []string, stdout, stderr io.Writer) int {
	t := &trial{out: stdout}
	flags := flag.NewFlagSet("interchange", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&t.slipway, "slipway", "bin/slipway", "the command line that is tried")
	flags.StringVar(&t.pack, "pack", "pack", "pack, unmodified: a path, or a name on the PATH")
	flags.StringVar(&t.debian, "registry", "docker-registry", "Debian's docker-registry")
	flags.StringVar(&t.packs, "buildpacks", "bin/buildpacks", "the project's buildpacks, as make buildpacks leaves them")
	flags.StringVar(&t.app, "app", "fixtures/apps/static", "the app that is built")
	flags.StringVar(&t.builder, "builder", "slipway/builder", "the builder, which is in Docker")
	flags.BoolVar(&t.verbose, "v", false, "print what commands say, of those that do as they should too")
	if flags.Parse(args) != nil {
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := t.all(ctx, env); err != nil {
		fmt.Fprintln(stderr, "ERROR:", err)
		return 1
	}
	return 0
}

// all makes a place for everything, which goes with it, and tries it.
func (t *trial) all(ctx context.Context, env []string) (err error) {
	if t.dir, err = os.MkdirTemp("", "slipway-interchange-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.dir)) }()
	for _, program := range []*string{&t.slipway, &t.pack, &t.debian} {
		found, err := exec.LookPath(*program)
		if err != nil {
			return fmt.Errorf("%w (make index PACK=...)", err)
		}
		if *program, err = filepath.Abs(found); err != nil {
			return err
		}
	}
	if err := t.settle(env); err != nil {
		return err
	}
	end, err := t.start(ctx)
	if err == nil {
		t.index(ctx)
		t.packages(ctx)
		err = t.err
	}
	t.clean(context.WithoutCancel(ctx))
	return errors.Join(err, end())
}
