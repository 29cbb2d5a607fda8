package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// shell makes the command of a process that bash starts: it sources the profile scripts of the layers and
// the app's .profile, then becomes a second bash that runs the command. Without arguments the command is a
// script; with arguments the command and each argument are one word each, whose variables bash expands.
func (s *launch) shell(p cnb.Process) (*Command, error) {
	bash := "/bin/bash"
	if _, err := os.Stat(bash); err != nil {
		if bash, err = s.lookup("bash", s.app); err != nil {
			return nil, launchError("process %q wants a shell and the image has no bash: start the command after -- to do without", strings.Join(p.Command, " "))
		}
	}
	profiles, err := s.files("profile.d", p.Type)
	if err != nil {
		return nil, launchError("find profiles: %w", err)
	}
	own := filepath.Join(s.app, ".profile")
	if fi, err := os.Stat(own); err == nil && !fi.IsDir() {
		profiles = append(profiles, own)
	}
	s.hint(p)

	var script strings.Builder
	for _, f := range profiles {
		fmt.Fprintf(&script, "source %s\n", shellQuote(f))
	}
	fmt.Fprintf(&script, "cd %s || exit\n", shellQuote(p.WorkingDir))
	if len(p.Args) == 0 {
		script.WriteString(`exec bash -c "$@"`)
	} else {
		fmt.Fprintf(&script, `exec bash -c %s "$@"`, shellQuote(words(len(p.Args)+1)))
	}
	args := append([]string{"bash", "-c", script.String(), s.Self, strings.Join(p.Command, " ")}, p.Args...)
	return &Command{Path: bash, Args: args, Env: s.env.Environ(), Dir: s.app}, nil
}

// words is a script that expands its n positional parameters, from $0 on, each to one word. printf and not
// echo, so that a word such as -n stays what it is.
func words(n int) string {
	w := make([]string, n)
	for i := range w {
		w[i] = fmt.Sprintf(`"$(eval "printf %%s \"${%d}\"")"`, i)
	}
	return strings.Join(w, " ")
}

// shellQuote makes s one word that a shell takes literally.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// hint warns a user who gives a process type as the command where only a shell would look for it.
func (s *launch) hint(p cnb.Process) {
	if p.Type != "" || len(p.Args) > 0 || s.Warn == nil {
		return
	}
	for _, q := range s.md.Processes {
		if string(q.Type) == p.Command[0] {
			if _, err := s.lookup(p.Command[0], s.app); err != nil {
				s.Warn(fmt.Sprintf("%s is a process type of this image: start it with --entrypoint %s", q.Type, q.Type))
			}
			return
		}
	}
}
