package main

import (
	"errors"
	"path"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// parseSize reads a flag that is a size, such as 512m. None is 0.
func parseSize(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := transcript.ParseBytes(s)
	if err == nil && n == 0 {
		err = errors.New("want a size such as 512m or 2g")
	}
	if err != nil {
		return 0, usagef("--%s %s: %w", flag, s, err)
	}
	return n, nil
}

// parseVolume reads --volume SOURCE:TARGET[:ro|rw]; read-only is the default, as in pack.
func parseVolume(s string) (platform.Volume, error) {
	f := strings.Split(s, ":")
	if len(f) < 2 || len(f) > 3 || f[0] == "" {
		return platform.Volume{}, usagef("--volume %s: want HOST:TARGET[:ro|rw]", s)
	}
	v := platform.Volume{Source: f[0], Target: path.Clean(f[1]), ReadOnly: true}
	if !path.IsAbs(f[1]) || v.Target == "/" {
		return v, usagef("--volume %s: %s is no absolute path below / of the container", s, f[1])
	}
	for _, own := range []string{"/workspace", "/layers", "/platform", "/cnb", "/slipway"} {
		if v.Target == own || own != "/workspace" && strings.HasPrefix(v.Target, own+"/") {
			return v, usagef("--volume %s: %s belongs to the build itself", s, own)
		}
	}
	if strings.ContainsAny(v.Source, "/.") {
		abs, err := filepath.Abs(v.Source)
		if err != nil {
			return v, usagef("--volume %s: %w", s, err)
		}
		v.Source = abs
	}
	if len(f) == 3 {
		for o := range strings.SplitSeq(f[2], ",") {
			switch o {
			case "ro":
				v.ReadOnly = true
			case "rw":
				v.ReadOnly = false
			default:
				return v, usagef("--volume %s: option %q: want ro or rw", s, o)
			}
		}
	}
	return v, nil
}
