package cnb

import (
	"strings"
	"testing"
)

func TestDecodeBuilderConfig(t *testing.T) {
	c, err := DecodeBuilderConfig("builder.toml", []byte(`
description = "d"
[[buildpacks]]
uri = "bp/a"
[[buildpacks]]
id = "x/b"
version = "1.0.0"
image = "reg.example/b:1"
[[order]]
[[order.group]]
id = "x/a"
optional = true
[build]
image = "base/build"
[[build.env]]
name = "A"
value = "1"
suffix = "append"
delim = ":"
[[run.images]]
image = "base/run"
mirrors = ["m/run"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.BuildImage != "base/build" || c.RunImages[0].Mirrors[0] != "m/run" || c.Buildpacks[1].URI != "docker://reg.example/b:1" ||
		!c.Order[0].Elements[0].Optional || c.BuildEnv[0] != (ConfigEnv{"A", "1", "append", ":"}) {
		t.Errorf("got %+v", c)
	}
}

func TestDecodeBuilderConfigErrors(t *testing.T) {
	const ok = "[build]\nimage = 'b'\n[[run.images]]\nimage = 'r'\n[[order]]\n[[order.group]]\nid = 'x/a'\n"
	for _, tc := range []struct{ in, want string }{
		{"", "build.image: is missing"},
		{"[build]\nimage = 'b'\n", "run.images: is missing"},
		{"[build]\nimage = 'b'\n[[run.images]]\nimage = 'r'\n", "order: is missing"},
		{ok + "[[buildpacks]]\nid = 'x/a'\n", "buildpacks.uri: is missing"},
		{ok + "[stack]\nbuild-image = 'c'\n", "stack.build-image: differs"},
		{ok + "[lifecycle]\nversion = '0.20.0'\n", "builder.toml:9: lifecycle.version: a lifecycle cannot be fetched"},
		{ok + "[[build.env]]\nname = 'A=B'\n", "build.env.name"},
	} {
		_, err := DecodeBuilderConfig("builder.toml", []byte(tc.in))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want %q", tc.in, err, tc.want)
		}
	}
}
