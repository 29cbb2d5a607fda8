package cnb

import (
	"fmt"
	"strings"
)

// ParseProcessType checks the name of a process (buildpack, "launch.toml"): numbers, letters, '.', '_', '-';
// "." and ".." are refused, because the name becomes a link below /cnb/process.
func ParseProcessType(s string) (ProcessType, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("process type is empty")
	case len(s) > 128:
		return "", fmt.Errorf("process type is longer than 128 characters")
	case s == "." || s == "..":
		return "", fmt.Errorf("process type %s is not a name", quote(s))
	case !only(s, "._-"):
		return "", fmt.Errorf("process type %s: only letters, digits, '.', '_' and '-' are allowed", quote(s))
	}
	return ProcessType(s), nil
}

// ParseLayerName checks the name of a directory or <name>.toml below <layers>/<buildpack> (buildpack,
// "Layers"): build, launch and store are the names of other files there.
func ParseLayerName(s string) (LayerName, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("layer name is empty")
	case len(s) > 250:
		return "", fmt.Errorf("layer name is longer than 250 bytes")
	case s == "build" || s == "launch" || s == "store":
		return "", fmt.Errorf("layer name %q is reserved: rename the layer", s)
	case s == "." || s == ".." || strings.ContainsAny(s, "/\\"):
		return "", fmt.Errorf("layer name %s is not a file name", quote(s))
	case strings.HasPrefix(s, ".wh."):
		return "", fmt.Errorf("layer name %s begins with .wh., which images reserve", quote(s))
	case hasControl(s):
		return "", fmt.Errorf("layer name %s has control characters", quote(s))
	}
	return LayerName(s), nil
}

// An EnvName is the name of an environment variable. Made by ParseEnvName.
type EnvName string

// ParseEnvName refuses what cannot be a variable's name: the empty string, '=', NUL and other control characters.
func ParseEnvName(s string) (EnvName, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("environment variable name is empty")
	case len(s) > 1024:
		return "", fmt.Errorf("environment variable name is longer than 1024 bytes")
	case strings.Contains(s, "="):
		return "", fmt.Errorf("environment variable name %s has a '=' in it", quote(s))
	case hasControl(s):
		return "", fmt.Errorf("environment variable name %s has control characters", quote(s))
	}
	return EnvName(s), nil
}

// A LabelKey is the key of an image label. Made by ParseLabelKey.
type LabelKey string

// ParseLabelKey refuses empty, very long and unprintable keys.
func ParseLabelKey(s string) (LabelKey, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("label key is empty")
	case len(s) > 1024:
		return "", fmt.Errorf("label key is longer than 1024 bytes")
	case hasControl(s) || strings.TrimSpace(s) != s:
		return "", fmt.Errorf("label key %s has control characters or spaces around it", quote(s))
	}
	return LabelKey(s), nil
}

// ParseExecEnv checks the name of an execution environment, such as "production" (buildpack, "Execution
// Environments"): '/' is reserved. "*" is a value of exec-env lists and no name.
func ParseExecEnv(s string) (string, error) {
	if s == "" || len(s) > 128 || strings.Contains(s, "/") || hasControl(s) || strings.Contains(s, " ") {
		return "", fmt.Errorf("execution environment %s is not a name such as production, test or development", quote(s))
	}
	return s, nil
}

// ParseVersion checks that a buildpack's version is safe in a path and in a message. The spec wants
// <X>.<Y>.<Z>; buildpacks with other versions are in use, so that is left to IsStrictVersion.
func ParseVersion(s string) (string, error) {
	if s == "" || len(s) > 128 || s == "." || s == ".." || !only(s, "._-+~") || s[0] == '-' {
		return "", fmt.Errorf("version %s is not a version such as 1.2.3", quote(s))
	}
	return s, nil
}

// IsStrictVersion tells whether s is <X>.<Y>.<Z> without leading zeros (buildpack, "buildpack.toml").
func IsStrictVersion(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return false
	}
	for _, p := range parts {
		if p == "" || len(p) > 18 || len(p) > 1 && p[0] == '0' || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// InExecEnv tells whether something with the given exec-env list takes part in env: an empty list and "*"
// stand for every execution environment.
func InExecEnv(list []string, env string) bool {
	for _, e := range list {
		if e == "*" || e == env {
			return true
		}
	}
	return len(list) == 0
}

func only(s, extra string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(extra, c) >= 0:
		default:
			return false
		}
	}
	return true
}

func hasControl(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x20 || c == 0x7f {
			return true
		}
	}
	return false
}
