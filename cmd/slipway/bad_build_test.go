package main

import (
	"testing"
)

func badBuilds(t *testing.T, y *yard) {
	hostile := func(name, id string, says ...string) bad {
		return bad{name: name, args: with(fixture(t, "hostile/"+name)), code: 51, says: append([]string{"sample/" + id + "@0.0.1"}, says...)}
	}
	same := func(name string, says ...string) bad { return hostile(name, name, says...) }
	script := func(name, text string, says ...string) bad {
		return bad{name: name, args: with(buildpack(t, name, "", text)), code: 51, says: append([]string{"test/" + name + "@1.2.3"}, says...)}
	}
	fails := same("build-fails", "status ")
	quiet := fails
	quiet.name, quiet.args = "build-fails quietly", append([]string{"--quiet"}, fails.args...)
	quiet.shows = []string{"\n  | "}
	y.try(t,
		fails, quiet,
		same("build-killed", "SIG"),
		same("wrong-arch", "bin/build"),
		same("launch-type-dotdot", "launch.toml", `".."`),
		same("launch-type-space", "launch.toml", `"a b"`),
		same("launch-two-defaults", "launch.toml", "default"),
		same("launch-string-command", "launch.toml:", "command"),
		same("launch-direct", "launch.toml", "direct"),
		same("launch-syntax", "launch.toml:"),
		same("launch-label-flood", "launch.toml"),
		same("env-equals", "A=B"),
		same("layer-build", `"build"`),
		same("layer-file"),
		same("sbom-undeclared", "dep.sbom.spdx.json: buildpack.toml", "application/spdx+json", "sbom-formats"),
		same("fifo-toml", "dep.toml"),
		same("fifo-launch", "launch.toml"),
		same("toml-is-device", "launch.toml"),
		same("symlink-out", "etc"),
		same("dotted-key-bomb", "launch.toml"),
		same("toml-huge", ".toml"),
		bad{name: "many-layers", args: with(fixture(t, "hostile/many-layers")), code: 1, says: []string{"1005 layers", "1000"}},
		script("store-toml", `echo 'x = ' > "$CNB_LAYERS_DIR/store.toml"`, "store.toml:1"),
		script("build-toml", `printf '[[unmet]]\nname = 7\n' > "$CNB_LAYERS_DIR/build.toml"`, "build.toml:2"),
		script("layer-toml", `mkdir "$CNB_LAYERS_DIR/dep"; printf '[types]\nlaunch = "yes"\n' > "$CNB_LAYERS_DIR/dep.toml"`, "dep.toml:2", "launch"),
		script("interpreter", "#!/bin/nowhere\n", "/bin/nowhere"),
	)
}
