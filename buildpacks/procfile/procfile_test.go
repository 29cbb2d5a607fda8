package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []line
		err        string
	}{
		{"two", "web: node server.js\n\n# a comment\nworker:  bin/work --all \r\n", []line{{"web", "node server.js"}, {"worker", "bin/work --all"}}, ""},
		{"colon in the command", "web: serve http://x:1", []line{{"web", "serve http://x:1"}}, ""},
		{"byte order mark", "\ufeffweb: x", []line{{"web", "x"}}, ""},
		{"empty", "\n# nothing\n", nil, "your Procfile has no processes"},
		{"no colon", "web: x\nworker y\n", nil, `line 2 has no colon: "worker y"`},
		{"no command", "web:\n", nil, "line 1: process web has no command"},
		{"bad type", "a b: x\n", nil, `line 1: "a b" is not a process type`},
		{"dots", "..: x\n", nil, `line 1: ".." is not a process type`},
		{"twice", "web: x\n\nweb: y\n", nil, "line 3: process web stands in line 1 already"},
		{"control character", "web: x\x00y\n", nil, "line 1 has a control character"},
		{"too many", strings.Repeat("web: x\n", 1) + many(200), nil, "more than 128 processes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(c.text)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("p" + strings.Repeat("x", i) + ": y\n")
	}
	return b.String()
}

func TestCommand(t *testing.T) {
	for in, want := range map[string][]string{
		"node server.js":              {"node", "server.js"},
		"serve --port $PORT":          {"/bin/sh", "-c", "exec serve --port $PORT"},
		"PORT=1 serve":                {"/bin/sh", "-c", "PORT=1 serve"},
		"a && b":                      {"/bin/sh", "-c", "a && b"},
		"cd x; y":                     {"/bin/sh", "-c", "cd x; y"},
		`sh -c "echo 'a b'"`:          {"/bin/sh", "-c", `exec sh -c "echo 'a b'"`},
		"exec serve $PORT":            {"/bin/sh", "-c", "exec serve $PORT"},
		"java -jar app.jar > log":     {"/bin/sh", "-c", "java -jar app.jar > log"},
		"bundle exec puma -p ${PORT}": {"/bin/sh", "-c", "exec bundle exec puma -p ${PORT}"},
	} {
		if got := command(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		pass  bool
		said  string
	}{
		{nil, false, "no Procfile"},
		{map[string]string{"Procfile": "web: x\nb: y"}, true, "found a Procfile with web, b"},
	} {
		pass, said, err := parceltest.Detect(t, detect, nil, c.files)
		if err != nil || pass != c.pass || !strings.Contains(said, c.said) {
			t.Errorf("%t, %q, %v", pass, said, err)
		}
	}
	if _, _, err := parceltest.Detect(t, detect, nil, map[string]string{"Procfile": "nonsense"}); err == nil {
		t.Error("a broken Procfile passes")
	}
}

func TestBuildNamesTheDefault(t *testing.T) {
	for text, want := range map[string]string{"worker: a\nweb: b\n": "web", "worker: a\n": "worker", "a: a\nb: b\n": ""} {
		w, _ := parceltest.Work(nil)
		r, err := build(t.Context(), parceltest.Context(t, parceltest.App(t, map[string]string{"Procfile": text})), w)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, p := range r.Processes {
			if p.Default {
				got.WriteString(p.Type)
			}
		}
		if got.String() != want {
			t.Errorf("%q: default %q, want %q", text, got.String(), want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"web: x", "web:x\nweb:y", ":", "a\r\nb: c", "\x00", "é: x", "web: $(x) `y`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parse(s)
		if err != nil {
			return
		}
		for _, l := range list {
			c := command(l.command)
			if !processType.MatchString(l.process) || len(c) == 0 || c[0] == "" || strings.ContainsAny(l.command, "\n\x00") {
				t.Errorf("%q gives %+v, %q", s, l, c)
			}
		}
	})
}
