package gitserver

import (
	"bytes"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// refNames are good and bad; in want, whether we take them.
func refNames() map[string]bool {
	return map[string]bool{
		"refs/heads/main": true, "refs/tags/v1.0": true, "refs/heads/feature/a-b_c": true, "refs/heads/größe": true, "refs/heads/a.b": true,
		"refs/heads/@": true, "refs/notes/x": true, "refs/heads/a@b": true,
		"": false, "main": false, "HEAD": false, "refs/heads": false, "refs/main": false, "heads/main": false, "refs/heads/": false, "refs//main": false,
		"refs/heads/a..b": false, "refs/heads/../x": false, "refs/heads/.a": false, "refs/heads/a.lock": false, "refs/heads/a.lock/b": false,
		"refs/heads/a.": false, "refs/heads/a b": false, "refs/heads/a~b": false, "refs/heads/a^": false, "refs/heads/a:b": false, "refs/heads/a?": false,
		"refs/heads/a*": false, "refs/heads/[a": false, `refs/heads/a\b`: false, "refs/heads/a@{b": false, "refs/heads/a\x1b[31m": false,
		"refs/heads/a\x7f": false, "refs/heads/a\nb": false, "refs/heads/-a": false, "refs/heads/\xff": false, "refs/heads/a\u202eb": false,
		"refs/heads/a\u200bb": false, "refs/heads/" + strings.Repeat("a", 300): false,
	}
}

// TestParseRef also asks git: what it refuses, we refuse.
func TestParseRef(t *testing.T) {
	for name, want := range refNames() {
		ref, err := ParseRef(name)
		if (err == nil) != want || err == nil && string(ref) != name {
			t.Errorf("ParseRef(%q) = %q, %v", name, ref, err)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the error for %q has something in it that a terminal obeys: %q", name, err)
		}
		if git := exec.Command("git", "check-ref-format", name).Run(); git != nil && err == nil {
			t.Errorf("git refuses %q and we take it", name)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for name := range refNames() {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		ref, err := ParseRef(name)
		if err != nil {
			return
		}
		if strings.ContainsFunc(string(ref), func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) || strings.Contains(name, "..") ||
			!strings.HasPrefix(name, "refs/") || len(name) > maxRefName {
			t.Errorf("took %q", name)
		}
	})
}

func TestClassify(t *testing.T) {
	a, b := Hash(strings.Repeat("a", 40)), Hash(strings.Repeat("b", 40))
	deploy := Update{"refs/heads/main", a, b}
	for _, c := range []struct {
		name    string
		updates []Update
		plan    Plan
		reason  string
	}{
		{"deploy", []Update{deploy}, Plan{Deploy: &deploy}, ""},
		{"deploy and tag", []Update{{"refs/tags/v1", Zero, b}, deploy}, Plan{Deploy: &deploy, Says: []string{"Tag v1 is stored; tags are not built."}}, ""},
		{"other branch goes", []Update{{"refs/heads/old", a, Zero}}, Plan{Says: []string{"Branch old is deleted."}}, ""},
		{"tag goes", []Update{{"refs/tags/v1", a, Zero}}, Plan{Says: []string{"Tag v1 is deleted."}}, ""},
		{"deploy branch goes", []Update{{"refs/heads/main", a, Zero}}, Plan{}, "the deploy branch stays"},
		{"other branch", []Update{{"refs/heads/master", Zero, b}}, Plan{}, "only main is deployed"},
		{"both", []Update{deploy, {"refs/heads/topic", Zero, b}}, Plan{}, "only main is deployed"},
		{"notes", []Update{{"refs/notes/commits", Zero, b}}, Plan{}, "only branches and tags"},
	} {
		plan, err := Classify("main", c.updates)
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if d := cmp.Diff(c.plan, plan); d != "" || reason != c.reason {
			t.Errorf("%s: %q, want %q; plan (-want +got):\n%s", c.name, reason, c.reason, d)
		}
	}
}

// push is what a client sends first.
func push(lines ...string) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		packet(&b, []byte(l))
	}
	b.WriteString(flush)
	return b.Bytes()
}

func TestReadHead(t *testing.T) {
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	text := push("shallow "+a, a+" "+b+" refs/heads/main\x00 report-status-v2 side-band-64k push-options agent=x\n", string(Zero)+" "+b+" refs/tags/v1")
	text = append(text, push("no-cache", "x=y")...)
	h, err := readHead(io.MultiReader(bytes.NewReader(text), strings.NewReader("PACK")))
	must(t, err)
	updates, err := h.updates()
	must(t, err)
	want := []Update{{"refs/heads/main", Hash(a), Hash(b)}, {"refs/tags/v1", Zero, Hash(b)}}
	if d := cmp.Diff(want, updates); d != "" || !h.sideband || !h.report || !slices.Equal(h.options, []string{"no-cache", "x=y"}) || !slices.Equal(h.shallow, []Hash{Hash(a)}) || !bytes.Equal(h.raw, text) {
		t.Errorf("head %+v (-want +got):\n%s", h, d)
	}
	for what, bad := range map[string][]byte{
		"cut short":     text[:20],
		"no length":     []byte("xyzw"),
		"length 2":      []byte("0002"),
		"no hash":       push("x y refs/heads/main"),
		"sha-256":       push(strings.Repeat("a", 64) + " " + strings.Repeat("b", 64) + " refs/heads/main"),
		"a certificate": push("push-cert\x00 x"),
		"too long":      bytes.Repeat(push("shallow " + a)[:52], 30000),
	} {
		if h, err := readHead(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: read %+v", what, h)
		}
	}
	if h, err := readHead(strings.NewReader(flush)); err != nil || len(h.commands) != 0 {
		t.Errorf("a push of nothing: %+v, %v", h, err)
	}
}

func FuzzReadHead(f *testing.F) {
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	f.Add(push("shallow "+a, a+" "+b+" refs/heads/main\x00 report-status-v2 side-band-64k"))
	f.Add([]byte("0000"))
	f.Add([]byte("0003xx"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := readHead(bytes.NewReader(in))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(in, h.raw) {
			t.Errorf("passes on %q, which is not what came", h.raw)
		}
		var out bytes.Buffer
		must(t, h.answer(&out, ours))
		must(t, ended(&out, h))
	})
}

// ended reads an answer as a client does.
func ended(out io.Reader, h head) error {
	if !h.sideband && !h.report {
		return nil
	}
	for {
		if _, end, err := readPacket(out); err != nil || end {
			return err
		}
	}
}

func because(reason string) func() string { return func() string { return reason } }

func TestReword(t *testing.T) {
	in := push("unpack ok\n", "ng refs/heads/main pre-receive hook declined\n", "ng refs/tags/v1 other\n")
	want := push("unpack ok\n", "ng refs/heads/main build 7 failed\n", "ng refs/tags/v1 other\n")
	if got := reword(in, because("build 7 failed")); !bytes.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for _, same := range [][]byte{in[:30], []byte("zzzz"), {}} {
		if got := reword(same, because("x")); !bytes.Equal(got, same) {
			t.Errorf("%q became %q", same, got)
		}
	}
	fine := push("unpack ok\n", "ok refs/heads/main\n")
	if got := reword(fine, nil); !bytes.Equal(got, fine) {
		t.Errorf("a report of success became %q", got)
	}
}

// TestObey gives the hook what it does not know.
func TestObey(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "unexpected EOF",
		"o\x00\x00\x00\x09short": "unexpected EOF",
		"z\x00\x00\x00\x00":      "does not know",
		"x\x00\x00\x00\x02ab":    "does not know",
	} {
		if _, err := obey(strings.NewReader(in), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
	var out bytes.Buffer
	status, err := obey(strings.NewReader("o\x00\x00\x00\x02hix\x00\x00\x00\x01\x07"), &out)
	if err != nil || status != 7 || out.String() != "hi" {
		t.Errorf("%d, %v, %q", status, err, out.String())
	}
	status = Hook(t.Context(), strings.NewReader(""), &out, []string{envSocket + "=/nonexistent"})
	if status != 1 || !strings.Contains(out.String(), "went away") {
		t.Errorf("a hook without a service: %d, %q", status, out.String())
	}
	if IsHook([]string{"/x/slipway", "build"}, []string{envSocket + "=x"}) || IsHook([]string{"/x/slipway", "/x/pre-receive"}, nil) {
		t.Error("takes any process for a hook")
	}
}
