package cnb

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDecode holds that no text makes a decoder panic or give an error of several lines, and that what
// metadata.toml is written from can be read again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "a = 1", "[[processes]]\ntype = \"w\"\ncommand = [\"x\"]\n", "api = \"0.8\"\n[buildpack]\nid = \"a\"\nversion = \"1\"\n",
		"[[order]]\n[[order.group]]\nid = \"a\"\n", "a = [[[{b.c = 1}]]]", "[types]\nlaunch = 'x'", "a = \"\"\"\\\n\"\"\"\"\"", "[a.\"b.c\"]\n'd' = 1979-05-27",
		"[[buildpacks]]\nid=\"a\"\nversion=\"1\"\napi=\"0.9\"\n[[processes]]\ntype=\"w\"\ncommand=\"x\"\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		one := func(err error) {
			if err != nil && (strings.ContainsAny(err.Error(), "\n\x1b") || !utf8.ValidString(err.Error())) {
				t.Errorf("error is not one clean line: %q", err)
			}
		}
		for _, a := range []API{{0, 8}, {0, 12}} {
			_, err := DecodeLaunch("f", b, a)
			one(err)
			_, err = DecodeLayer("f", b, a)
			one(err)
		}
		_, err := DecodeDescriptor("f", b)
		one(err)
		_, err = DecodeBuildPlan("f", b)
		one(err)
		_, err = DecodeBuildTOML("f", b)
		one(err)
		_, err = DecodeOrder("f", b)
		one(err)
		_, err = DecodeAnalyzed("f", b)
		one(err)
		_, err = DecodeProject("f", b)
		one(err)
		_, err = DecodeProjectMetadata("f", b)
		one(err)
		if s, err := DecodeStore("f", b); err == nil {
			if text, err := EncodeStore(s); err == nil {
				if _, _, err := parse("again", text, 1<<20); err != nil {
					t.Errorf("written store.toml: %v\n%s", err, text)
				}
			}
		}
		m, err := DecodeMetadata("f", b)
		one(err)
		if err != nil {
			return
		}
		text, err := EncodeMetadata(m, NewestPlatformAPI)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeMetadata("again", text); err != nil {
			t.Errorf("written metadata.toml: %v\n%s", err, text)
		}
	})
}

// FuzzNames holds that a name that was accepted cannot leave its directory or split a line.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"web", "..", "a/b", "A=B", "\x00", "é", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseProcessType(s)
		if err == nil && strings.ContainsAny(string(p), "/\n\x00 ") {
			t.Errorf("process type %q", p)
		}
		l, err := ParseLayerName(s)
		if err == nil && (strings.ContainsAny(string(l), "/\n\x00") || l == ".." || l == ".") {
			t.Errorf("layer name %q", l)
		}
		e, err := ParseEnvName(s)
		if err == nil && strings.ContainsAny(string(e), "=\x00\n") {
			t.Errorf("env name %q", e)
		}
		if id, err := ParseID(s); err == nil && (strings.Contains(id.Dir(), "/") || id.Dir() == "..") {
			t.Errorf("id %q", id)
		}
		if v, err := ParseVersion(s); err == nil && strings.ContainsAny(v, "/ \n") {
			t.Errorf("version %q", v)
		}
	})
}
