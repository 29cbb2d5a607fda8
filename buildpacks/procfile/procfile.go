package main

import (
	"regexp"
	"strings"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// line is one process of a Procfile.
type line struct {
	process string
	command string
}

// maxProcesses is what an image may have.
const maxProcesses = 128

// processType is the spec's pattern; "." and ".." are refused apart.
var processType = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// parse reads "type: command" lines. Blank lines and lines that begin with # are left out; anything else is
// an error that names its line.
func parse(text string) ([]line, error) {
	const form = `write each line as "type: command", for example "web: node server.js"`
	var list []line
	seen := map[string]int{}
	n := 0
	for l := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		n++
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' {
			continue
		}
		if strings.ContainsFunc(l, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, parcel.Yours("remove it", "your Procfile, line %d has a control character", n)
		}
		name, cmd, ok := strings.Cut(l, ":")
		name, cmd = strings.TrimSpace(name), strings.TrimSpace(cmd)
		switch {
		case !ok:
			return nil, parcel.Yours(form, "your Procfile, line %d has no colon: %q", n, clip(l))
		case !processType.MatchString(name) || name == "." || name == "..":
			return nil, parcel.Yours("name it with letters, digits, '-', '_' and '.'", "your Procfile, line %d: %q is not a process type", n, clip(name))
		case cmd == "":
			return nil, parcel.Yours(form, "your Procfile, line %d: process %s has no command", n, name)
		case seen[name] != 0:
			return nil, parcel.Yours("remove one of them", "your Procfile, line %d: process %s stands in line %d already", n, name, seen[name])
		case len(list) == maxProcesses:
			return nil, parcel.Yours("remove some", "your Procfile, line %d: more than %d processes", n, maxProcesses)
		}
		seen[name] = n
		list = append(list, line{name, cmd})
	}
	if len(list) == 0 {
		return nil, parcel.Yours(form+", or remove the Procfile", "your Procfile has no processes")
	}
	return list, nil
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// command is the argv of a command line. Plain words are started directly. All else means what it means to a
// shell, so the run image's /bin/sh gets it, replaced by the program itself where there is only one, so that
// SIGTERM reaches the program.
func command(s string) []string {
	if !strings.ContainsAny(s, "|&;<>()$`\\\"'*?[]#~=%!{}") {
		return strings.Fields(s)
	}
	first, _, _ := strings.Cut(s, " ")
	if !strings.ContainsAny(s, "|&;<>()`#!") && !strings.ContainsAny(first, "={") && !keyword(first) {
		s = "exec " + s
	}
	return []string{"/bin/sh", "-c", s}
}

// keyword says that a shell gives the word a meaning that exec would take away.
func keyword(w string) bool {
	switch w {
	case "exec", "if", "for", "while", "until", "case", "cd", "export", "set", "source", ".", "eval", "trap", "ulimit", "umask", "wait", "[":
		return true
	}
	return false
}

func names(list []line) string {
	var n []string
	for _, l := range list {
		n = append(n, l.process)
	}
	return strings.Join(n, ", ")
}
