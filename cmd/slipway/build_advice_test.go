package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/platform"
)

// A shell that ended well with the default builder has no error to advise on.
func TestAdviseBuilder(t *testing.T) {
	t.Parallel()
	o := platform.Options{DefaultBuilder: builtinBuilder}
	if err := adviseBuilder(o, nil); err != nil {
		t.Errorf("advice on no error: %v", err)
	}
	missing := errors.New(`builder: image "` + builtinBuilder + `" is not there`)
	if err := adviseBuilder(o, missing); !errors.Is(err, missing) || !strings.Contains(err.Error(), "make builder") {
		t.Errorf("advice on the missing default builder: %v", err)
	}
}
