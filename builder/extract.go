package builder

import (
	"context"
	"fmt"
	"io"
	"os"
)

// maxPackage is what one layer of a buildpack package may unpack to: room for one that brings every version of a
// language along, and less than a few megabytes of compressed zeros can claim.
const maxPackage = 16 << 30

// ExtractPackage unpacks a layer of a buildpack package, a tar that holds nothing outside of BuildpacksDir, into
// dest, an existing empty directory that takes the place of BuildpacksDir. Everything belongs to this process's
// user. r must be what diffID names; links are made and never followed. After an error the caller removes dest.
func ExtractPackage(ctx context.Context, r io.Reader, diffID, dest string) error {
	if !validDiffID(diffID) {
		return fmt.Errorf("unpack buildpacks: layer %q is not a digest", diffID)
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return fmt.Errorf("unpack buildpacks: %w", err)
	}
	defer root.Close()
	x := &extraction{
		dirs:   Dirs{UID: os.Geteuid(), GID: os.Getegid()},
		root:   root,
		prefix: BuildpacksDir,
		limits: Limits{Bytes: maxPackage, Entries: 1_000_000},
		made:   map[string]bool{"": true},
		modes:  []dirMode{{"", 0o755}},
		buf:    make([]byte, 256<<10),
	}
	defer x.closeParent()
	err = verified(ctx, r, diffID, func(r io.Reader) error { return x.all(ctx, r) })
	if err == nil {
		err = x.finish()
	}
	if err != nil {
		return fmt.Errorf("unpack buildpacks of layer %s: %w", diffID, err)
	}
	return nil
}
