package appjson

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// TestParse reads testdata/wild and testdata/hostile: files as people have them, and as nobody should. In each stands
// the text, or how it is made; what is found in it; and the app.
func TestParse(t *testing.T) {
	for dir, least := range map[string]int{"wild": 30, "hostile": 30} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		if err != nil || len(files) < least {
			t.Fatalf("%d files of %s, %v", len(files), dir, err)
		}
		for _, file := range files {
			t.Run(dir+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { golden(t, file) })
		}
	}
}

func golden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := source(t, archive)
	app, found := Parse(text)
	got := map[string]string{"findings": "", "app": dump(app)}
	for _, f := range found {
		line := fmt.Sprintf("%s %s", f.Severity, f)
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(line) > 600 || f.Line < 1 || f.Column < 1 {
			t.Errorf("%q is not one clear line", line)
		}
		got["findings"] += line + "\n"
	}
	if app == nil && len(Blocking(found, Production)) == 0 {
		t.Error("there is no app, and no error")
	}
	for i, f := range archive.Files {
		want, expected := got[f.Name]
		if !expected {
			continue
		}
		if d := cmp.Diff(string(f.Data), want); d != "" && !*update {
			t.Errorf("%s: want -, got +\n%s", f.Name, d)
		}
		archive.Files[i].Data = []byte(want)
		delete(got, f.Name)
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if len(got) > 0 {
		t.Errorf("%s does not say what is expected", file)
	}
}

// source is the section app.json, or what the section made describes: lines of how often and what, %d is the number.
func source(t *testing.T, archive *txtar.Archive) []byte {
	for _, f := range archive.Files {
		switch f.Name {
		case "app.json":
			return f.Data
		case "made":
			var b bytes.Buffer
			for line := range strings.Lines(string(f.Data)) {
				times, quoted, _ := strings.Cut(strings.TrimSpace(line), " ")
				n, err := strconv.Atoi(times)
				text, err2 := strconv.Unquote(quoted)
				if err != nil || err2 != nil {
					t.Fatal(line, err, err2)
				}
				if !strings.Contains(text, "%d") {
					b.WriteString(strings.Repeat(text, n))
					continue
				}
				for i := range n {
					b.WriteString(strings.ReplaceAll(text, "%d", strconv.Itoa(i)))
				}
			}
			return b.Bytes()
		}
	}
	t.Fatal("the file has no app.json")
	return nil
}

// dump is an app in lines.
func dump(a *App) string {
	if a == nil {
		return "none\n"
	}
	var b strings.Builder
	for _, l := range []struct{ key, text string }{
		{"name", a.Name}, {"description", a.Description}, {"keywords", strings.Join(a.Keywords, "|")}, {"website", a.Website}, {"repository", a.Repository},
		{"logo", a.Logo}, {"success_url", a.SuccessURL}, {"stack", a.Stack}, {"image", a.Image},
	} {
		if l.text != "" {
			fmt.Fprintf(&b, "%s %.200q\n", l.key, l.text)
		}
	}
	dumpSettings(&b, "", a.Settings)
	for _, e := range slices.Sorted(maps.Keys(a.environments)) {
		dumpSettings(&b, string(e)+": ", a.environments[e])
	}
	return b.String()
}

func dumpSettings(b *strings.Builder, where string, s Settings) {
	if n := len(s.Env); n > 20 {
		fmt.Fprintf(b, "%senv of %d, the first and last are\n", where, n)
		s.Env = []Var{s.Env[0], s.Env[n-1]}
	}
	for _, v := range s.Env {
		fmt.Fprintf(b, "%senv %s %.100q value=%.100q has=%t required=%t secret=%t missing=%t line=%d\n", where, v.Name, v.Description, v.Value, v.HasValue, v.Required, v.Secret, v.Missing(), v.Line)
	}
	for _, p := range s.Formation {
		fmt.Fprintf(b, "%sprocess %s %d %q\n", where, p.Type, p.Quantity, p.Size)
	}
	for _, a := range s.Addons {
		fmt.Fprintf(b, "%saddon %s as=%q options=%v vars=%v line=%d\n", where, a, a.As, a.Options, a.Vars(), a.Line)
	}
	for _, p := range s.Buildpacks {
		fmt.Fprintf(b, "%sbuildpack %q own=%v cnb=%v line=%d\n", where, p.Name, p.Own, p.CNB, p.Line)
	}
	if s.Scripts != nil {
		fmt.Fprintf(b, "%sscripts %.200q\n", where, *s.Scripts)
	}
	if s.Env != nil && len(s.Env) == 0 {
		fmt.Fprintf(b, "%sno env\n", where)
	}
	if s.Addons != nil && len(s.Addons) == 0 {
		fmt.Fprintf(b, "%sno addons\n", where)
	}
}
