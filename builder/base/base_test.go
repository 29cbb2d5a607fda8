package base

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// tiny is a real bootstrap, as small as it gets. The canary stands for what must not get into an image.
func tiny() Options {
	const canary = "c4n4ry"
	return Options{
		Kind:     Run,
		Packages: []string{"ca-certificates"},
		Env: append(os.Environ(), "https_proxy=http://user:"+canary+"@127.0.0.1:9/", "HTTPS_PROXY=http://user:"+canary+"@127.0.0.1:9/",
			"CANARY="+canary, "REGISTRY_PASSWORD="+canary),
	}
}

func TestMakeTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	var digests []v1.Hash
	for range 2 {
		o := tiny()
		img, err := Make(t.Context(), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		d, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	if digests[0] != digests[1] {
		t.Fatalf("two bootstraps, two digests: %v", digests)
	}
	img, ok := Cached(dir, tiny())
	if !ok {
		t.Fatal("the image just made is not found again")
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("image: %v", err)
	}
	if o := tiny(); !differs(dir, o, func(o *Options) { o.Suite = "bookworm" }) ||
		!differs(dir, o, func(o *Options) { o.Packages = []string{"tzdata"} }) || !differs(dir, o, func(o *Options) { o.Kind = Build }) {
		t.Error("the image counts as made from another recipe")
	}
	checkConfig(t, img)
	checkFiles(t, img)

	left, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the image: %v %v", left, err)
	}
}

func differs(dir string, o Options, change func(*Options)) bool {
	change(&o)
	_, ok := Cached(dir, o)
	return !ok
}

func checkConfig(t *testing.T, img v1.Image) {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Config.User != "1002:1000" || c.OS != "linux" || c.Architecture == "" || c.Created.Year() < 2025 {
		t.Errorf("config: %+v", c)
	}
	for label, want := range map[string]string{
		"io.buildpacks.base.distro.name": "debian", "io.buildpacks.base.distro.version": "13",
		"io.buildpacks.base.id": "io.github.slipway-build.trixie", "io.buildpacks.rebasable": "true",
	} {
		if c.Config.Labels[label] != want {
			t.Errorf("label %s is %q, want %q", label, c.Config.Labels[label], want)
		}
	}
	raw, err := img.RawConfigFile()
	if err != nil || bytes.Contains(raw, []byte("c4n4ry")) {
		t.Errorf("canary in the config (%v)", err)
	}
}

func checkFiles(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers: %v %v", layers, err)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	seen := map[string]*tar.Header{}
	for tr := tar.NewReader(rc); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[h.Name] = h
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(body, []byte("c4n4ry")) {
			t.Errorf("canary in /%s", h.Name)
		}
		if h.Name == "etc/passwd" && !bytes.Contains(body, []byte("\ncnb:x:1002:1000::/home/cnb:/bin/bash\n")) {
			t.Errorf("/etc/passwd:\n%s", body)
		}
		if !h.ModTime.Equal(layerTime()) || h.Uname != "" || len(h.PAXRecords) > 0 && h.PAXRecords["path"] == "" && h.PAXRecords["linkpath"] == "" {
			t.Errorf("/%s: %+v", h.Name, h)
		}
		if h.Typeflag == tar.TypeReg && h.Mode&0o6000 != 0 {
			t.Errorf("/%s is set-id", h.Name)
		}
		if own := h.Name == "home/cnb/"; own != (h.Uid == 1002) || !own && h.Uid != 0 {
			t.Errorf("/%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
	}
	for _, name := range []string{"etc/passwd", "usr/bin/bash", "etc/ssl/certs/ca-certificates.crt", "tmp/", "home/cnb/", "var/lib/dpkg/status"} {
		if seen[name] == nil {
			t.Errorf("no /%s", name)
		}
	}
	if h := seen["tmp/"]; h != nil && h.Mode != 0o1777 {
		t.Errorf("/tmp has mode %o", h.Mode)
	}
	for name := range seen {
		for _, bad := range []string{"etc/machine-id", "etc/resolv.conf", "etc/hostname", "etc/apt/apt.conf.d/99", "var/log/", "var/lib/apt/lists/", "etc/ssh/ssh_host"} {
			if strings.HasPrefix(name, bad) && name != bad {
				t.Errorf("/%s should not be there", name)
			}
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	precious := t.TempDir()
	if err := os.WriteFile(filepath.Join(precious, "thesis"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir string
		o         Options
		want      string
	}{
		{"no kind", "x", Options{}, `kind "" is neither`},
		{"suite as an option", "x", Options{Kind: Run, Suite: "--help"}, `suite "--help"`},
		{"architecture", "x", Options{Kind: Run, Arch: "a,b"}, `architecture "a,b"`},
		{"package as an option", "x", Options{Kind: Run, Packages: []string{"-o"}}, `"-o" is not a Debian package name`},
		{"mirror with a password", "x", Options{Kind: Run, Mirror: "http://u:s3cret@example.org/debian"}, "auth.conf.d"},
		{"mirror with options", "x", Options{Kind: Run, Mirror: "[trusted=yes] http://example.org"}, "not a URL"},
		{"mirror of a strange kind", "x", Options{Kind: Run, Mirror: "ftp://example.org"}, "want an http, https or file URL"},
		{"somebody's directory", precious, Options{Kind: Run}, "not empty and not an OCI layout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := tt.dir
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(t.TempDir(), dir)
			}
			_, err := Make(t.Context(), dir, tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// openTemp is a temporary directory that mmdebstrap's subordinate users can enter, as they can /tmp.
func openTemp(t *testing.T) string {
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A mirror that does not answer: one error that says so, and nothing left behind.
func TestMakeWithoutMirror(t *testing.T) {
	temp, parent := openTemp(t), t.TempDir()
	_, err := Make(t.Context(), filepath.Join(parent, "run"), Options{
		Kind: Run, Mirror: "http://127.0.0.1:9/debian", Env: []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + temp},
	})
	if err == nil || !strings.Contains(err.Error(), "the mirror cannot be reached") {
		t.Errorf("error: %v", err)
	}
	for _, dir := range []string{temp, parent} {
		if left := entries(t, dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A cancelled bootstrap ends at once and takes its mounts and files away, at whatever moment it is cancelled.
func TestMakeCancelled(t *testing.T) {
	for _, moment := range []string{"as tempdir", "extracting archives"} {
		t.Run(moment, func(t *testing.T) {
			temp, parent := openTemp(t), t.TempDir()
			stop := errors.New("changed our mind")
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err := Make(ctx, filepath.Join(parent, "run"), Options{
				Kind: Run, Env: []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + temp},
				Progress: writerFunc(func(p []byte) {
					if bytes.Contains(p, []byte(moment)) {
						cancel(stop)
					}
				}),
			})
			if !errors.Is(err, stop) {
				t.Errorf("error: %v", err)
			}
			for _, dir := range []string{temp, parent} {
				if left := entries(t, dir); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			}
		})
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func entries(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir && len(names) < 5 {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPackageLists(t *testing.T) {
	build := Packages(Build)
	for _, p := range Packages(Run) {
		if !slices.Contains(build, p) {
			t.Errorf("%s is in the run image only: what is linked at build time would differ", p)
		}
	}
}

func FuzzParsePackages(f *testing.F) {
	for _, s := range []string{string(buildPackages), "a", "git # tool\n\ncurl\n", "git\ngit\n", "-o\n", "libstdc++6"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ParsePackages("list", text)
		if err != nil {
			return
		}
		again, err := ParsePackages("list", []byte(strings.Join(list, "\n")))
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("%q, read again: %q %v", list, again, err)
		}
		for _, p := range list {
			if strings.HasPrefix(p, "-") || strings.ContainsAny(p, ", \t=/") {
				t.Errorf("package %q", p)
			}
		}
	})
}

func ExampleParsePackages() {
	list, err := ParsePackages("build.packages", []byte("git  # checkouts\ncurl\n"))
	fmt.Println(list, err)
	// Output: [curl git] <nil>
}
