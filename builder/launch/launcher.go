package launch

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
)

// Where an image has the links that are named after process types, and the launcher itself. Neither is part
// of the PATH that an app sees (platform, "Launch Environment").
const (
	ProcessDir   = "/cnb/process"
	LifecycleDir = "/cnb/lifecycle"
)

// The launcher's own exit codes (platform, "launcher", "Outputs").
const (
	CodePlatformAPI  = 11
	CodeBuildpackAPI = 12
	CodeLaunch       = 82
)

// An Error is a failure before the process was started.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return "failed to launch: " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// A Launcher starts one process of an app image (platform, "launcher").
type Launcher struct {
	Self    string   // argv[0]: its last element chooses the process
	Args    []string // argv[1:]
	Environ []string
	// Stdout and Stderr are those of exec.d executables. Warn gets warnings, one line each.
	Stdout, Stderr io.Writer
	Warn           func(string)
}

// A Command is what a Launcher found to be started.
type Command struct {
	Path string // absolute
	Args []string
	Env  []string
	Dir  string
}

// Exec replaces the calling process, in the command's directory; it returns only on failure.
func (c *Command) Exec() error {
	if err := os.Chdir(c.Dir); err != nil {
		return launchError("change to the working directory: %w", err)
	}
	err := syscall.Exec(c.Path, c.Args, c.Env)
	switch err {
	case syscall.ENOEXEC:
		return launchError("start %s: %w: it has no #! line, or is built for another architecture", c.Path, err)
	case syscall.ENOENT:
		return launchError("start %s: the interpreter in its #! line, or its dynamic loader, is not in the image (a line that ends in CR LF names none)", c.Path)
	case syscall.E2BIG:
		return launchError("start %s: %w: arguments and environment are too large together", c.Path, err)
	}
	return launchError("start %s: %w", c.Path, err)
}

func launchError(format string, args ...any) error {
	return &Error{CodeLaunch, fmt.Errorf(format, args...)}
}

// launch is the state of one Command call.
type launch struct {
	*Launcher
	platformAPI cnb.API
	app, layers string
	execEnv     string
	md          cnb.Metadata
	env         *Env
}

// Command chooses the process, makes its environment (which runs the layers' exec.d) and returns what is to
// be executed. Its errors are of type *Error.
func (l *Launcher) Command() (*Command, error) {
	env := NewEnv(l.Environ)
	s := &launch{
		Launcher: l,
		app:      orDefault(env.Get("CNB_APP_DIR"), "/workspace"),
		layers:   orDefault(env.Get("CNB_LAYERS_DIR"), "/layers"),
		execEnv:  orDefault(env.Get("CNB_EXEC_ENV"), "production"),
		env:      env,
	}
	for _, d := range []*string{&s.app, &s.layers} {
		abs, err := filepath.Abs(*d)
		if err != nil {
			return nil, launchError("find %s: %w", *d, err)
		}
		*d = abs
	}
	if fi, err := os.Stat(s.app); err != nil {
		return nil, launchError("change to app directory: %w", err)
	} else if !fi.IsDir() {
		return nil, launchError("change to app directory: %s is not a directory", s.app)
	}
	if err := s.readMetadata(); err != nil {
		return nil, err
	}
	if t := env.Get("CNB_PROCESS_TYPE"); t != "" && l.Warn != nil {
		l.Warn("CNB_PROCESS_TYPE is not supported in Platform API " + s.platformAPI.String())
		l.Warn(fmt.Sprintf("Run with ENTRYPOINT '%s' to invoke the '%s' process type", t, t))
	}
	s.cleanEnv()
	p, err := s.choose()
	if err != nil {
		return nil, launchError("determine start command: %w", err)
	}
	if p.WorkingDir == "" {
		p.WorkingDir = s.app
	} else if !filepath.IsAbs(p.WorkingDir) {
		p.WorkingDir = filepath.Join(s.app, p.WorkingDir)
	}
	if err := s.layerEnv(p.Type); err != nil {
		return nil, launchError("modify env: %w", err)
	}
	if err := s.execD(p.Type); err != nil {
		return nil, launchError("exec.d: %w", err)
	}
	if p.Direct {
		return s.direct(p)
	}
	return s.shell(p)
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// readMetadata reads metadata.toml and checks the API versions.
func (s *launch) readMetadata() (err error) {
	v := s.env.Get("CNB_PLATFORM_API")
	if v == "" {
		return &Error{CodePlatformAPI, fmt.Errorf("please set 'CNB_PLATFORM_API'")}
	}
	if s.platformAPI, err = cnb.ParseAPI(v); err != nil || !s.platformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return &Error{CodePlatformAPI, fmt.Errorf("platform API version %q is incompatible with the lifecycle: this launcher speaks %s to %s", v, cnb.OldestPlatformAPI, cnb.NewestPlatformAPI)}
	}
	file := filepath.Join(s.layers, "config", "metadata.toml")
	b, err := cnb.ReadFile(filepath.Dir(file), "metadata.toml", cnb.MaxDescriptor)
	if err != nil {
		return launchError("read metadata %s: %w", file, err)
	}
	if s.md, err = cnb.DecodeMetadata(file, b); err != nil {
		return launchError("read metadata: %w", err)
	}
	for _, bp := range s.md.Buildpacks {
		if !bp.API.Within(cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI) {
			return &Error{CodeBuildpackAPI, fmt.Errorf("set API for buildpack '%s': buildpack API version '%s' is incompatible with the lifecycle: this launcher speaks %s to %s",
				bp.Ref, bp.API, cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI)}
		}
	}
	return nil
}

// cleanEnv takes away what was meant for the launcher and not for the app.
func (s *launch) cleanEnv() {
	for _, name := range []string{"CNB_LAYERS_DIR", "CNB_APP_DIR", "CNB_PROCESS_TYPE", "CNB_PLATFORM_API", "CNB_DEPRECATION_MODE"} {
		s.env.Unset(name)
	}
	if path, ok := s.env.Lookup("PATH"); ok {
		parts := slices.DeleteFunc(strings.Split(path, ":"), func(p string) bool { return p == ProcessDir || p == LifecycleDir })
		s.env.Set("PATH", strings.Join(parts, ":"))
	}
}

// eachLayer calls f with every launch layer's directory: buildpacks in the order of the build, each one's
// layers by name.
func (s *launch) eachLayer(bp cnb.GroupElement, f func(dir string) error) error {
	dir := filepath.Join(s.layers, bp.ID.Dir())
	entries, err := readDir(dir, openPlain)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := f(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func openPlain(name string, flag int) (*os.File, error) { return os.OpenFile(name, flag, 0) }

// layerEnv applies path variables and env directories, buildpack by buildpack.
func (s *launch) layerEnv(process cnb.ProcessType) error {
	for _, bp := range s.md.Buildpacks {
		err := s.eachLayer(bp, func(dir string) error {
			s.env.AddLayerPaths(dir, LaunchPaths(), func(sub string) bool {
				fi, err := os.Stat(filepath.Join(dir, sub))
				return err == nil && fi.IsDir()
			})
			return nil
		})
		if err != nil {
			return err
		}
		err = s.eachLayer(bp, func(dir string) error {
			names := []string{"env", "env.launch"}
			if process != "" {
				names = append(names, filepath.Join("env.launch", string(process)))
			}
			var files [][]EnvFile
			for _, n := range names {
				f, err := ReadEnvDir(filepath.Join(dir, n))
				if err != nil {
					return err
				}
				files = append(files, f)
			}
			if err := s.env.ApplyLayer(Override, files...); err != nil {
				return fmt.Errorf("layer %s of buildpack %s: %w", filepath.Base(dir), bp.Ref, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// files lists what is not a directory in <layer>/<kind> and <layer>/<kind>/<process>, layer by layer, as the
// reference does.
func (s *launch) files(kind string, process cnb.ProcessType) ([]string, error) {
	var out []string
	for _, bp := range s.md.Buildpacks {
		err := s.eachLayer(bp, func(dir string) error {
			dirs := []string{filepath.Join(dir, kind)}
			if process != "" {
				dirs = append(dirs, filepath.Join(dir, kind, string(process)))
			}
			for _, d := range dirs {
				entries, err := readDir(d, openPlain)
				if err != nil {
					return err
				}
				for _, e := range entries {
					if !e.IsDir() {
						out = append(out, filepath.Join(d, e.Name()))
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
