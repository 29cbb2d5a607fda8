package button

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
)

// everywhere is an operator who allows any host.
func everywhere(string) bool { return true }

// shapes are what people paste, and what is meant: the repository, and what follows it.
func shapes() [][3]string {
	const gh = "https://github.com/u/r"
	return [][3]string{
		{gh, gh, ""}, {gh + "/", gh, ""}, {gh + ".git", gh + ".git", ""}, {gh + ".git/", gh + ".git", ""}, {"  " + gh + "\n", gh, ""},
		{"http://github.com/u/r", gh, ""}, {"HTTPS://GitHub.com/u/r", gh, ""}, {"github.com/u/r", gh, ""}, {"www.github.com/u/r", gh, ""}, {"https://github.com:443/u/r", gh, ""},
		{"git@github.com:u/r.git", gh + ".git", ""}, {"ssh://git@github.com/u/r.git", gh + ".git", ""},
		{gh + "#readme", gh, ""}, {gh + "?tab=readme-ov-file#deploy", gh, ""}, {gh + "//", gh, ""}, {"https://github.com//u//r", gh, ""},
		{gh + "/tree/main", gh, "main"}, {gh + "/tree/main/", gh, "main"}, {gh + "/tree/feature/with/slash", gh, "feature/with/slash"}, {gh + "/tree/feature%2Fx", gh, "feature/x"},
		{gh + "/tree/v1.0", gh, "v1.0"}, {gh + "/tree/main/examples/web", gh, "main/examples/web"}, {gh + ".git/tree/main", gh + ".git", "main"},
		{gh + "/blob/main/README.md", gh, "main/README.md file"}, {gh + "/blob/main/docs/deploy.md#button", gh, "main/docs/deploy.md file"}, {gh + "/tree/main/README.md", gh, "main/README.md file"},
		{gh + "/commit/" + strings.Repeat("a", 40), gh, strings.Repeat("a", 40)}, {gh + "/commits/dev", gh, "dev"}, {gh + "/releases/tag/v2", gh, "v2"}, {gh + "/releases", gh, ""},
		{gh + "/issues/7", gh, ""}, {gh + "/pulls", gh, ""}, {gh + "/tarball/master/", gh, "master"}, {gh + "/archive/refs/heads/dev.tar.gz", gh, "refs/heads/dev"}, {gh + "/archive/v1.zip", gh, "v1"},
		{"https://raw.githubusercontent.com/u/r/main/app.json", gh, "main/app.json file"}, {"https://codeload.github.com/u/r/tar.gz/refs/tags/v1", gh, "refs/tags/v1"},
		{"https://gist.github.com/u/0123456789abcdef", "https://gist.github.com/u/0123456789abcdef", ""},
		{"https://gitlab.com/g/sub/deeper/r", "https://gitlab.com/g/sub/deeper/r", ""}, {"https://gitlab.com/g/sub/r/-/tree/main/x", "https://gitlab.com/g/sub/r", "main/x"},
		{"https://gitlab.com/g/r/-/blob/main/README.md?ref_type=heads", "https://gitlab.com/g/r", "main/README.md file"}, {"https://gitlab.com/g/r/tree/old", "https://gitlab.com/g/r", "old"},
		{"https://gitlab.com/g/r/-/archive/main/r-main.tar.gz", "https://gitlab.com/g/r", "main"}, {"https://gitlab.com/g/r.git/-/tree/main", "https://gitlab.com/g/r.git", "main"},
		{"https://gitlab.com/g/r/-/tree/main?ref_type=heads", "https://gitlab.com/g/r", "main"}, {"https://gitlab.com/g/sub/tree", "https://gitlab.com/g/sub/tree", ""},
		{"https://codeberg.org/u/r/src/branch/main", "https://codeberg.org/u/r", "main"}, {"https://codeberg.org/u/r/src/branch/a/b/README.md", "https://codeberg.org/u/r", "a/b/README.md file"},
		{"https://codeberg.org/u/r/src/tag/v1", "https://codeberg.org/u/r", "v1"}, {"https://codeberg.org/u/r/raw/branch/main/app.json", "https://codeberg.org/u/r", "main/app.json file"},
		{"https://bitbucket.org/w/r/src/main/", "https://bitbucket.org/w/r", "main"}, {"https://bitbucket.org/w/r/branch/a/b", "https://bitbucket.org/w/r", "a/b"}, {"https://bitbucket.org/w/r?at=a/b", "https://bitbucket.org/w/r", "a/b"},
		{"https://git.sr.ht/~u/r/tree/main", "https://git.sr.ht/~u/r", "main"},
		{"https://git.example.com:8443/team/r.git", "https://git.example.com:8443/team/r.git", ""}, {"https://git.example.com/r.git", "https://git.example.com/r.git", ""}, {"https://git.example.com/a/b/c/d", "https://git.example.com/a/b/c/d", ""},
		{"https://git.example.com/r.git/tree/main/x", "https://git.example.com/r.git", "main/x"}, {"https://git.example.com/r.git/tree", "https://git.example.com/r.git/tree", ""},
		{"https://git.example.com/u/r/src/branch/main", "https://git.example.com/u/r", "main"}, {"https://127.0.0.1:8443/r.git", "https://127.0.0.1:8443/r.git", ""}, {"https://[::1]:8443/r.git", "https://[::1]:8443/r.git", ""},
		// Deploy links of others and of ourselves, and what stands in READMEs.
		{"https://heroku.com/deploy?template=https://github.com/u/r", gh, ""}, {"https://www.heroku.com/deploy/?template=https%3A%2F%2Fgithub.com%2Fu%2Fr%2Ftree%2Fdev", gh, "dev"},
		{"https://dashboard.heroku.com/new?button-url=https%3A%2F%2Fgithub.com%2Fu%2Fother&template=https%3A%2F%2Fgithub.com%2Fu%2Fr", gh, ""},
		{"https://dashboard.heroku.com/new-app?template=github.com/u/r", gh, ""}, {"https://dashboard.heroku.com/new?button-url=https%3A%2F%2Fgithub.com%2Fu%2Fr%2Fblob%2Fmain%2FREADME.md", gh, "main/README.md file"},
		{"https://slipway.example.com/deploy?template=https://github.com/u/r", gh, ""}, {"[![Deploy](https://example.com/button.svg)](https://heroku.com/deploy?template=https://github.com/u/r)", gh, ""},
	}
}

func text(t Template) string {
	if t.File {
		return t.Path + " file"
	}
	return t.Path
}

func TestParse(t *testing.T) {
	if n := len(shapes()); n < 30 {
		t.Fatalf("%d shapes", n)
	}
	for _, c := range shapes() {
		got, err := Parse(c[0], everywhere)
		if err != nil || got.Repository.String() != c[1] || text(got) != c[2] {
			t.Errorf("%s: %s, %q, %v", c[0], got.Repository, text(got), err)
			continue
		}
		// What we make of it means the same.
		if again, err := Parse(got.URL(), everywhere); err != nil || strings.TrimSuffix(again.Repository.String(), ".git") != strings.TrimSuffix(c[1], ".git") || again.Path != got.Path {
			t.Errorf("%s: as %s it is %s, %q, %v", c[0], got.URL(), again.Repository, again.Path, err)
		}
		// A link of ours to it does, too.
		link, err := Link("https://slipway.example.com/", got)
		if err != nil {
			t.Error(err)
		}
		u, err := url.Parse(link)
		if err != nil || u.Path != "/deploy" {
			t.Errorf("%s, %v", link, err)
		}
		if asked, err := FromRequest("template="+url.QueryEscape(c[0]), "", everywhere); err != nil || asked.Repository != got.Repository || asked.Path != got.Path {
			t.Errorf("%s: in a form it is %+v, %v", c[0], asked, err)
		}
		if asked, err := FromRequest(u.RawQuery, "https://github.com/somebody/else", everywhere); err != nil || asked.Path != got.Path || asked.Referer {
			t.Errorf("%s: %+v, %v", link, asked, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"file:///etc/passwd": "begins with https://", "/etc/passwd": "write it whole", "../x": "", "-u": "dash", "--upload-pack=touch${IFS}x": "dash",
		"ext::sh -c touch% /tmp/x": "transport", "ext::https://github.com/u/r": "transport", "ssh://-oProxyCommand=x/y": "", "git@-oProxyCommand=x:y": "", "ssh://git@github.com:22/u/r": "do not come from",
		"git://github.com/u/r": "begins with https://", "ftp://github.com/u/r": "begins with https://", "javascript:alert(1)": "write it whole", "data:text/html,x": "write it whole",
		"https://user@github.com/u/r": "user or password", "https://user:hunter2@github.com/u/r": "user or password", "https://github.com@evil.example/u/r": "user or password",
		"https://127.0.0.1/u/r": "an address", "https://169.254.169.254/latest/meta-data": "an address", "https://10.0.0.1:8080/u/r": "an address", "https://[::1]/u/r": "an address",
		"https://[fe80::1%25eth0]/u/r": "neither a name nor an address", "https://[::ffff:169.254.169.254]/u/r": "an address", "https://2130706433/u/r": "neither a name", "https://0x7f000001/u/r": "neither a name",
		"https://127.1/u/r": "neither a name", "https://127.0.0.1./u/r": "neither a name", "https://localhost/u/r": "not one of the git hosts", "https://metadata.google.internal/u/r": "not one of the git hosts",
		"https://github.com:8443/u/r": "not one of the git hosts", "https://github.com:0/u/r": "no port", "https://github.com:99999/u/r": "no port", "https://github.com./u/r": "neither a name",
		"https://github.com.evil.example/u/r": "not one of the git hosts", "https://gіthub.com/u/r": "must be written as", "https://github.com\\@evil.example/u/r": "must be written as",
		"https://github.com/u/r\x00": "control characters", "https://github.com/u\n/r": "control characters", "https://github.com/u/r%0a": "control characters", "https://github.com/u/r%00": "control characters",
		"https://github.com/u/\u202egit.r": "control characters", "https://github.com/u/%5c": "", "https://github.com/u/r/tree/..%2f..%2fx": "a dot, two", "https://github.com/u/r/tree/--option": "begins with a dash",
		"https://github.com/u/..": "has the part", "https://github.com/../..": "has the part", "https://github.com/-x/r": "has the part", "https://github.com/u%2fx/r": "has the part",
		"https://github.com": "has none", "https://github.com/u": "no repository", "https://github.com/settings/profile": "no repository", "https://github.com/u/.git": "has the part",
		"https://github.com/" + strings.Repeat("x", 3000): "most", "https://github.com/u/r/tree/" + strings.Repeat("x", 1500): "most", strings.Repeat("x", 100000): "most",
		"https://heroku.com/deploy": "takes the page", "https://dashboard.heroku.com/new": "takes the page", "https://heroku.com/deploy?template=https%3A%2F%2Fheroku.com%2Fdeploy%3Ftemplate%3Dhttps%3A%2F%2Fgithub.com%2Fu%2Fr": "a deploy link itself",
		"https://heroku.com/deploy?template=file:///etc/passwd": "begins with https://", "https://heroku.com/u/r": "not one of the git hosts", "u/r": "write it whole", "": "no template", "\ufeff": "", "%": "", "https://": "", "https://%zz/": "",
		"<script>alert(1)</script>": "write it whole", "https://github.com/u/r<script>": "must be written as",
	} {
		got, err := Parse(text, nil)
		if err == nil {
			t.Errorf("%q is %s, %q", text, got.Repository, got.Path)
			continue
		}
		line := err.Error()
		if !strings.Contains(line, want) || strings.ContainsFunc(line, unicode.IsControl) || len(line) > 500 || strings.Contains(line, "hunter2") {
			t.Errorf("%.100q: %q does not say %q in one line", text, line, want)
		}
	}
}

func TestReferer(t *testing.T) {
	const gh = "https://github.com/u/r"
	for referer, want := range map[string]string{
		gh: gh + " ", gh + "/": gh + " ", gh + "/tree/a/b": gh + " a/b", gh + "/blob/main/README.md": gh + " main/README.md file", gh + "?tab=readme-ov-file": gh + " ", gh + "/tree/main/examples#readme": gh + " main/examples",
		"https://gitlab.com/g/s/r/-/tree/main": "https://gitlab.com/g/s/r main", "https://bitbucket.org/w/r/src/main/": "https://bitbucket.org/w/r main", "https://codeberg.org/u/r/src/branch/x": "https://codeberg.org/u/r x",
		"": "", "https://github.com/": "", "https://github.com": "", "https://github.com/u": "", "https://github.com/settings/profile": "", "https://github.com/search?q=x": "", "https://github.com/orgs/u/repositories": "",
		"https://blog.example.com/2026/how-to": "", "https://slipway.example.com/deploy": "", "https://slipway.example.com/console/apps": "", "about:blank": "", "android-app://com.github.android/": "",
		"http://127.0.0.1/u/r": "", "file:///home/me/README.md": "", "https://user:hunter2@github.com/u/r": "", "%zz": "", strings.Repeat("x", 100000): "",
	} {
		got, err := FromRequest("", referer, nil)
		if want == "" {
			if !errors.Is(err, ErrUnknown) || strings.ContainsFunc(err.Error(), unicode.IsControl) || len(err.Error()) > 700 || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%.100q: %v, %v", referer, got, err)
			}
			continue
		}
		if err != nil || got.Repository.String()+" "+text(got) != want || !got.Referer {
			t.Errorf("%q: %s %s, %v", referer, got.Repository, text(got), err)
		}
	}
	// A template that is named and is wrong is an error, whatever the page is.
	if _, err := FromRequest("template=file:///x", gh, nil); err == nil || errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

func TestEnv(t *testing.T) {
	got, err := FromRequest("env[B]=2&env%5BA%5D=1+1&env[B]=3&env[bad-name]=x&env[__proto__]=x&env[]=x&env[C]=a%00b&env[D]=%ff&env[E]&env[F=x&envG=x&x=%zz&template="+
		url.QueryEscape("https://github.com/u/r"), "", nil)
	want := []Setting{{"B", "3"}, {"A", "1 1"}, {"E", ""}}
	if err != nil || fmt.Sprint(got.Env) != fmt.Sprint(want) || len(got.Ignored) != 5 {
		t.Errorf("%v, %q, %v", got.Env, got.Ignored, err)
	}
	// A pasted link's own values come too.
	got, err = Parse("https://heroku.com/deploy?template=github.com/u/r&env[A]=x", nil)
	if err != nil || fmt.Sprint(got.Env) != "[{A x}]" {
		t.Errorf("%v, %v", got.Env, err)
	}
	got, err = FromRequest("template=github.com/u/r"+strings.Repeat("&env[1]=x", 30)+many(600), "", nil)
	if err != nil || len(got.Env) != build.MaxVars || len(got.Ignored) != 2 {
		t.Errorf("%d, %q, %v", len(got.Env), got.Ignored, err)
	}
	if _, err := FromRequest("template=github.com/u/r&env[A]="+strings.Repeat("x", maxLink), "", nil); err == nil {
		t.Error("a link of any length is read")
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&env[V%d]=%d", i, i)
	}
	return b.String()
}

// FuzzParse: whatever is pasted, we end with an error in one line or a repository that is on an allowed host by https,
// and which git is given nothing else of than what fetch has checked.
func FuzzParse(f *testing.F) {
	for _, c := range shapes() {
		f.Add(c[0])
	}
	for _, s := range []string{"ext::sh -c x", "file:///etc", "https://u:p@github.com/u/r", "https://github.com/u/r/tree/%2e%2e", "-x", "[](https://heroku.com/deploy?template=x&env[A]=1)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, get := range []func() (Template, error){
			func() (Template, error) { return Parse(s, nil) },
			func() (Template, error) { return FromRequest("template="+url.QueryEscape(s), "", nil) },
			func() (Template, error) { return FromRequest(s, s, nil) },
		} {
			got, err := get()
			if err != nil {
				if strings.ContainsFunc(err.Error(), unicode.IsControl) || len(err.Error()) > 3000 {
					t.Errorf("%q", err)
				}
				continue
			}
			text := got.Repository.String()
			u, err := url.Parse(text)
			if err != nil || u.Scheme != "https" || u.User != nil || !PublicHost(u.Host) || u.RawQuery != "" || strings.HasPrefix(text, "-") {
				t.Errorf("%q is %q, %v", s, text, err)
			}
			if g, err := fetch.ParseGitURL(text); err != nil || g.String() != text {
				t.Errorf("%q: %v", text, err)
			}
			for part := range strings.SplitSeq(got.Path, "/") {
				if part == ".." || part == "." || strings.HasPrefix(part, "-") || strings.ContainsFunc(part, unicode.IsControl) {
					t.Errorf("%q has the path %q", s, got.Path)
				}
			}
			if again, err := Parse(got.URL(), nil); err != nil || again.Path != strings.Trim(got.Path, "/") {
				t.Errorf("%q is %q, which is %q, %v", s, got.URL(), again.Path, err)
			}
		}
	})
}
