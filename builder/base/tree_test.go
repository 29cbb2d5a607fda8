package base

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"
)

type entry struct {
	name, link, body string
	kind             byte
	mode             int64
	uid              int
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h := &tar.Header{
			Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body)), Uid: e.uid,
			Uname: "somebody", ModTime: time.Unix(int64(1e9+i), 0), PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"},
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func system() []entry {
	return []entry{
		{name: "./", kind: tar.TypeDir, mode: 0o755},
		{name: "./etc/passwd", body: "root:x:0:0::/root:/bin/bash\n"},
		{name: "./etc/group", body: "root:x:0:"}, // without an end of line
		{name: "./usr/lib/os-release", body: "NAME=x\nID=debian\nVERSION_ID=\"13\"\n"},
	}
}

func normalise(t *testing.T, kind Kind, entries []entry) (map[string]*tar.Header, map[string]string, *tree, error) {
	t.Helper()
	o, err := Options{Kind: kind}.complete()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	tree := newTree(o)
	if err := tree.copy(&out, bytes.NewReader(tarOf(t, entries))); err != nil {
		return nil, nil, nil, err
	}
	heads, bodies := map[string]*tar.Header{}, map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return heads, bodies, tree, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		heads[h.Name], bodies[h.Name] = h, string(b)
	}
}

func TestTree(t *testing.T) {
	older := " -- A <a@example.org>  Mon, 04 Aug 2025 10:00:00 +0200\n"
	newer := "pkg (2) trixie; urgency=low\n\n  * B.\n\n -- B <b@example.org>  Tue, 05 Aug 2025 10:00:00 +0200\n\n" + older
	heads, bodies, tree, err := normalise(t, Build, append(system(), []entry{
		{name: "./etc/shadow", body: "root:*:1::::::\n", mode: 0o640},
		{name: "./etc/machine-id", body: "1234"},
		{name: "./etc/apt/apt.conf.d/99mmdebstrap", body: "Acquire::http::Proxy"},
		{name: "./etc/apt/sources.list", body: "deb http://secret"},
		{name: "./dev/null", kind: tar.TypeChar},
		{name: "./run/lock", kind: tar.TypeDir, mode: 0o1777},
		{name: "./run/dbus.pid", body: "1"},
		{name: "./usr/bin/apt-get", body: "elf", mode: 0o755},
		{name: "./usr/bin/su", body: "elf", mode: 0o4755},
		{name: "./usr/bin/su2", kind: tar.TypeLink, link: "./usr/bin/su", mode: 0o4755},
		{name: "./usr/share/doc/a", kind: tar.TypeDir, mode: 0o755},
		{name: "./usr/share/doc/a/changelog.Debian.gz", body: zipped(t, newer)},
		{name: "./usr/share/doc/a/copyright", body: "free"},
		{name: "./usr/share/doc/a/examples/x", body: "x"},
		{name: "./usr/share/doc/b", kind: tar.TypeSymlink, link: "a"},
		{name: "./usr/share/doc/c/changelog.gz", body: "not gzip"},
		{name: "./usr/share/locale/de/LC_MESSAGES/x.mo", body: "x"},
		{name: "./var/lib/dpkg/status", body: "s"},
		{name: "./var/lib/dpkg/status-old", body: "s"},
		{name: "./var/mail", kind: tar.TypeDir, mode: 0o2775},
	}...))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, n := range []string{
		"etc/passwd", "etc/group", "usr/lib/os-release", "etc/shadow", "run/lock/", "usr/bin/apt-get", "usr/bin/su", "usr/bin/su2",
		"usr/share/doc/a/", "usr/share/doc/a/copyright", "usr/share/doc/b", "var/lib/dpkg/status", "var/mail/", "home/cnb/", "etc/apt/sources.list",
	} {
		want[n] = true
	}
	for n := range maps.Keys(heads) {
		if !want[n] {
			t.Errorf("/%s should have been left out", n)
		}
		delete(want, n)
		if h := heads[n]; !h.ModTime.Equal(layerTime()) || h.Uname != "" || len(h.PAXRecords) > 0 {
			t.Errorf("/%s: %+v", n, h)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if heads["usr/bin/su"].Mode != 0o755 || heads["usr/bin/su2"].Linkname != "usr/bin/su" || heads["var/mail/"].Mode != 0o2775 {
		t.Errorf("modes and links: %v %v %v", heads["usr/bin/su"], heads["usr/bin/su2"], heads["var/mail/"])
	}
	if h := heads["home/cnb/"]; h.Uid != BuildUID || h.Gid != GID || h.Mode != 0o755 {
		t.Errorf("home: %+v", h)
	}
	for name, want := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/bash\ncnb:x:1001:1000::/home/cnb:/bin/bash\n",
		"etc/group":  "root:x:0:\ncnb:x:1000:\n",
		"etc/shadow": "root:*:1::::::\ncnb:!:::::::\n",
		"etc/apt/sources.list": "deb http://deb.debian.org/debian trixie main\ndeb http://deb.debian.org/debian trixie-updates main\n" +
			"deb http://deb.debian.org/debian-security trixie-security main\n",
	} {
		if bodies[name] != want {
			t.Errorf("/%s is %q, want %q", name, bodies[name], want)
		}
	}
	if got := tree.newest.Format(time.RFC3339); got != "2025-08-05T08:00:00Z" || tree.name != "debian" || tree.vers != "13" {
		t.Errorf("noted: %s %s %s", got, tree.name, tree.vers)
	}
}

func TestTreeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"nothing", nil, "no /etc/passwd"},
		{"no os-release", system()[:3], "no ID in /usr/lib/os-release"},
		{"device", append(system(), entry{name: "./srv/disk", kind: tar.TypeBlock}), "/srv/disk: is neither file"},
		{"link to what is left out", append(system(), entry{name: "./usr/x", kind: tar.TypeLink, link: "./var/log/x"}), "hard link to /var/log/x"},
		{"user id taken", append([]entry{{name: "etc/passwd", body: "x:x:1002:5::/:/\n"}}, system()[2:]...), "gives id 1002 to x"},
		{"user name taken", append([]entry{{name: "etc/passwd", body: "cnb:x:7:5::/:/\n"}}, system()[2:]...), "has that name already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, _, err := normalise(t, Run, tt.entries)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestTransport(t *testing.T) {
	dump := `APT::Architecture "amd64";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy:3128/";
Acquire::https::CaInfo "/etc/ca.pem";
Acquire::Check-Valid-Until "false";
Acquire::Languages:: "none";
DPkg::Post-Invoke:: "rm -rf /";
Acquire::Retries "3";
`
	got := strings.Join(transport([]byte(dump)), "\n")
	want := `Acquire::http::Proxy "http://proxy:3128/";
Acquire::https::CaInfo "/etc/ca.pem";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHasSubordinate(t *testing.T) {
	text := []byte("alice:100000:65536\n1007:165536:65536\nbroken\n")
	for user, want := range map[string]bool{"alice": true, "bob": false, "broken": false} {
		if got := hasSubordinate(text, user, "1"); got != want {
			t.Errorf("%s: %v", user, got)
		}
	}
	if !hasSubordinate(text, "carol", "1007") {
		t.Error("an entry by number is not found")
	}
}

func TestToolEnv(t *testing.T) {
	o := Options{Env: []string{"PATH=relative:/opt/bin", "http_proxy=http://p/", "AWS_SECRET_ACCESS_KEY=x", "HOME=/root"}}
	env := strings.Join(o.toolEnv(), "\n")
	if strings.Contains(env, "AWS") || strings.Contains(env, "relative") {
		t.Errorf("too much in\n%s", env)
	}
	for _, want := range []string{"PATH=/opt/bin:", "http_proxy=http://p/", "SOURCE_DATE_EPOCH=315532801", "HOME=/root"} {
		if !strings.Contains(env, want) {
			t.Errorf("%s is not in\n%s", want, env)
		}
	}
}
