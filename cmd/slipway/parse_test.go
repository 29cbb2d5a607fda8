package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/platform"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"": 0, "1024": 1024, "512m": 512 << 20, "512M": 512 << 20, "512MiB": 512 << 20, "2g": 2 << 30, "1.5k": 1536, "10b": 10, "1 t": 1 << 40,
	} {
		if got, err := parseSize("memory", in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "-1", "0", "1x", "m", "1e300", "nan", "inf", "99999999999t"} {
		if got, err := parseSize("memory", in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestParsePort(t *testing.T) {
	for in, want := range map[string]container.Port{
		"3000":                {Host: 3000, Container: 8080, HostIP: "127.0.0.1"},
		"3000:80":             {Host: 3000, Container: 80, HostIP: "127.0.0.1"},
		":80":                 {Container: 80, HostIP: "127.0.0.1"},
		"0.0.0.0:3000:80/tcp": {Host: 3000, Container: 80, HostIP: "0.0.0.0", Protocol: "tcp"},
		"[::1]:3000:80":       {Host: 3000, Container: 80, HostIP: "::1"},
	} {
		if got, err := parsePort(in, 8080); err != nil || got != want {
			t.Errorf("parsePort(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "80:", "1:0", "70000", "1:2:3", "host:1:2", "80/sctp", "-1"} {
		if got, err := parsePort(in, 8080); err == nil {
			t.Errorf("parsePort(%q) = %+v, want an error", in, got)
		}
	}
}

func TestParseCache(t *testing.T) {
	got, err := parseCache("type=build;format=image;name=x/y;type=launch;format=bind;source=/d")
	want := []cacheUse{{"build", "image", "x/y", ""}, {"launch", "bind", "", "/d"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestParseVolume(t *testing.T) {
	for in, want := range map[string]platform.Volume{
		"/a:/b":       {Source: "/a", Target: "/b", ReadOnly: true},
		"/a:/b:rw":    {Source: "/a", Target: "/b"},
		"cache:/b:ro": {Source: "cache", Target: "/b", ReadOnly: true},
	} {
		if got, err := parseVolume(in); err != nil || got != want {
			t.Errorf("parseVolume(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
}

// A configuration that somebody wrote badly is an error or it is read; and what is read can be written.
func FuzzSettings(f *testing.F) {
	for _, s := range []string{"", "default-builder = \"x\"", "pull-policy = 1", "[run-image-mirrors]\nx = [\"y\"]", "a.b.c = 1", "x = \""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 {
			return
		}
		_, err := decodeSettings("config.toml", []byte(s))
		if err != nil && !strings.HasPrefix(err.Error(), "configuration config.toml: ") {
			t.Errorf("%q: the error does not name the file: %v", s, err)
		}
	})
}
