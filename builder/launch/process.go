package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
)

// choose finds the process to start: the one that argv[0] is named after, else what the arguments say.
func (s *launch) choose() (cnb.Process, error) {
	name := cnb.ProcessType(filepath.Base(s.Self))
	known := false
	for _, p := range s.md.Processes {
		if p.Type != name {
			continue
		}
		known = true
		if s.eligible(p) {
			return s.withUserArgs(p)
		}
	}
	if known {
		return cnb.Process{}, fmt.Errorf("process type %s was not found for the execution environment %q: %s", name, s.execEnv, s.available())
	}
	return s.fromArgs()
}

// eligible tells whether a process takes part in this execution environment (from Platform API 0.15 on).
func (s *launch) eligible(p cnb.Process) bool {
	return !s.platformAPI.AtLeast(0, 15) || cnb.InExecEnv(p.ExecEnv, s.execEnv)
}

// available says which processes there are, for a message.
func (s *launch) available() string {
	var names []string
	for _, p := range s.md.Processes {
		if s.eligible(p) {
			names = append(names, string(p.Type))
		}
	}
	if len(names) == 0 {
		return "this image has no process types"
	}
	slices.Sort(names)
	return "the process types are " + strings.Join(slices.Compact(names), ", ") + " (choose one with --entrypoint)"
}

// withUserArgs puts the user's arguments in their place. They follow the process's own before Platform API
// 0.10 and for buildpacks before API 0.9, and replace its args, not its command, from then on.
func (s *launch) withUserArgs(p cnb.Process) (cnb.Process, error) {
	if len(p.Command) == 0 || p.Command[0] == "" {
		return p, fmt.Errorf("process type %s has no command", p.Type)
	}
	always := slices.Clone(p.Command[1:])
	p.Command = p.Command[:1]
	replace := len(always) > 0 // only newer buildpacks write more than one
	if s.platformAPI.AtLeast(0, 10) && !replace && len(s.Args) > 0 {
		if p.API == (cnb.API{}) {
			return p, fmt.Errorf("process type %s is of buildpack %q, which metadata.toml does not list", p.Type, p.BuildpackID)
		}
		replace = p.API.AtLeast(0, 9)
	}
	if replace && s.platformAPI.AtLeast(0, 10) && len(s.Args) > 0 {
		p.Args = slices.Concat(always, s.Args)
	} else {
		p.Args = slices.Concat(always, p.Args, s.Args)
	}
	return p, nil
}

// fromArgs makes a process of the user's own command: after "--" it is executed directly, else by a shell.
func (s *launch) fromArgs() (cnb.Process, error) {
	args := s.Args
	switch {
	case len(args) == 0:
		return cnb.Process{}, fmt.Errorf("when there is no default process a command is required: %s", s.available())
	case args[0] != "--":
		return cnb.Process{Command: args[:1], Args: args[1:]}, nil
	case len(args) == 1:
		return cnb.Process{}, fmt.Errorf("no command after --: %s", s.available())
	}
	return cnb.Process{Command: args[1:2], Args: args[2:], Direct: true}, nil
}

// direct makes the command of a process that needs no shell.
func (s *launch) direct(p cnb.Process) (*Command, error) {
	path, err := s.lookup(p.Command[0], p.WorkingDir)
	if err != nil {
		hint := ""
		if p.Type == "" {
			hint = ": " + s.available()
		}
		return nil, launchError("find the executable %q: %w%s", p.Command[0], err, hint)
	}
	return &Command{Path: path, Args: append(slices.Clone(p.Command), p.Args...), Env: s.env.Environ(), Dir: p.WorkingDir}, nil
}

// lookup finds an executable: a path with a slash from the working directory or else from the app's, any
// other name along the PATH of the launch environment.
func (s *launch) lookup(name, dir string) (string, error) {
	var candidates []string
	switch {
	case name == "":
		return "", errors.New("the name is empty")
	case filepath.IsAbs(name):
		candidates = []string{name}
	case strings.Contains(name, "/"):
		candidates = []string{filepath.Join(dir, name), filepath.Join(s.app, name)}
	default:
		for _, d := range filepath.SplitList(s.env.Get("PATH")) {
			if !filepath.IsAbs(d) { // "" is the working directory
				d = filepath.Join(dir, d)
			}
			candidates = append(candidates, filepath.Join(d, name))
		}
	}
	var denied string
	for _, c := range candidates {
		fi, err := os.Stat(c)
		switch {
		case errors.Is(err, syscall.EACCES) || err == nil && !fi.IsDir() && fi.Mode()&0o111 == 0:
			denied = c
		case err == nil && !fi.IsDir():
			return c, nil
		}
	}
	if denied != "" {
		return "", fmt.Errorf("%s is there but may not be executed: permission denied", denied)
	}
	if strings.Contains(name, "/") {
		return "", os.ErrNotExist
	}
	return "", fmt.Errorf("executable file not found in $PATH")
}
