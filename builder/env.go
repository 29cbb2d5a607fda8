package builder

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/builder/launch"
)

// passThrough are the variables of the build image that reach buildpacks. Everything else stays out, so that
// what a builder's author set for one purpose is not an input of every build.
var passThrough = [...]string{
	"CNB_STACK_ID", "HOME", "HOSTNAME",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH",
}

// defaultExecEnv is the execution environment of a build that names none (platform 0.15, "detector").
const defaultExecEnv = "production"

// An execution is what the environment of the executables of one phase is made of.
type execution struct {
	env      *launch.Env // of the build image, and what the layers of earlier buildpacks added
	user     []launch.EnvFile
	operator []launch.EnvFile
	target   cnb.Target
	execEnv  string
}

// newExecution reads what the platform and the operator provide, once for a phase.
func newExecution(dirs Dirs, api cnb.API, image []string, stackID, execEnv string, target cnb.Target) (execution, error) {
	if execEnv == "" {
		execEnv = defaultExecEnv
	}
	e := execution{env: baseEnv(image, stackID), target: target, execEnv: execEnv}
	_, err := cnb.ParseExecEnv(execEnv)
	if err != nil {
		return e, err
	}
	if dirs.Platform != "" {
		if e.user, err = platformEnv(dirs.Host(path.Join(dirs.Platform, "env"))); err != nil {
			return e, fmt.Errorf("read the user's environment: %w", err)
		}
	}
	if dirs.BuildConfig != "" && api.AtLeast(0, 11) {
		if e.operator, err = platformEnv(dirs.Host(path.Join(dirs.BuildConfig, "env"))); err != nil {
			return e, fmt.Errorf("read the operator's environment: %w", err)
		}
	}
	return e, nil
}

// platformEnv reads an env directory that the platform made. Hidden files are not variables: mounted secrets and
// version control have them.
func platformEnv(dir string) ([]launch.EnvFile, error) {
	files, err := launch.ReadEnvDir(dir)
	return slices.DeleteFunc(files, func(f launch.EnvFile) bool { return strings.HasPrefix(f.Name, ".") }), err
}

// baseEnv is what every executable starts with: the allowed part of the build image's environment.
func baseEnv(image []string, stackID string) *launch.Env {
	env := launch.NewEnv(slices.DeleteFunc(slices.Clone(image), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return !slices.Contains(passThrough[:], name)
	}))
	if env.Get("CNB_STACK_ID") == "" && stackID != "" {
		env.Set("CNB_STACK_ID", stackID)
	}
	return env
}

// environ is the whole environment of one executable of d. own are the variables of this one execution; nothing
// that a user, an operator or an earlier layer set can replace them.
func (e execution) environ(d *cnb.Descriptor, own map[string]string) ([]string, error) {
	env := e.env.Clone()
	if !d.ClearEnv {
		if err := env.ApplyUser(e.user, launch.BuildPaths()); err != nil {
			return nil, fmt.Errorf("apply the user's environment: %w", err)
		}
	}
	if err := env.ApplyOperator(e.operator); err != nil {
		return nil, fmt.Errorf("apply the operator's environment: %w", err)
	}
	own = maps.Clone(own)
	if d.Extension {
		own["CNB_EXTENSION_DIR"] = d.Path
	} else {
		own["CNB_BUILDPACK_DIR"] = d.Path
	}
	if d.API.AtLeast(0, 10) {
		maps.Copy(own, targetEnv(e.target))
	}
	if d.API.AtLeast(0, 12) {
		own["CNB_EXEC_ENV"] = e.execEnv
	}
	for name, value := range own {
		env.Set(name, value)
	}
	return env.Environ(), nil
}

// targetEnv describes the run image (buildpack, "Targets").
func targetEnv(t cnb.Target) map[string]string {
	m := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			m[name] = value
		}
	}
	set("CNB_TARGET_OS", t.OS)
	set("CNB_TARGET_ARCH", t.Arch)
	set("CNB_TARGET_ARCH_VARIANT", t.Variant)
	if len(t.Distros) > 0 {
		set("CNB_TARGET_DISTRO_NAME", t.Distros[0].Name)
		set("CNB_TARGET_DISTRO_VERSION", t.Distros[0].Version)
	}
	return m
}

// addLayer makes a build layer, the directory name below root, part of the environment of later executables.
// seen is the layer's path as they see it.
func (e execution) addLayer(root *os.Root, name, seen string) error {
	e.env.AddLayerPaths(seen, launch.BuildPaths(), func(dir string) bool { return layerHas(root, path.Join(name, dir)) })
	var dirs [][]launch.EnvFile
	for _, dir := range []string{"env", "env.build"} {
		files, err := launch.ReadEnvDirIn(root, path.Join(name, dir))
		if err != nil {
			return err
		}
		dirs = append(dirs, files)
	}
	return e.env.ApplyLayer(launch.Override, dirs...)
}

// layerHas tells whether a layer has a directory. A link that leaves the layers counts, because only the build
// container can tell what it leads to.
func layerHas(root *os.Root, dir string) bool {
	fi, err := root.Lstat(dir)
	if err != nil {
		return false
	}
	if !fi.IsDir() && fi.Mode()&os.ModeSymlink != 0 {
		fi, err = root.Stat(dir)
		return err == nil && fi.IsDir() || err != nil && !os.IsNotExist(err)
	}
	return fi.IsDir()
}
