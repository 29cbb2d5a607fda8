package main

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name, want, got string
		exact           bool
		lines           int
	}{
		{"subset", `a = 1`, "a = 1\nb = 2", false, 0},
		{"exact", `a = 1`, "a = 1\nb = 2", true, 1},
		{"other value", `a = 1`, `a = 2`, false, 1},
		{"other type", `a = "1"`, `a = 1`, false, 1},
		{"list", `a = [1, 2]`, `a = [1, 2]`, false, 0},
		{"longer list", `a = [1]`, `a = [1, 2]`, false, 1},
		{"some of a list", `a = ["!some", 2]`, `a = [1, 2]`, false, 0},
		{"none of a list", `a = ["!some", 3]`, `a = [1, 2]`, false, 1},
		{"tables in a list", "[[a]]\nx = 1", "[[a]]\nx = 1\ny = 2", false, 0},
		{"any", `a = "!any"`, `a = 0`, false, 0},
		{"any of nothing", `a = "!any"`, ``, false, 1},
		{"absent", `a = "!absent"`, ``, false, 0},
		{"absent is empty", "a = \"!absent\"\nb = \"!absent\"\nc = \"!absent\"", "a = \"\"\nb = []\nc = false", false, 0},
		{"absent is there", `a = "!absent"`, `a = 7`, false, 1},
		{"absent below nothing", `a = { b = "!absent" }`, ``, false, 0},
		{"match", `a = "!match ^x+$"`, `a = "xx"`, false, 0},
		{"no match", `a = "!match ^x+$"`, `a = "xy"`, false, 1},
		{"has", `a = "!has y"`, `a = "xyz"`, false, 0},
		{"saved", "a = \"!save n\"\nb = \"!same n\"", "a = 1\nb = 1", false, 0},
		{"saved otherwise", "a = \"!save n\"\nb = \"!same n\"", "a = 1\nb = 2", false, 1},
		{"differs", "a = \"!save n\"\nb = \"!differs n\"", "a = 1\nb = 2", false, 0},
		{"does not differ", "a = \"!save n\"\nb = \"!differs n\"", "a = 1\nb = 1", false, 1},
		{"dates", `a = 2020-01-01T00:00:00Z`, `a = 2020-01-01T00:00:00Z`, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, _, err := parse("x.toml", []byte(c.want))
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := parse("x.toml", []byte(c.got))
			if err != nil {
				t.Fatal(err)
			}
			m := &matcher{saved: map[string]any{}, exact: c.exact}
			if lines := m.diff("", want, got); len(lines) != c.lines {
				t.Errorf("%d differences, want %d:\n%s", len(lines), c.lines, strings.Join(lines, "\n"))
			}
		})
	}
}

func TestParseCaseRefuses(t *testing.T) {
	head := "title = \"t\"\nclauses = [\"c\"]\n"
	for _, c := range []struct{ name, text, want string }{
		{"no step", head, "at least one [[step]]"},
		{"no clause", "title = \"t\"\n[[step]]\nrun = \"sh\"\n", "clauses"},
		{"unknown key", head + "tilte = 1\n[[step]]\nrun = \"sh\"\n", "unknown key"},
		{"unknown version", head + "platform = [\"0.99\"]\n[[step]]\nrun = \"sh\"\n", "0.99"},
		{"exit code", head + "[[step]]\nrun = \"sh\"\nexit = \"1-x\"\n", "1-x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseCase("c", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestAPIs(t *testing.T) {
	for text, want := range map[string]string{"": "0.15", "0.9": "0.9", "0.9-0.11": "0.9 0.10 0.11", "0.15 0.7-0.8 0.8": "0.7 0.8 0.15"} {
		c := &Case{APIs: strings.Fields(text)}
		got, err := c.apis()
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}
