// Command mkbase makes Slipway's base images as OCI layouts: `make builder` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/slipway-build/slipway/builder/base"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("mkbase", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "bin/base", "directory that receives the OCI layouts build and run")
	suite := flags.String("suite", base.DefaultSuite, "Debian suite")
	mirror := flags.String("mirror", base.DefaultMirror, "mirror of the Debian archive")
	security := flags.String("security", "", `mirror of the security archive, "none" for none (default: beside the mirror)`)
	arch := flags.String("arch", "", "architecture (default: this machine's)")
	fresh := flags.Bool("fresh", false, "make the images anew, with the mirror's newest packages, even if the recipe is unchanged")
	verbose := flags.Bool("v", false, "show what the tools say")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	o := base.Options{Suite: *suite, Mirror: *mirror, Security: *security, Arch: *arch, Env: env}
	if *verbose {
		o.Progress = stderr
	}
	if err := both(ctx, *out, o, *fresh, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "mkbase:", err)
		return 1
	}
	return 0
}

// both makes the two images side by side: each waits for the network and the disk for a good part of its time.
func both(ctx context.Context, out string, o base.Options, fresh bool, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kinds := []base.Kind{base.Build, base.Run}
	errs := make([]error, len(kinds))
	var say sync.Mutex
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() {
			o := o
			o.Kind = kind
			line, err := one(ctx, filepath.Join(out, string(kind)), o, fresh, stderr)
			if err != nil {
				cancel()
				if !errors.Is(err, context.Canceled) {
					errs[i] = err
				}
				return
			}
			say.Lock()
			defer say.Unlock()
			fmt.Fprintln(stdout, line)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// one makes the image unless it is there, and returns a line that says so.
func one(ctx context.Context, dir string, o base.Options, fresh bool, stderr io.Writer) (string, error) {
	start, how := time.Now(), "unchanged"
	img, ok := base.Cached(dir, o)
	if !ok || fresh {
		var err error
		img, err = base.Make(ctx, dir, o)
		if err != nil && ctx.Err() == nil {
			// A mirror that is updated meanwhile, or a download cut short: the second try finds it in order.
			fmt.Fprintf(stderr, "mkbase: %v\nmkbase: trying once more\n", err)
			img, err = base.Make(ctx, dir, o)
		}
		if err != nil {
			return "", err
		}
		how = fmt.Sprintf("made in %.1f s", time.Since(start).Seconds())
	}
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	size, err := layerSize(img)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("base image %-5s %s  %5.1f MB  %s", o.Kind, digest, float64(size)/1e6, how), nil
}

func layerSize(img v1.Image) (n int64, err error) {
	m, err := img.Manifest()
	if err != nil {
		return 0, err
	}
	for _, l := range m.Layers {
		n += l.Size
	}
	return n, nil
}
