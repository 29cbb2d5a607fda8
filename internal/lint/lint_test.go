package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// clean is a buildpack in which nothing is found.
const clean = `
-- buildpack.toml --
api = "0.10"
[buildpack]
id = "acme/one"
version = "1.0.0"
name = "One"
description = "Does one thing."
homepage = "https://example.com"
[[buildpack.licenses]]
type = "Apache-2.0"
[[targets]]
os = "linux"
arch = "amd64"
-- bin/detect --
#!/usr/bin/env bash
-- bin/build --
#!/bin/sh
mkdir -p "$CNB_LAYERS_DIR/tools"
`

// TestRules changes one thing of a clean buildpack at a time.
func TestRules(t *testing.T) {
	t.Parallel()
	top := func(old, new string) func(string) string {
		return func(dir string) string { return edit(dir, "buildpack.toml", old, new) }
	}
	build := func(old, new string) func(string) string {
		return func(dir string) string { return edit(dir, "bin/build", old, new) }
	}
	file := func(name, content string) func(string) string {
		return func(dir string) string { return write(dir, name, content) }
	}
	recipe := "[build]\nimage = \"b\"\n[[run.images]]\nimage = \"r\"\n[[buildpacks]]\nid = \"acme/one\"\nuri = \".\"\n[[order]]\n"
	for name, c := range map[string]struct {
		change func(dir string) string // "" for no error
		want   string                  // the findings, one a line; "" for none
	}{
		"clean":             {func(string) string { return "" }, ""},
		"not TOML":          {top(`version =`, `version = =`), "buildpack.toml:4 invalid error"},
		"type":              {top(`"1.0.0"`, `1`), "buildpack.toml:4 invalid error"},
		"id":                {top(`acme/one`, `one`), "buildpack.toml:3 id warning"},
		"version":           {top(`1.0.0`, `1.0`), "buildpack.toml:4 version warning"},
		"api unknown":       {top(`0.10`, `0.99`), "buildpack.toml:1 api error"},
		"api deprecated":    {top(`0.10`, `0.8`), "buildpack.toml:1 api warning"},
		"name":              {top("name = \"One\"\n", ""), "buildpack.toml:2 described warning"},
		"licence":           {top(`Apache-2.0`, `Apache 2`), "buildpack.toml:9 licence warning"},
		"licence missing":   {top("[[buildpack.licenses]]\ntype = \"Apache-2.0\"\n", ""), "buildpack.toml:2 licence warning"},
		"os":                {top(`"linux"`, `"solaris"`), "buildpack.toml:11 target error"},
		"arch":              {top(`"amd64"`, `"x86_64"`), "buildpack.toml:12 target error"},
		"target twice":      {top("[[targets]]", "[[targets]]\nos = \"linux\"\narch = \"amd64\"\n[[targets]]"), "buildpack.toml:13 target warning"},
		"stacks":            {top("[[targets]]\nos = \"linux\"\narch = \"amd64\"", "[[stacks]]\nid = \"*\""), "buildpack.toml:10 stacks warning"},
		"no targets":        {top("[[targets]]\nos = \"linux\"\narch = \"amd64\"", ""), "buildpack.toml targets warning"},
		"distro":            {top(`arch = "amd64"`, "arch = \"amd64\"\n[[targets.distros]]\nversion = \"12\""), "buildpack.toml:13 target warning"},
		"any version":       {top(`arch = "amd64"`, "arch = \"amd64\"\n[[targets.distros]]\nname = \"debian\""), ""},
		"unknown key":       {top(`homepage`, `hompage`), "buildpack.toml:2 described warning\nbuildpack.toml:7 unknown-key warning"},
		"metadata is free":  {top(`[[targets]]`, "[metadata.a.b]\nc = 1\n[[targets]]"), ""},
		"CR LF in TOML":     {top("\nname", "\r\nname"), "buildpack.toml:4 line-ending warning"},
		"no build":          {remove("bin/build"), "bin/build executable error"},
		"no detect":         {remove("bin/detect"), "bin/detect executable warning"},
		"mode":              {chmod("bin/build", 0o644), "bin/build mode error"},
		"writable":          {chmod("bin/build", 0o777), "bin/build mode warning"},
		"no #!":             {build("#!/bin/sh", ":"), "bin/build:1 shebang error"},
		"relative #!":       {build("#!/bin/sh", "#!bash"), "bin/build:1 shebang error"},
		"env with two":      {build("#!/bin/sh", "#!/usr/bin/env bash -e"), "bin/build:1 shebang error"},
		"env -S":            {build("#!/bin/sh", "#!/usr/bin/env -S bash -e"), ""},
		"CR LF in #!":       {build("#!/bin/sh\n", "#!/bin/sh\r\n"), "bin/build:1 shebang error"},
		"CR LF":             {build("tools\"\n", "tools\"\r\n"), "bin/build:2 line-ending error"},
		"byte order mark":   {build("#!/bin/sh", "\ufeff#!/bin/sh"), "bin/build:1 byte-order-mark error"},
		"layer name":        {build("/tools", "/launch"), "bin/build:2 layer-name error"},
		"foreign program":   {file("bin/build", "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 11)+"\xb7\x00"), "bin/build target error"},
		"half a program":    {file("bin/build", "\x7fELF"), "bin/build executable error"},
		"empty":             {file("bin/build", ""), "bin/build executable error"},
		"link out":          {link("/etc/passwd", "bin/build"), "bin/build executable error"},
		"link round":        {link("build", "bin/build"), "bin/build executable error"},
		"huge descriptor":   {file("buildpack.toml", strings.Repeat("# x\n", 1<<19)), "buildpack.toml unreadable error"},
		"deep descriptor":   {file("buildpack.toml", "a = "+strings.Repeat("[", 1<<17)), "buildpack.toml:1 invalid error"},
		"binary descriptor": {file("buildpack.toml", "\x00\x01\x02"), "buildpack.toml:1 invalid error"},
		"own order":         {composite(`id = "acme/one"`), "bin/build composite warning\nbin/detect composite warning\nbuildpack.toml:10 composite warning\nbuildpack.toml:15 order error"},
		"package":           {file("package.toml", "[[dependencies]]\nuri = \"./nowhere\"\n"), "package.toml:2 missing error"},
		"package elsewhere": {file("package.toml", "[[dependencies]]\nuri = \"../nowhere\"\n"), ""},
		"builder":           {file("builder.toml", recipe+"[[order.group]]\nid = \"acme/one\"\n"), ""},
		"builder's order":   {file("builder.toml", recipe+"[[order.group]]\nid = \"acme/two\"\n"), "builder.toml:10 order warning"},
		"optional alone":    {file("builder.toml", recipe+"[[order.group]]\nid = \"acme/one\"\noptional = true\n"), "builder.toml:8 order warning"},
		"twice":             {file("builder.toml", recipe+"[[order.group]]\nid = \"acme/one\"\n[[order.group]]\nid = \"acme/one\"\n"), "builder.toml:12 order error"},
		"empty group":       {file("builder.toml", recipe), "builder.toml:8 order error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := buildpack(t)
			if msg := c.change(dir); msg != "" {
				t.Fatal(msg)
			}
			var got []string
			for _, f := range findings(t, dir) {
				at := f.File
				if f.Line > 0 {
					at = fmt.Sprintf("%s:%d", f.File, f.Line)
				}
				got = append(got, fmt.Sprintf("%s %s %s", at, f.Rule, f.Severity))
				if f.What == "" || f.Fix == "" || strings.ContainsAny(f.What+f.Fix, "\n") {
					t.Errorf("what %q and fix %q are not a line each", f.What, f.Fix)
				}
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("found\n%s\nwant\n%s", text, c.want)
			}
		})
	}
}

// TestSuggestion wants the fix of a misspelt key to have the key.
func TestSuggestion(t *testing.T) {
	t.Parallel()
	dir := buildpack(t)
	edit(dir, "buildpack.toml", "homepage", "hompage")
	if !slices.ContainsFunc(findings(t, dir), func(f Finding) bool { return strings.Contains(f.Fix, "buildpack.homepage") }) {
		t.Error("no fix names buildpack.homepage")
	}
}

func findings(t *testing.T, dir string) []Finding {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	found, err := Dir(root)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func buildpack(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(clean)).Files {
		if msg := write(dir, f.Name, string(f.Data)); msg != "" {
			t.Fatal(msg)
		}
	}
	return dir
}

func write(dir, name, content string) string {
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err.Error()
	}
	if err := os.WriteFile(p, []byte(content), 0o755); err != nil {
		return err.Error()
	}
	return ""
}

func edit(dir, name, old, new string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || !strings.Contains(string(b), old) {
		return fmt.Sprintf("%s has no %q (%v)", name, old, err)
	}
	return write(dir, name, strings.Replace(string(b), old, new, 1))
}

func remove(name string) func(string) string {
	return func(dir string) string {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err.Error()
		}
		return ""
	}
}

func chmod(name string, mode os.FileMode) func(string) string {
	return func(dir string) string {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			return err.Error()
		}
		return ""
	}
}

func link(to, name string) func(string) string {
	return func(dir string) string {
		p := filepath.Join(dir, name)
		if err := os.Remove(p); err != nil {
			return err.Error()
		}
		if err := os.Symlink(to, p); err != nil {
			return err.Error()
		}
		return ""
	}
}

func composite(element string) func(string) string {
	return func(dir string) string {
		b, err := os.ReadFile(filepath.Join(dir, "buildpack.toml"))
		if err != nil {
			return err.Error()
		}
		return write(dir, "buildpack.toml", string(b)+"[[order]]\n[[order.group]]\n"+element+"\nversion = \"1.0.0\"\n")
	}
}
