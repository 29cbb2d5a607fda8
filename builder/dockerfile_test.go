package builder

import (
	"fmt"
	"strings"
	"testing"
)

// dockerfileText writes what was parsed in one line: ARGs, then stages with their instructions and lines.
func dockerfileText(f dockerfile) string {
	var out []string
	for _, a := range f.args {
		out = append(out, "ARG:"+a)
	}
	for _, s := range f.stages {
		out = append(out, "FROM:"+s.base)
		for _, i := range s.instructions {
			out = append(out, fmt.Sprintf("%s:%d", i.name, i.line))
		}
	}
	return strings.Join(out, " ")
}

func TestParseDockerfile(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"plain":                          {"ARG base_image\nFROM ${base_image}\nRUN a\n", "ARG:base_image FROM:${base_image} RUN:3"},
		"any case, no line end":          {"arg x=1\nFrom --platform=linux/amd64 a AS b\nrun x", "ARG:x FROM:a RUN:3"},
		"byte order mark, CRLF":          {"\xef\xbb\xbfFROM a\r\nUSER 1\r\n", "FROM:a USER:2"},
		"comments and continuation":      {"# c\n\nFROM a\nRUN b \\\n  # c\n\n  FROM x \\\n\nUSER 1\n", "FROM:a RUN:4"},
		"end of a continuation":          {"FROM a\nRUN b \\  \n c\nUSER 1\n", "FROM:a RUN:2 USER:4"},
		"doubled escape":                 {"FROM a\nRUN b \\\\\nUSER 1", "FROM:a RUN:2 USER:3"},
		"escape directive":               {"# syntax=x\n# escape = `\nFROM a\nRUN b `\n c\nRUN d \\\nUSER 1", "FROM:a RUN:4 RUN:6 USER:7"},
		"late directive is a comment":    {"FROM a\n# escape=`\nRUN b `\nUSER 1", "FROM:a RUN:3 USER:4"},
		"here-document":                  {"FROM a\nRUN <<EOF\nFROM x\nEOF\nUSER 1", "FROM:a RUN:2 USER:5"},
		"here-document with tabs":        {"FROM a\nRUN cat <<-'E F' > x\n\tE F\nUSER 1", "FROM:a RUN:2 USER:4"},
		"two here-documents":             {"FROM a\nCOPY <<A <<B /x/\nB\nA\nA\nB\nUSER 1", "FROM:a COPY:2 USER:7"},
		"here-string":                    {"FROM a\nRUN cat <<<EOF\nUSER 1", "FROM:a RUN:2 USER:3"},
		"quoted marker":                  {"FROM a\nRUN echo \"<<EOF\"\nUSER 1", "FROM:a RUN:2 USER:3"},
		"no here-document in an array":   {"FROM a\nRUN [\"<<EOF\"]\nUSER 1", "FROM:a RUN:2 USER:3"},
		"here-document of ONBUILD":       {"FROM a\nONBUILD RUN <<E\nUSER 1\nE\nUSER 2", "FROM:a ONBUILD:2 USER:5"},
		"every instruction":              {"FROM a\nADD a b\nARG a\nCMD\nCOPY [\"a\", \"b\"]\nENTRYPOINT x\nENV a b\nEXPOSE 1\nHEALTHCHECK NONE\nLABEL a=b c='d e'\nMAINTAINER x\nSHELL [\"a\"]\nSTOPSIGNAL 1\nVOLUME /a\nWORKDIR /", "FROM:a ADD:2 ARG:3 CMD:4 COPY:5 ENTRYPOINT:6 ENV:7 EXPOSE:8 HEALTHCHECK:9 LABEL:10 MAINTAINER:11 SHELL:12 STOPSIGNAL:13 VOLUME:14 WORKDIR:15"},
		"second stage":                   {"FROM a\nFROM b\nUSER 1", "FROM:a FROM:b USER:3"},
		"flags before the argument":      {"FROM a\nCOPY --from=x --chown=\"1 2\" a b\nRUN -- x", "FROM:a COPY:2 RUN:3"},
		"an unfinished quote is no end":  {"FROM a\nRUN it's <<EOF\nUSER 1", "FROM:a RUN:2 USER:3"},
		"here-document without its name": {"FROM a\nRUN a <<-\nUSER 1", "FROM:a RUN:2 USER:3"},
	} {
		f, err := parseDockerfile([]byte(c.text))
		if got := dockerfileText(f); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestParseDockerfileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "it has no instructions",
		"# only a comment\n":             "it has no instructions",
		"RUN x\nFROM a":                  "line 1: RUN stands before the first FROM",
		"FROM a\nFRUM b":                 `line 2: there is no instruction "FRUM"`,
		"FROM":                           "line 1: FROM wants an image",
		"FROM a b":                       "line 1: FROM wants an image",
		"FROM a AS 1":                    `line 1: "1" is no name for a stage`,
		"FROM a\nRUN <<E\nx":             `line 2: the here-document "E" has no end`,
		"# escape=x\nFROM a":             "line 1: escape is",
		"# escape=`\n# escape=`\nFROM a": "line 2: a second directive escape",
		"FROM a\nCOPY a":                 "line 2: COPY without a destination",
		"FROM a\nENV a":                  "line 2: ENV of \"a\" without a value",
		"FROM a\nENV a=1 b":              `line 2: ENV: "b" has no =`,
		"FROM a\nARG =1":                 "line 2: ARG of a variable without a name",
		"FROM a\nUSER":                   "line 2: USER without an argument",
		"FROM a\nSHELL sh":               "line 2: SHELL wants a JSON array",
		"FROM a\nONBUILD FROM b":         "line 2: ONBUILD of FROM",
	} {
		if _, err := parseDockerfile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseDockerfile(f *testing.F) {
	for _, s := range []string{
		"ARG base_image\nFROM ${base_image}\nRUN a \\\n# c\n b\n", "# escape=`\nFROM a AS b\nCOPY --from=x a b`\n", "FROM a\nRUN <<-'E' <<F\nE\nF\nENV a='b c' d=\"\n",
		"FROM a\nONBUILD RUN <<E\nE\nSHELL [\"a\"]\nLABEL a b\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := parseDockerfile(b)
		if err != nil {
			if len(err.Error()) > 700 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q: error %q", b, err)
			}
			return
		}
		lines, last := strings.Count(string(b), "\n")+1, 0
		for _, s := range parsed.stages {
			if s.base == "" || strings.ContainsAny(s.base, " \t\n") {
				t.Errorf("%q: base %q", b, s.base)
			}
			for _, i := range s.instructions {
				if i.line <= last || i.line > lines || i.name != strings.ToUpper(i.name) {
					t.Errorf("%q: %s at line %d of %d, after line %d", b, i.name, i.line, lines, last)
				}
				last = i.line
			}
		}
	})
}
