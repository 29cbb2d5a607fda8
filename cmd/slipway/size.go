package main

import (
	"math"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/platform"
)

// parseSize reads "512m", "2GiB", "1073741824" as docker does: k, m, g and t count in 1024s.
func parseSize(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	t := strings.ToLower(strings.TrimSpace(s))
	t = strings.TrimSuffix(strings.TrimSuffix(t, "b"), "i")
	shift := 0
	if t != "" {
		if i := strings.IndexByte("kmgt", t[len(t)-1]); i >= 0 {
			shift, t = 10*(i+1), t[:len(t)-1]
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(t), 64)
	if err != nil || !(n > 0) || n*float64(int64(1)<<shift) > math.MaxInt64/2 {
		return 0, usagef("--%s %s: want a size such as 512m or 2g", flag, s)
	}
	return int64(n * float64(int64(1)<<shift)), nil
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
