package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// detect passes for a go.mod in the app's root directory.
func detect(_ context.Context, c libcnb.DetectContext, w parcel.Work) (libcnb.DetectResult, error) {
	text, ok, err := parcel.ReadText(c.ApplicationPath, "go.mod")
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	if !ok {
		switch {
		case found(c.ApplicationPath, "go.work"):
			return w.Fail("go.work, but no go.mod in the app's root directory; build the directory of one module (--path)")
		case found(c.ApplicationPath, "*.go"):
			return w.Fail("Go files, but no go.mod in the app's root directory; run go mod init and go mod tidy")
		}
		return w.Fail("no go.mod in the app's root directory")
	}
	m, err := parseModule(text)
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	return w.Pass("found go.mod of "+m.path, parcel.Plan("go"))
}

func found(dir, pattern string) bool {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		return false
	}
	_, err = os.Stat(names[0])
	return err == nil
}
