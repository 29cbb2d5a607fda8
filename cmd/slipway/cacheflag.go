package main

import (
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// cacheUse is one cache of a --cache flag.
type cacheUse struct{ kind, format, name, source string }

// parseCache reads --cache as pack has it: fields separated by ";", where each "type" begins a new cache.
func parseCache(flag string) ([]cacheUse, error) {
	fields, err := keyValues(flag, ";")
	if err != nil {
		return nil, usagef("--cache %s: %w", flag, err)
	}
	var out []cacheUse
	for _, f := range fields {
		if f[0] == "type" {
			out = append(out, cacheUse{kind: f[1], format: "volume"})
		}
		if len(out) == 0 {
			out = append(out, cacheUse{kind: "build", format: "volume"})
		}
		c := &out[len(out)-1]
		switch f[0] {
		case "type":
		case "format":
			c.format = f[1]
		case "name":
			c.name = f[1]
		case "source":
			c.source = f[1]
		default:
			return nil, usagef("--cache %s: unknown key %q: want type, format, name or source", flag, f[0])
		}
	}
	for _, c := range out {
		if !slices.Contains([]string{"build", "launch"}, c.kind) {
			return nil, usagef("--cache %s: type %q: want build or launch", flag, c.kind)
		}
		if !slices.Contains([]string{"volume", "image", "bind"}, c.format) {
			return nil, usagef("--cache %s: format %q: want volume, image or bind", flag, c.format)
		}
	}
	return out, nil
}

// cache makes of the flags where build layers are kept.
func (a *app) cache(flags []string, cacheImage string, clear bool) (platform.Cache, error) {
	c := platform.Cache{Clear: clear, Image: cacheImage}
	for _, flag := range flags {
		uses, err := parseCache(flag)
		if err != nil {
			return c, err
		}
		for _, u := range uses {
			if err := a.useCache(&c, flag, u); err != nil {
				return c, err
			}
		}
	}
	if c.Image != "" {
		if _, err := image.ParseRef(c.Image); err != nil {
			return c, usagef("cache image: %w", err)
		}
		if c.Key != "" {
			return c, usagef("two build caches given, volume %s and image %s: choose one", c.Key, c.Image)
		}
	}
	return c, nil
}

func (a *app) useCache(c *platform.Cache, flag string, u cacheUse) error {
	switch {
	case u.kind == "launch":
		if u.name != "" || u.source != "" {
			a.note("--cache %s: there is no launch cache here, layers of earlier images are found in the local store", flag)
		}
	case u.format == "bind":
		return usagef("--cache %s: no cache is kept in a directory of yours: name it with format=volume;name=NAME, and set SLIPWAY_HOME to choose where all caches are kept", flag)
	case u.format == "image" && u.name == "":
		return usagef("--cache %s: format=image wants name=IMAGE", flag)
	case u.format == "image" && c.Image != "" && c.Image != u.name:
		return usagef("--cache %s: there are two cache images, %s and %s", flag, c.Image, u.name)
	case u.format == "image":
		c.Image = u.name
	case u.source != "":
		return usagef("--cache %s: source is for format=bind", flag)
	case u.name != "":
		if strings.ContainsAny(u.name, "/\\ ") {
			return usagef("--cache %s: %q is no name of a cache", flag, u.name)
		}
		c.Key = "volume/" + u.name
	}
	return nil
}
