package lifecycle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/builder/cnb"
)

// binary is a launcher, which stands for both binaries.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lifecycle-test-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "binary")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, "../../cmd/launcher")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	out, err := cmd.CombinedOutput()
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintf(os.Stderr, "build the launcher: %v\n%s", err, out)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func distribution() Distribution {
	return Distribution{Version: "0.21.17-slipway-test", Lifecycle: binary, Launcher: binary}
}

const listing = `-rw-r--r-- lifecycle.toml
drwxr-xr-x lifecycle/
Lrwxrwxrwx lifecycle/analyzer -> lifecycle
Lrwxrwxrwx lifecycle/builder -> lifecycle
Lrwxrwxrwx lifecycle/creator -> lifecycle
Lrwxrwxrwx lifecycle/detector -> lifecycle
Lrwxrwxrwx lifecycle/exporter -> lifecycle
Lrwxrwxrwx lifecycle/extender -> lifecycle
-rwxr-xr-x lifecycle/launcher
-rw-r--r-- lifecycle/launcher.sbom.cdx.json
-rw-r--r-- lifecycle/launcher.sbom.spdx.json
-rw-r--r-- lifecycle/launcher.sbom.syft.json
-rwxr-xr-x lifecycle/lifecycle
-rw-r--r-- lifecycle/lifecycle.sbom.cdx.json
-rw-r--r-- lifecycle/lifecycle.sbom.spdx.json
-rw-r--r-- lifecycle/lifecycle.sbom.syft.json
Lrwxrwxrwx lifecycle/rebaser -> lifecycle
Lrwxrwxrwx lifecycle/restorer -> lifecycle
`

// list describes the entries of a tar stream and checks what all of them share.
func list(t *testing.T, r io.Reader) string {
	t.Helper()
	var b strings.Builder
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(fileTime()) {
			t.Errorf("%s: owner %d:%d %q:%q, time %v", h.Name, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime)
		}
		fmt.Fprintf(&b, "%s %s", h.FileInfo().Mode(), h.Name)
		if h.Linkname != "" {
			fmt.Fprintf(&b, " -> %s", h.Linkname)
		}
		b.WriteString("\n")
	}
}

func TestArchive(t *testing.T) {
	d := distribution()
	var once, again bytes.Buffer
	if err := d.WriteArchive(&once); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(once.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, z); got != listing {
		t.Errorf("entries:\n%s", got)
	}
	// The same binaries elsewhere, of another time and under another umask.
	dir := t.TempDir()
	if err := d.Write(filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	d.Lifecycle, d.Launcher = filepath.Join(dir, "x", "lifecycle"), filepath.Join(dir, "x", "launcher")
	if err := os.Chmod(d.Lifecycle, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteArchive(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(once.Bytes(), again.Bytes()) {
		t.Error("two archives of the same binaries differ")
	}
}

func TestDescriptor(t *testing.T) {
	d := Distribution{Version: "0.21.17-slipway-v0.3.0-4-gb8a4dbb"}
	got, err := d.Descriptor()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", DescriptorName))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("lifecycle.toml:\n%s", got)
	}
	l, err := cnb.DecodeLifecycle(DescriptorName, got)
	if err != nil || l.Version != d.Version || !slices.Equal(l.PlatformAPIs, cnb.PlatformAPIs()) || len(l.SBOMFormats) != 3 {
		t.Errorf("read back: %+v, %v", l, err)
	}
}

func TestVersion(t *testing.T) {
	for v, ok := range map[string]bool{
		"0.21.17": true, "0.21.17-slipway-0123456": true, "0.21.17-slipway-v1.0.0-3-gabc-dirty": true, "1.0.0-0": true,
		"": false, "0.21": false, "v0.21.17": false, "0.21.17+slipway": false, "0.021.17": false, "0.21.17-0123": false,
		"0.21.17-a..b": false, "0.21.17-a/b": false, "0.21.17-": false, "0.21.17-slipway-a.01": false,
	} {
		if err := (Distribution{Version: v}).Check(); (err == nil) != ok {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func TestWriteAndUnpack(t *testing.T) {
	d := distribution()
	written, unpacked := t.TempDir(), t.TempDir()
	for range 2 { // the second time everything is there
		if err := d.Write(filepath.Join(written, DirName)); err != nil {
			t.Fatal(err)
		}
	}
	archive := filepath.Join(t.TempDir(), "lifecycle.tgz")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.WriteArchive(f), f.Close(), Unpack(archive, unpacked)); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(tree(t, unpacked), func(s string) bool { return strings.Contains(s, DescriptorName) })
	if got := tree(t, written); !slices.Equal(got, want) {
		t.Errorf("written:\n%s\nunpacked:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		fi, err := e.Info()
		if err == nil {
			out = append(out, fmt.Sprintf("%s %s", fi.Mode(), strings.TrimPrefix(path, dir)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUnpackRefuses(t *testing.T) {
	for want, h := range map[string]*tar.Header{
		"not beside it":          {Typeflag: tar.TypeSymlink, Name: "lifecycle/creator", Linkname: "/bin/sh"},
		"neither a directory":    {Typeflag: tar.TypeFifo, Name: "lifecycle/creator"},
		"file exists":            {Typeflag: tar.TypeReg, Name: "lifecycle/../there"},
		"unpack lifecycle /":     {Typeflag: tar.TypeLink, Name: "a", Linkname: "../../etc/passwd"},
		"a link to \"../there\"": {Typeflag: tar.TypeSymlink, Name: "../x", Linkname: "../there"},
	} {
		archive, dir := filepath.Join(t.TempDir(), "x.tgz"), t.TempDir()
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		tw := tar.NewWriter(z)
		err := errors.Join(tw.WriteHeader(h), tw.Close(), z.Close(), os.WriteFile(archive, b.Bytes(), 0o644),
			os.WriteFile(filepath.Join(dir, "there"), nil, 0o644))
		if err != nil {
			t.Fatal(err)
		}
		if err := Unpack(archive, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", h.Name, err, want)
		}
	}
}

func TestImage(t *testing.T) {
	d := distribution()
	img, err := d.Image("arm64", []byte("certificates\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cf.OS != "linux" || cf.Architecture != "arm64" || cf.Config.WorkingDir != "/layers" || cf.Config.Entrypoint != nil || !cf.Created.Equal(fileTime()) {
		t.Errorf("config: %+v", cf)
	}
	for label, want := range map[string]string{
		"io.buildpacks.lifecycle.version": d.Version,
		"io.buildpacks.lifecycle.apis":    `{"buildpack":{"deprecated":[],"supported":["0.7","0.8","0.9","0.10","0.11","0.12"]},"platform":{"deprecated":[],"supported":["0.7","0.8","0.9","0.10","0.11","0.12","0.13","0.14","0.15"]}}`,
		"io.buildpacks.builder.metadata":  `{"api":{"buildpack":"0.7","platform":"0.7"},"lifecycle":{"version":"` + d.Version + `"}}`,
	} {
		if got := cf.Config.Labels[label]; got != want {
			t.Errorf("label %s is %s", label, got)
		}
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	const base = "drwxr-xr-x etc/\n-rw-r--r-- etc/group\n-rw-r--r-- etc/nsswitch.conf\n-rw-r--r-- etc/passwd\ndrwxr-xr-x etc/ssl/\n" +
		"drwxr-xr-x etc/ssl/certs/\n-rw-r--r-- etc/ssl/certs/ca-certificates.crt\ndrwx------ root/\ndtrwxrwxrwx tmp/\n"
	if got := list(t, open(t, layers[0])); got != base {
		t.Errorf("base layer:\n%s", got)
	}
	want := "drwxr-xr-x cnb/\n" + strings.ReplaceAll(strings.ReplaceAll(listing, " lifecycle", " cnb/lifecycle"), "-> cnb/", "-> ")
	if got := list(t, open(t, layers[1])); got != want {
		t.Errorf("last layer:\n%s", got)
	}
}

func open(t *testing.T, l v1.Layer) io.Reader {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestBills(t *testing.T) {
	d := distribution()
	files, err := readBill("launcher", "", d.Launcher)
	if err != nil || len(files) != 3 {
		t.Fatalf("%d documents, %v", len(files), err)
	}
	again, err := readBill("launcher", "", d.Launcher)
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if !bytes.Equal(files[i].data, again[i].data) {
			t.Errorf("%s differs between two runs", files[i].name)
		}
	}
	const toml = "pkg:golang/github.com/pelletier/go-toml/v2@"
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(files[0].data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != cdx.SpecVersion1_5 || !slices.ContainsFunc(*bom.Components, func(c cdx.Component) bool { return strings.HasPrefix(c.PackageURL, toml) }) {
		t.Errorf("%s:\n%s", files[0].name, files[0].data)
	}
	var spdx spdxDocument
	var syft syftDocument
	for i, v := range []any{&spdx, &syft} {
		dec := json.NewDecoder(bytes.NewReader(files[i+1].data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(v); err != nil {
			t.Errorf("%s: %v", files[i+1].name, err)
		}
	}
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range spdx.Packages {
		if ids[p.SPDXID] {
			t.Errorf("SPDX id %s is there twice", p.SPDXID)
		}
		ids[p.SPDXID] = true
	}
	for _, r := range spdx.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("SPDX relationship of unknown elements: %v", r)
		}
	}
	if len(spdx.Packages) != len(syft.Artifacts)+1 || len(syft.Artifacts) != len(*bom.Components) {
		t.Errorf("%d, %d and %d entries", len(spdx.Packages)-1, len(syft.Artifacts), len(*bom.Components))
	}
	if !slices.ContainsFunc(syft.Artifacts, func(a syftArtifact) bool {
		return a.Name == "stdlib" && a.Metadata.Architecture == runtime.GOARCH && a.Metadata.Main == "github.com/slipway-build/slipway"
	}) {
		t.Errorf("%s:\n%s", files[2].name, files[2].data)
	}
	if _, err := readBill("x", "", "lifecycle.go"); err == nil || !strings.Contains(err.Error(), "lifecycle.go") {
		t.Errorf("a bill of what is no Go binary: %v", err)
	}
}
