// Command mklifecycle makes the drop-in lifecycle from its two binaries: `make lifecycle` runs it.
package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/lifecycle"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stderr)) }

type options struct{ dir, archive, layout, arch string }

func run(ctx context.Context, args []string, stderr io.Writer) int {
	var d lifecycle.Distribution
	var o options
	flags := flag.NewFlagSet("mklifecycle", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&d.Version, "version", "", "version of the lifecycle")
	flags.StringVar(&o.dir, "dir", "bin/lifecycle", "directory that holds lifecycle and launcher, and receives links and bills of materials")
	flags.StringVar(&o.archive, "archive", "", "tarball to write")
	flags.StringVar(&o.layout, "image", "", "OCI layout directory that receives the lifecycle image")
	flags.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture of the binaries")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	d.Lifecycle, d.Launcher = filepath.Join(o.dir, "lifecycle"), filepath.Join(o.dir, "launcher")
	if err := o.make(ctx, d); err != nil {
		fmt.Fprintln(stderr, "mklifecycle:", err)
		return 1
	}
	return 0
}

func (o options) make(ctx context.Context, d lifecycle.Distribution) error {
	if err := d.Check(); err != nil {
		return err
	}
	if err := d.Write(o.dir); err != nil {
		return err
	}
	if o.archive != "" {
		if err := writeArchive(o.archive, d); err != nil {
			return err
		}
	}
	if o.layout == "" {
		return nil
	}
	img, err := d.Image(o.arch, roots())
	if err != nil {
		return err
	}
	to, err := image.ParseRef("oci:" + o.layout)
	if err != nil {
		return err
	}
	name, err := image.ParseRef("slipway/lifecycle:" + d.Version)
	if err != nil {
		return err
	}
	_, err = image.WriteLayout(ctx, to, []image.Ref{name}, img, nil)
	return err
}

// writeArchive leaves an archive alone that is the same already.
func writeArchive(at string, d lifecycle.Distribution) error {
	var b bytes.Buffer
	if err := d.WriteArchive(&b); err != nil {
		return err
	}
	if have, err := os.ReadFile(at); err == nil && bytes.Equal(have, b.Bytes()) {
		return nil
	}
	err := os.WriteFile(at+".new", b.Bytes(), 0o644)
	if err == nil {
		err = os.Rename(at+".new", at)
	}
	return err
}

// roots is Mozilla's certificate authorities in PEM form, but for those that it trusts under conditions only, which a
// file of certificates cannot say. Platforms may mount their own file over it.
func roots() []byte {
	var b bytes.Buffer
	for r := range bundle.Roots() {
		if r.Constraint == nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate}) // a Buffer takes everything
		}
	}
	return b.Bytes()
}
