package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

// What a package calls otherwise until its postinst has run has its usual name; nothing of the script runs, and no
// link is made for what is not there or leads out of the layer.
func TestAlternatives(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	parceltest.Write(t, src, map[string]string{
		"DEBIAN/control": "Package: banner\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.com>\nDescription: d\n",
		"DEBIAN/postinst": "#!/bin/sh\nif [ \"$1\" = configure ]; then\n  update-alternatives --install /usr/bin/banner banner \\\n" +
			"\t/usr/lib/banner/banner-real 30 --slave /usr/share/x x /usr/share/y\n" +
			"  update-alternatives --install /usr/bin/absent absent /usr/bin/absent-real 30\n" +
			"  update-alternatives --install /usr/bin/out out /../../../../bin/sh 30\n" +
			"  update-alternatives --install $somewhere out /usr/lib/banner/banner-real 30\nfi\n",
		"usr/lib/banner/banner-real": "it",
	})
	for name, mode := range map[string]os.FileMode{".": 0o755, "DEBIAN": 0o755, "DEBIAN/postinst": 0o755} {
		if err := os.Chmod(filepath.Join(src, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "banner.deb")
	for _, args := range [][]string{{"--root-owner-group", "--build", src, file}, {"--extract", file, dir}} {
		if out, err := exec.CommandContext(t.Context(), "dpkg-deb", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	w, _ := parceltest.Work(environ())
	a := apt{w: w, system: system{bin: "/usr/bin"}}
	for range 2 { // a link that is there stays
		if err := a.alternatives(t.Context(), file, dir); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "usr/bin/banner")); err != nil || string(b) != "it" {
		t.Errorf("usr/bin/banner: %q, %v", b, err)
	}
	links, err := os.ReadDir(filepath.Join(dir, "usr/bin"))
	if err != nil || len(links) != 1 {
		t.Errorf("links: %v, %v", links, err)
	}
}
