package index_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/index"
)

func locked(t *testing.T, ref, version, letter string) index.Locked {
	t.Helper()
	r, err := index.ParseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	return index.Locked{Ref: r, Version: version, Address: address(letter), Index: "ours", Revision: strings.Repeat("c", 40)}
}

func TestLock(t *testing.T) {
	l := &index.Lock{Buildpacks: []index.Locked{
		locked(t, "acme/java@^1.2", "1.10.0", "1"), locked(t, "acme/java@2.0.0-rc.1", "2.0.0-rc.1", "2"), locked(t, "acme/go", "3.0.0", "3"),
		locked(t, "acme/java@>=1, <1.3", "1.2.9", "4"),
	}}
	text := string(l.Text())
	back, err := index.ParseLock(index.LockName, []byte(text))
	if err != nil || string(back.Text()) != text || len(back.Buildpacks) != 4 || back.Buildpacks[0].Line != 4 {
		t.Fatalf("%+v %v\n%s", back, err, text)
	}
	l.Buildpacks[0], l.Buildpacks[2] = l.Buildpacks[2], l.Buildpacks[0]
	if string(l.Text()) != text {
		t.Error("another order is another text")
	}
	for ref, want := range map[string]string{
		"acme/java@^1.2": "1", "urn:cnb:registry:acme/java@^1.2": "1", "acme/java@2.0.0-rc.1": "2", "acme/go": "3", "acme/java": "1", "acme/java@1": "1",
		"acme/java@1.2": "4", "acme/java@1.2.9": "4", "acme/go@3.0.0": "3", "acme/rust": "", "acme/java@2": "stale", "acme/java@1.10.1": "stale", "acme/go@~2": "stale",
	} {
		r, err := index.ParseRef(ref)
		if err != nil {
			t.Fatal(err)
		}
		e, ok, err := back.Find(r)
		if want == "stale" {
			stale, is := errors.AsType[*index.StaleError](err)
			if !is || !strings.Contains(err.Error(), "slipway.lock:") || stale.Locked.Line == 0 {
				t.Errorf("%s: %+v %v", ref, e, err)
			}
			continue
		}
		if err != nil || ok != (want != "") || ok && e.Address != address(want) {
			t.Errorf("%s: %+v %t %v, want image %s", ref, e, ok, err, want)
		}
	}
	if _, err := index.ParseRef("acme/java@1\n2"); err == nil {
		t.Error("a version with a line's end in it")
	}
}

// Whatever is wrong in a lock file is one line, with the file's.
func TestLockFaults(t *testing.T) {
	good := string((&index.Lock{Buildpacks: []index.Locked{locked(t, "acme/java@^1.2", "1.10.0", "1")}}).Text())
	for name, tc := range map[string]struct{ from, to, fault string }{
		"conflict":        {"version = 1\n", "version = 1\n<<<<<<< HEAD\n", `slipway.lock:3: "<<<<<<< HEAD" is no line of a lock file`},
		"other version":   {"version = 1\n", "version = 2\n", "slipway.lock:2: "},
		"no version":      {"version = 1\n", "", "slipway.lock: it does not say version = 1"},
		"unknown key":     {"want", "wont", "slipway.lock:6: unknown key wont"},
		"key twice":       {"id = ", "id = \"acme/go\"\nid = ", "slipway.lock:6: id is there twice"},
		"entry twice":     {good[strings.Index(good, "\n[["):], good[strings.Index(good, "\n[["):] + good[strings.Index(good, "\n[["):], "slipway.lock:12: acme/java@^1.2 is there already, at line 4"},
		"missing":         {"index = \"ours\"\n", "", "slipway.lock:4: index is missing"},
		"name":            {"acme/java", "acme/../x", "slipway.lock:4: buildpack"},
		"empty":           {`"1.10.0"`, `""`, "slipway.lock:7: version: want a text"},
		"number":          {`"1.10.0"`, `1`, "slipway.lock:7: version: want a text"},
		"escape":          {`"1.10.0"`, `"1.10.0\n"`, "slipway.lock:7: "},
		"no semver":       {`"1.10.0"`, `"v1"`, `slipway.lock:4: version "v1" is no semantic version`},
		"tag":             {address("1"), "registry.example/acme/bp:1", "slipway.lock:4: address"},
		"short digest":    {address("1"), address("1")[:60], "slipway.lock:4: address"},
		"not admitted":    {`"^1.2"`, `"^2"`, `slipway.lock:4: version 1.10.0 is not "^2", which is asked for`},
		"no range":        {`"^1.2"`, `"banana"`, `slipway.lock:4: version "banana": want`},
		"index":           {`"ours"`, `"../ours"`, "slipway.lock:4: index"},
		"revision":        {strings.Repeat("c", 40), "--help", "slipway.lock:4: revision"},
		"deep":            {"version = 1\n", "version = 1\nx = " + strings.Repeat("[", 100_000) + "\n", "slipway.lock:3: "},
		"control":         {"version = 1\n", "version = 1\n\x1b[2J\n", `slipway.lock:3: "\x1b[2J" is no line`},
		"key before":      {"version = 1\n", "version = 1\nid = \"acme/go\"\n", "slipway.lock:3: "},
		"too many bytes":  {"version = 1\n", "version = 1\n#" + strings.Repeat("x", index.MaxLock) + "\n", "slipway.lock: the file has more than"},
		"too many tables": {"version = 1\n", "version = 1\n" + strings.Repeat("[[buildpack]]\n", 2), "slipway.lock:3: id is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, tc.from, tc.to, 1)
			_, err := index.ParseLock(index.LockName, []byte(text))
			if text == good || err == nil || !strings.HasPrefix(err.Error(), tc.fault) || strings.Count(err.Error(), "slipway.lock:") != 1 || strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Errorf("%v, want %q\n%.600s", err, tc.fault, text)
			}
		})
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add("# x\nversion = 1\n\n[[buildpack]]\nid = \"acme/java\"\nversion = \"1.0.0\"\nimage = \"" + address("1") + "\"\nindex = \"ours\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := index.ParseLock(index.LockName, []byte(text))
		if err != nil {
			return
		}
		again, err := index.ParseLock(index.LockName, l.Text())
		if err != nil || string(again.Text()) != string(l.Text()) {
			t.Errorf("%v\n%s", err, l.Text())
		}
	})
}
