package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
)

// packages has each tool package a composite buildpack, and one for several targets, as an image and as a .cnb file, and
// the other build with it: eight in all.
func (t *trial) packages(ctx context.Context) {
	if t.err != nil {
		return
	}
	static, err := filepath.Abs(t.version("2.0.0"))
	if t.err = err; err != nil {
		return
	}
	t.step("all/buildpack.toml", "api = \"0.10\"\n[buildpack]\nid = \"slipway/all\"\nversion = \"2.0.0\"\n[[order]]\n[[order.group]]\nid = \"slipway/static\"\nversion = \"2.0.0\"\n")
	t.step("package.toml", fmt.Sprintf("[buildpack]\nuri = %q\n[[dependencies]]\nuri = %q\n", t.at("all"), static))
	composite := []string{"--config", t.at("package.toml")}
	targets := []string{"--path", static, "--target", "linux/amd64", "--target", "linux/arm64"}
	for _, maker := range []string{"slipway", "pack"} {
		for _, form := range []string{"image", "cnb"} {
			t.exchange(ctx, maker, form, "composite", composite)
			t.exchange(ctx, maker, form, "targets", targets)
		}
	}
}

// exchange packages with one tool and builds with the other.
func (t *trial) exchange(ctx context.Context, maker, form, shape string, args []string) {
	name, taken := t.registry+"/exchange/"+maker+"-"+shape+":2", ""
	argv := []string{"buildpack", "package"}
	switch form {
	case "image":
		argv, taken = append(argv, name, "--publish"), name
	default:
		name = t.at(maker + "-" + shape + ".cnb")
		argv, taken = append(argv, name), name
		if shape == "targets" {
			taken = t.at(maker + "-" + shape + "-linux-" + runtime.GOARCH + ".cnb")
		}
		if maker == "pack" {
			argv = append(argv, "--format", "file")
		}
	}
	argv = append(argv, args...)
	taker := "pack"
	if maker == "pack" {
		taker = "slipway"
		if shape == "composite" {
			argv = append(argv, "--target", "linux/"+runtime.GOARCH)
		}
		t.theirs(ctx, nil, argv...)
		t.built(ctx, "exchange", t.app, "2.0.0", "--buildpack", taken)
	} else {
		t.ours(ctx, nil, argv...)
		t.packed(ctx, "exchange", "2.0.0", "--buildpack", taken)
	}
	t.say("%s package, %s: made by %s, built with by %s", shape, form, maker, taker)
}
