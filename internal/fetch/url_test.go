package fetch

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseTarballURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com/a.tgz":                              "https://example.com/a.tgz",
		"https://user:" + "pw" + "@example.com:8443/a%20b?sig=x": "https://example.com:8443/a%20b?...",
		"http://[2001:db8::1]/x":                                 "http://[2001:db8::1]/x",
		"https://example.com/#part":                              "https://example.com/",
		"https://example.com":                                    "https://example.com",
	} {
		u, err := ParseTarballURL(in)
		if err != nil || u.String() != want || fmt.Sprintf("%v %+v %#v", u, u, u) != want+" "+want+" "+want {
			t.Errorf("%s: %v, %v", in, u, err)
		}
	}
	for in, want := range map[string]string{
		"": "empty", "-o": "begins with a dash", "--upload-pack=x": "begins with a dash", "file:///etc/passwd": "no URL of the form", "ftp://h/x": "begins with https://",
		"https:///x": "no URL of the form", "https://h:0/": "no port", "https://h:99999/": "no port", "https://-h/": "neither a name", "https://h:/": "neither a name",
		"https://a b/": "%XX", "https://h/\n": "%XX", "https://h/%0a": "control", "https://[fe80::1%25eth0]/": "neither a name", "//h/x": "no URL of the form",
		"https:h/x": "no URL of the form", "https://" + strings.Repeat("a", 3000): "2048 is the most", "https://exämple.com/": "%XX", "https://a..b/": "neither a name",
	} {
		if u, err := ParseTarballURL(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", in, u, err)
		}
	}
	if _, err := ParseTarballURL("https://u:" + canary + "@h:bad/"); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("the error of a bad URL: %v", err)
	}
}

func TestParseGitURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com/o/r.git":         "https://example.com/o/r.git",
		"https://u:pw@example.com:8443/r":     "https://example.com:8443/r",
		"ssh://git@example.com:2222/o/r.git":  "ssh://git@example.com:2222/o/r.git",
		"git@example.com:o/r.git":             "git@example.com:o/r.git",
		"ssh://example.com/r":                 "ssh://example.com/r",
		"https://TOKEN@example.com/o/r.git":   "https://example.com/o/r.git",
		"https://example.com/o/r%20space.git": "https://example.com/o/r%20space.git",
	} {
		u, err := ParseGitURL(in)
		if err != nil || u.String() != want || fmt.Sprintf("%+v %#v", u, u) != want+" "+want {
			t.Errorf("%s: %v, %v", in, u, err)
		}
	}
	for in, want := range map[string]string{
		"": "empty", "-x": "dash", "-u@h:p": "is https://host/path", "git@-oProxyCommand=x:p": "is https://host/path", "ssh://-oProxyCommand=x/p": "neither a name",
		"ssh://-u@h/p": "user in the URL", "git@h:-p": "begins with a dash", "ext::sh -c x": "%XX", "ext::x": "no URL", "file:///r": "no URL", "/r": "no URL",
		"http://h/r": "begins with https:// or ssh://", "git://h/r": "begins with", "https://h": "has a path", "https://h/r?x": "no \"?\"", "https://h/r#main": "no \"?\"",
		"ssh://u:p@h/r": "a password in", "u$(x)@h:p": "is https://host/path", "git@h:": "is empty", "h:p": "no URL",
	} {
		if u, err := ParseGitURL(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", in, u, err)
		}
	}
}

// What a parser takes is one safe argument, whose text is taken again and means the same.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"https://user:pw@example.com:8443/a?b=c", "git@example.com:o/r.git", "ssh://git@[::1]:22/x", "-oProxyCommand=x", "https://h/%2e%2e/x", "ext::sh",
		"ssh://-o@h/x", "https://[::ffff:7f00:1]/", "u@h:-x", "https://%2dh/", "https://h/\x00", "HTTPS://H/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		plain := func(text string) {
			if text == "" || text[0] == '-' || len(text) > 4*maxURL || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				t.Errorf("%q becomes %q", s, text)
			}
		}
		if g, err := ParseGitURL(s); err == nil {
			plain(g.text)
			plain(g.host)
			if again, err := ParseGitURL(g.text); err != nil || again.text != g.text || again.host != g.host || again.ssh != g.ssh || again.user != nil {
				t.Errorf("%q becomes %q, and that %q: %v", s, g.text, again.text, err)
			}
			if !g.ssh && !strings.HasPrefix(g.text, "https://") {
				t.Errorf("%q becomes %q", s, g.text)
			}
		}
		if u, err := ParseTarballURL(s); err == nil {
			plain(u.u.String())
			if u.u.User != nil || u.u.Scheme != "https" && u.u.Scheme != "http" {
				t.Errorf("%q becomes %q", s, u.u.String())
			}
		}
	})
}

func TestParseSum(t *testing.T) {
	digits := strings.Repeat("aB", 32)
	for _, in := range []string{"SHA256:" + digits, "sha256:" + digits} {
		if s, err := ParseSum(in); err != nil || s != Sum("SHA256:"+strings.ToLower(digits)) {
			t.Errorf("%s: %s, %v", in, s, err)
		}
	}
	if s, err := ParseSum(""); s != "" || err != nil {
		t.Errorf("no sum: %s, %v", s, err)
	}
	for _, in := range []string{digits, "SHA256:", "SHA256:" + digits[1:], "SHA256:" + digits + "00", "MD5:" + digits, "SHA256:" + strings.Repeat("xy", 32)} {
		if _, err := ParseSum(in); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
}
