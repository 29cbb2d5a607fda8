package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/registrar"
)

// indexRepository stands where an app does for the repository of the index.
func indexRepository() build.App {
	return build.App{ID: build.IndexID, Name: build.IndexName, Branch: "main"}
}

// elsewhere is registrar.Registrar.Elsewhere: the indexes of this machine that were synced.
func (d *Daemon) elsewhere(namespace string) string {
	set, err := index.OpenSet(filepath.Join(d.machine.State, platform.IndexDir))
	if err != nil {
		d.host.Fault(err)
		return ""
	}
	if name := set.Namespace(namespace); name != "" {
		return "the index " + name
	}
	return ""
}

// lookFor is how long a registry may take to tell of an image.
const lookFor = time.Minute

// lookPackage is registrar.Registrar.Look: whatever keeps an image from being read, who registers it is told.
func (d *Daemon) lookPackage(ctx context.Context, _ build.Actor, address string) (p registrar.Package, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	ref, err := image.ParseRef(address)
	if err != nil {
		return p, badImage(err)
	}
	o := d.host.Settings.Registry
	if repo, ok := d.own(ref.Repository()); ok {
		if !shared(repo) {
			return p, badImage(fmt.Errorf("%s is an app's repository, which builds of others cannot read: push it to %s/NAMESPACE/NAME", ref.Repository(), d.base().Host))
		}
		o.Auth = d.selfAuth()
	}
	g, err := image.NewRegistry(o)
	if err != nil {
		return p, err
	}
	return registrar.Inspect(ctx, g, ref)
}

func badImage(err error) error { return &build.InvalidError{Field: "image", Text: err.Error()} }
