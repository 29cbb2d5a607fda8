package cache_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// TestVolumeHostile opens what somebody put there who wants to read, write or stop the host. All of it is a miss, and
// the next build's cache is whole.
func TestVolumeHostile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, filepath.Join(secret, "file"), "secret")
	link := func(t *testing.T, to, at string) {
		t.Helper()
		remove(t, at)
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	fifo := func(t *testing.T, at string) {
		t.Helper()
		remove(t, at)
		if err := syscall.Mkfifo(at, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	a, b := contentOf("a"), contentOf("b")
	const lacks, unread = "lacks the contents of layer test/one:b", "is not used"
	for _, tc := range []struct {
		what string
		do   func(t *testing.T, dir string)
		had  bool // layer a is still there
		warn string
	}{
		{"a FIFO for a tar", func(t *testing.T, dir string) { fifo(t, tarFile(dir, b)) }, true, lacks},
		{"a link for a tar", func(t *testing.T, dir string) { link(t, filepath.Join(secret, "file"), tarFile(dir, b)) }, true, lacks},
		{"a link to another tar", func(t *testing.T, dir string) { link(t, a.id+".tar", tarFile(dir, b)) }, true, lacks},
		{"a directory for a tar", func(t *testing.T, dir string) {
			remove(t, tarFile(dir, b))
			write(t, filepath.Join(tarFile(dir, b), "x", "y"), "")
		}, true, lacks},
		{"a FIFO for the metadata", func(t *testing.T, dir string) { fifo(t, filepath.Join(dir, "committed", metadataFile)) }, false, unread},
		{"a link for the metadata", func(t *testing.T, dir string) {
			link(t, filepath.Join(secret, "file"), filepath.Join(dir, "committed", metadataFile))
		}, false, unread},
		{"metadata of 1 GiB", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "committed", metadataFile), 1<<30); err != nil {
				t.Fatal(err)
			}
		}, false, unread},
		{"deep metadata", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "committed", metadataFile), `{"buildpacks":`+strings.Repeat("[", 1<<20))
		}, false, unread},
		{"a path for a digest", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "committed", metadataFile), `{"sbom":{"sha":""},"buildpacks":[{"key":"test/one","layers":{"b":{"sha":"../../../etc/passwd","cache":true}}}]}`)
		}, false, unread},
		{"no digest for a digest", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "committed", metadataFile), `{"sbom":{"sha":"../../x"},"buildpacks":[]}`)
		}, false, "lacks the contents of SBOM files"},
		{"a link for the cache", func(t *testing.T, dir string) { link(t, secret, filepath.Join(dir, "committed")) }, false, unread},
		{"a file for the cache", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "committed"))
			write(t, filepath.Join(dir, "committed"), "")
		}, false, unread},
		{"links for staging and backup", func(t *testing.T, dir string) {
			link(t, secret, filepath.Join(dir, "staging"))
			link(t, secret, filepath.Join(dir, "committed-backup"))
			remove(t, tarFile(dir, b))
		}, true, lacks},
		{"a link for a backup alone", func(t *testing.T, dir string) {
			link(t, secret, filepath.Join(dir, "committed-backup"))
			remove(t, filepath.Join(dir, "committed"))
		}, false, unread},
	} {
		t.Run(tc.what, func(t *testing.T) {
			dir := t.TempDir()
			replace(t, openVolume(t, dir), metadata(a, b), from(t, a, b))
			tc.do(t, dir)
			started := time.Now()
			v := openVolume(t, dir)
			warned(t, v, tc.warn)
			if tc.had {
				holds(t, v, metadata(a), a)
			} else if md := v.Metadata(); len(md.Buildpacks) > 0 || md.BOM != (cnb.LayerSHA{}) {
				t.Errorf("metadata %+v", md)
			}
			for _, id := range []string{b.id, "../../secret/file", ""} {
				if rc, err := v.Open(t.Context(), id); err == nil {
					rc.Close()
					if tc.warn == lacks || id != b.id {
						t.Errorf("layer %q was opened", id)
					}
				}
			}
			replace(t, v, metadata(a, b), from(t, a, b))
			again := openVolume(t, dir)
			warned(t, again)
			holds(t, again, metadata(a, b), a, b)
			if d := time.Since(started); d > 20*time.Second {
				t.Errorf("took %s", d)
			}
			if got, err := os.ReadFile(filepath.Join(secret, "file")); err != nil || string(got) != "secret" {
				t.Errorf("a file of the host: %q, %v", got, err)
			}
			if got := tree(t, secret); len(got) != 1 {
				t.Errorf("a directory of the host: %q", got)
			}
		})
	}
}
