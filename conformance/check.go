package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// check compares how a step ended with what the case says. It returns a line for each difference.
func (r *root) check(m *matcher, n int, s Step, got result) ([]string, error) {
	var lines []string
	allowed, err := exitCodes(s.Exit)
	if err != nil {
		return nil, err
	}
	if !allowed(got.code) {
		want := s.Exit
		if want == nil {
			want = 0
		}
		lines = append(lines, fmt.Sprintf("exit code: want %v\n\tgot  %d", want, got.code))
	}
	for _, t := range []struct {
		name     string
		patterns []string
		text     string
		want     bool
	}{
		{"output", s.Output, got.both, true},
		{"standard output", s.Stdout, got.stdout, true},
		{"standard error", s.Stderr, got.stderr, true},
		{"output", s.Silent, got.both, false},
		{"requests to the registry", s.Asking, strings.Join(got.requests, "\n"), true},
		{"requests to the registry", s.NoAsking, strings.Join(got.requests, "\n"), false},
	} {
		more, err := r.checkText(t.name, t.patterns, t.text, t.want)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	more, err := r.checkPaths(s)
	if err != nil {
		return nil, err
	}
	lines = append(lines, more...)
	more, err = r.checkFiles(m, n)
	return append(lines, more...), err
}

func (r *root) checkText(name string, patterns []string, text string, want bool) ([]string, error) {
	var lines []string
	for _, p := range patterns {
		p, err := r.expand(p)
		if err != nil {
			return nil, err
		}
		pattern, err := regexp.Compile("(?m)" + p)
		if err != nil {
			return nil, err
		}
		found := pattern.FindString(text)
		if matches := pattern.MatchString(text); matches != want {
			if want {
				lines = append(lines, fmt.Sprintf("%s: want a match of %q", name, p))
			} else {
				lines = append(lines, fmt.Sprintf("%s: want no match of %q\n\tgot  %q", name, p, found))
			}
		}
	}
	return lines, nil
}

func (r *root) checkPaths(s Step) ([]string, error) {
	var lines []string
	for _, name := range append(slices.Clip(s.Present), s.Absent...) {
		path, err := r.expand(name)
		if err != nil {
			return nil, err
		}
		_, err = os.Lstat(r.path(path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return nil, err
		}
		switch want := slices.Contains(s.Present, name); {
		case want && err != nil:
			lines = append(lines, name+": want this path\n\tgot  nothing")
		case !want && err == nil:
			lines = append(lines, name+": want nothing there\n\tgot  something")
		}
	}
	return lines, nil
}

// checkFiles compares the files and images that the case wants after this step.
func (r *root) checkFiles(m *matcher, n int) ([]string, error) {
	var lines []string
	for _, f := range r.c.files {
		kind, step, path := section(f.Name)
		if step == 0 {
			step = len(r.c.Steps)
		}
		if kind == "" || kind == "step" || step != n {
			continue
		}
		path, err := r.expand(path)
		if err != nil {
			return nil, err
		}
		want, err := r.expand(string(f.Data))
		if err != nil {
			lines = append(lines, fmt.Sprintf("%s: %v", f.Name, err))
			continue
		}
		if kind == "image" {
			more, err := r.checkImage(m, path, want)
			if err != nil {
				return nil, err
			}
			lines = append(lines, more...)
			continue
		}
		data, err := os.ReadFile(r.path(path))
		if errors.Is(err, fs.ErrNotExist) {
			lines = append(lines, path+": want this file\n\tgot  nothing")
			continue
		} else if err != nil {
			return nil, err
		}
		more, err := compare(m, kind, path, want, string(data))
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

func (r *root) checkImage(m *matcher, name, want string) ([]string, error) {
	ref := r.ref(strings.TrimSuffix(name, ".toml"))
	wanted, _, err := parse("image.toml", []byte(want))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	got, err := r.view(ref)
	if err != nil {
		return []string{fmt.Sprintf("image %s: %v", name, err)}, nil
	}
	m.exact = false
	var lines []string
	for _, line := range m.diff("", wanted, got) {
		lines = append(lines, "image "+strings.TrimSuffix(name, ".toml")+": "+line)
	}
	return lines, nil
}

// compare compares a file: want (what is named there, of TOML and JSON; else all of it), exact (all of it), lines
// (each of these lines is in it), without (none of them is).
func compare(m *matcher, kind, path, want, got string) ([]string, error) {
	if kind == "lines" || kind == "without" {
		var lines []string
		have := map[string]bool{}
		for line := range strings.Lines(got) {
			have[strings.TrimRight(line, "\n")] = true
		}
		for line := range strings.Lines(want) {
			if line = strings.TrimRight(line, "\n"); have[line] != (kind == "lines") {
				lines = append(lines, fmt.Sprintf("%s: line %q is there: %v", path, line, have[line]))
			}
		}
		if len(lines) > 0 {
			lines = append(lines, path+" is\n\t"+strings.ReplaceAll(strings.TrimRight(got, "\n"), "\n", "\n\t"))
		}
		return lines, nil
	}
	wanted, structured, err := parse(path, []byte(want))
	if err != nil {
		return nil, fmt.Errorf("wanted %s: %w", path, err)
	}
	if !structured {
		if strings.TrimRight(want, "\n") != strings.TrimRight(got, "\n") {
			return []string{fmt.Sprintf("%s: want\n\t%s\n\tgot\n\t%s", path, strings.ReplaceAll(want, "\n", "\n\t"), strings.ReplaceAll(got, "\n", "\n\t"))}, nil
		}
		return nil, nil
	}
	actual, _, err := parse(path, []byte(got))
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", path, err)}, nil
	}
	m.exact = kind == "exact"
	var lines []string
	for _, line := range m.diff("", wanted, actual) {
		lines = append(lines, path+": "+line)
	}
	return lines, nil
}
