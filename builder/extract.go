package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// maxPackage is what one layer of a buildpack package may unpack to: room for one that brings every version of a
// language along, and less than a few megabytes of compressed zeros can claim.
const maxPackage = 16 << 30

// ExtractPackage unpacks a layer of a buildpack package, a tar that holds nothing outside of BuildpacksDir, into
// dest, an existing empty directory that takes the place of BuildpacksDir. Everything belongs to this process's
// user. r must be what diffID names; links are made and never followed. After an error the caller removes dest.
func ExtractPackage(ctx context.Context, r io.Reader, diffID, dest string) error {
	x := &extraction{prefix: BuildpacksDir, limits: Limits{Bytes: maxPackage, Entries: 1_000_000}}
	if err := x.into(ctx, r, diffID, dest); err != nil {
		return fmt.Errorf("unpack buildpacks of layer %s: %w", diffID, err)
	}
	return nil
}

// ExtractLaunchSBOM unpacks the SBOM layer of an app image, whose files lie in <layers>/sbom/launch, into dest, an existing
// empty directory that takes the place of that one. It is as careful as ExtractPackage, and takes files only.
func ExtractLaunchSBOM(ctx context.Context, r io.Reader, diffID, layers, dest string) error {
	x := &extraction{prefix: path.Join("/", layers, "sbom", "launch"), limits: Limits{Bytes: 1 << 30, Entries: 100_000}, plain: true}
	if err := x.into(ctx, r, diffID, dest); err != nil {
		return fmt.Errorf("unpack the SBOM files of layer %s: %w", diffID, err)
	}
	return nil
}

// into unpacks all of a layer into dest, with this process's user as owner.
func (x *extraction) into(ctx context.Context, r io.Reader, diffID, dest string) error {
	if !validDiffID(diffID) {
		return errors.New("it has no digest for a name")
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return err
	}
	defer root.Close()
	x.root, x.dirs = root, Dirs{UID: os.Geteuid(), GID: os.Getegid()}
	x.made, x.modes, x.buf = map[string]bool{"": true}, []dirMode{{"", 0o755}}, make([]byte, 256<<10)
	defer x.closeParent()
	if err := verified(ctx, r, diffID, func(r io.Reader) error { return x.all(ctx, r) }); err != nil {
		return err
	}
	return x.finish()
}
