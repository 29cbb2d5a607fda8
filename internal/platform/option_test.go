package platform_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/platform"
)

// lifecycleLabel is the part of the image's label that tests look at.
func lifecycleLabel(t *testing.T, img *image.Image) (m cnb.LayersMetadata) {
	t.Helper()
	m, err := cnb.DecodeLayersMetadata(img.Label(cnb.LabelLifecycleMetadata))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRunImages chooses among a builder's run image, its mirrors, the user's, and one named for the build.
func TestRunImages(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	for _, n := range []string{"/run", "/mirror"} {
		ref, _ := image.ParseRef(host + n)
		if _, err := y.machine.Registry.Push(t.Context(), []image.Ref{ref}, y.find(t, y.oci("run")), image.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		what, want string
		o          platform.Options
	}{
		{"the builder's", "index.docker.io/test/run@", platform.Options{Output: platform.Output{Store: true}}},
		{"named", host + "/run@", platform.Options{RunImage: host + "/run", Output: platform.Output{Store: true}}},
		{"a mirror near the result", host + "/mirror@", platform.Options{
			Image: host + "/" + name(t), RunImageMirrors: map[string][]string{"test/run": {host + "/mirror"}}, Output: platform.Output{Publish: true},
		}},
		{"a mirror where the image is gone", host + "/mirror@", platform.Options{
			RunImage: host + "/gone", RunImageMirrors: map[string][]string{host + "/gone": {host + "/gone-too", host + "/mirror"}}, Output: platform.Output{Store: true},
		}},
	} {
		o := tc.o
		if o.Image == "" {
			o.Image = name(t)
		}
		o.Source = app(t)
		res, r := y.build(t, o)
		if !strings.HasPrefix(res.RunImage, tc.want) {
			t.Errorf("%s: run image %s, want %s\n%s", tc.what, res.RunImage, tc.want, r)
		}
		meta := lifecycleLabel(t, y.find(t, o.Image))
		if meta.RunImage.Reference != res.RunImage || meta.RunImage.TopLayer == "" {
			t.Errorf("%s: the label says %+v", tc.what, meta.RunImage)
		}
	}
	o := platform.Options{Image: name(t), Source: app(t), RunImage: host + "/gone", RunImageMirrors: map[string][]string{host + "/gone": {host + "/gone-too"}}}
	if _, err := y.try(t, y.machine, o, &record{}); err == nil || !strings.Contains(err.Error(), "/gone") || !strings.Contains(err.Error(), "/gone-too") {
		t.Errorf("no run image: %v", err)
	}
}

// TestCompression builds one app in both forms, one after the other.
func TestCompression(t *testing.T) {
	t.Parallel()
	y := open(t)
	ref, err := image.ParseRef(registry(t, "") + "/run")
	if err != nil {
		t.Fatal(err)
	}
	run := mutate.ConfigMediaType(mutate.MediaType(y.find(t, y.oci("run")).Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if _, err := y.machine.Registry.Push(t.Context(), []image.Ref{ref}, run, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	o := platform.Options{
		Image: name(t), Source: app(t), RunImage: ref.String(), Buildpacks: y.fixtures("reuse", "layer-types"), Output: platform.Output{Store: true},
	}
	first, _ := y.build(t, o)
	gz, err := y.find(t, o.Image).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	o.Compression = layerstore.Zstd
	second, r := y.build(t, o)
	if missing := r.lacks("of-cache: restored with data"); len(missing) > 0 {
		t.Errorf("layers kept as gzip were not restored: %q\n%s", missing, r)
	}
	img := y.find(t, o.Image)
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for n, l := range m.Layers {
		if l.MediaType == types.OCILayerZStd {
			made++
		} else if n < len(gz.Layers) && l.Digest != gz.Layers[n].Digest {
			t.Errorf("layer %d is %+v, was %+v", n, l, gz.Layers[n])
		}
	}
	if made == 0 || second.Digest == first.Digest {
		t.Errorf("no layer is zstd: %+v", m.Layers)
	}
	checkBytes(t, img)
	o.Compression = layerstore.Gzip
	if third, _ := y.build(t, o); third.Layers != second.Layers {
		t.Errorf("gzip again: %d layers, were %d", third.Layers, second.Layers)
	}
	// The builder's own has a Docker manifest, which has no name for such layers.
	o.Compression, o.RunImage = layerstore.Zstd, ""
	if _, err := y.try(t, y.machine, o, &record{}); err == nil || !strings.Contains(err.Error(), "has a Docker manifest") {
		t.Errorf("zstd on a Docker manifest: %v", err)
	}
}

// TestPreviousAndCacheImage takes layers from another image and keeps the cache in a registry.
func TestPreviousAndCacheImage(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	o := platform.Options{
		Image: host + "/" + name(t) + ":1", Source: app(t), Output: platform.Output{Publish: true},
		Buildpacks: y.fixtures("reuse", "layer-types"), Cache: platform.Cache{Image: host + "/cache:app"},
	}
	first, _ := y.build(t, o)
	// Another machine, which has nothing but the registry.
	m, err := machine(t.TempDir(), y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	next := o
	next.Image, next.PreviousImage, next.Builder, next.RunImage = strings.TrimSuffix(o.Image, "1")+"2", o.Image, y.name, y.oci("run")
	_, r := y.buildOn(t, m, next)
	if missing := r.lacks("build number 2", "layer kept: reused", "of-cache: restored with data", "of-launch: restored without data"); len(missing) > 0 {
		t.Errorf("not there: %q\n%s", missing, r)
	}
	img := y.find(t, next.Image)
	checkBytes(t, img)
	if files := extract(t, img); files["layers/sample_reuse/kept/file"] != "content\n" {
		t.Error("the layer that was kept is not in the image")
	}
	if still := y.find(t, o.Image); still.ManifestDigest.String() != first.Digest {
		t.Error("the previous image was changed")
	}
	next.Cache.Clear = true
	next.PreviousImage = host + "/none"
	if _, r = y.buildOn(t, m, next); len(r.lacks("build number 1", "of-cache: not restored")) > 0 {
		t.Errorf("a cleared cache and no previous image:\n%s", r)
	}
	// The cache image is what the reference reads: a label, and a layer for each of its digests.
	ref, _ := image.ParseRef(o.Cache.Image)
	cache, err := m.Registry.Image(t.Context(), ref, v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Buildpacks []struct {
			Key    string
			Layers map[string]struct{ SHA string }
		}
	}
	if err := json.Unmarshal([]byte(cache.Label(cnb.LabelCacheMetadata)), &meta); err != nil || len(meta.Buildpacks) == 0 {
		t.Errorf("label of the cache image: %+v, %v", meta, err)
	}
	checkBytes(t, cache)
}

// TestPlaceAndOwner builds elsewhere, for another user, at another time, in another environment.
func TestPlaceAndOwner(t *testing.T) {
	t.Parallel()
	y := open(t)
	uid, gid := 4321, 4322
	volume := t.TempDir()
	write(t, volume, 0o644, "file", "of the volume\n")
	if err := os.Chmod(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	o := platform.Options{
		Image: name(t), Source: app(t), Workspace: "/srv/app", UID: &uid, GID: &gid, ExecEnv: "test", Created: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC),
		Volumes:    []platform.Volume{{Source: volume, Target: "/extra", ReadOnly: true}},
		Buildpacks: append(y.fixtures("two-processes"), script(t, "test/place", "pwd; id -u; id -g; echo env $CNB_EXEC_ENV; cat /extra/file; touch /extra/x 2>/dev/null && echo WRITTEN; stat -c '%u:%g %a' index.txt $CNB_LAYERS_DIR\n")),
	}
	_, r := y.build(t, o)
	if missing := r.lacks("/srv/app", "4321", "4322", "env test", "of the volume", "4321:4322 644"); len(missing) > 0 || strings.Contains(r.String(), "WRITTEN") {
		t.Errorf("not there: %q\n%s", missing, r)
	}
	if got := y.run(t, o.Image, container.Spec{}); got != "web: one two words in /srv/app\n" {
		t.Errorf("the app says %q", got)
	}
	img := y.find(t, o.Image)
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !cf.Created.Time.Equal(o.Created) || cf.Config.WorkingDir != "/srv/app" {
		t.Errorf("created %v, working directory %s", cf.Created, cf.Config.WorkingDir)
	}
}

// bundle is a CA certificate in PEM.
func bundle(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestTrust passes what the host trusts into builds, and nothing of it into images and caches: with another
// bundle and another proxy the image is the same.
func TestTrust(t *testing.T) {
	t.Parallel()
	y := open(t)
	o := platform.Options{
		Image: name(t), Source: app(t), Output: platform.Output{Store: true},
		Buildpacks: append(y.fixtures("layer-types"), script(t, "test/trust", `
for v in SSL_CERT_FILE NODE_EXTRA_CA_CERTS CURL_CA_BUNDLE REQUESTS_CA_BUNDLE PIP_CERT GIT_SSL_CAINFO CARGO_HTTP_CAINFO; do
	eval "f=\${$v-/dev/null}"
	[ "$(head -n 1 "$f")" = "-----BEGIN CERTIFICATE-----" ] && echo "$v is there" || echo "$v is not there"
done
cat /etc/ssl/certs/ca-certificates.crt
echo "proxy $HTTPS_PROXY"
`)),
	}
	var digests []string
	for i, proxy := range []string{"http://one.invalid:1", "http://two.invalid:2"} {
		o.Trust = platform.Trust{Bundle: bundle(t)}
		o.Proxy = []string{"HTTPS_PROXY=" + proxy}
		res, r := y.build(t, o)
		if missing := r.lacks("SSL_CERT_FILE is there", "NODE_EXTRA_CA_CERTS is there", "CURL_CA_BUNDLE is there", "GIT_SSL_CAINFO is there", "proxy "+proxy); len(missing) > 0 {
			t.Errorf("not there: %q\n%s", missing, r)
		}
		if !strings.Contains(r.String(), strings.Split(string(o.Trust.Bundle), "\n")[1]) {
			t.Errorf("the bundle of build %d is not in its container\n%s", i, r)
		}
		if i > 0 && res.Reused != res.Layers {
			t.Errorf("another bundle made layers anew: %d of %d reused", res.Reused, res.Layers)
		}
		digests = append(digests, res.Digest)
	}
	o.Trust, o.Proxy = platform.Trust{}, nil
	o.Env = map[string]string{"HTTPS_PROXY": ""} // the script wants to see one
	res, _ := y.build(t, o)
	if digests = append(digests, res.Digest); digests[0] != digests[1] || digests[1] != digests[2] {
		t.Errorf("digests %q, want one", digests)
	}
	img := y.find(t, o.Image)
	cf, _ := img.RawConfigFile()
	files := extract(t, img)
	for name, text := range files {
		if strings.Contains(text, "BEGIN CERTIFICATE") || strings.Contains(text, ".invalid") {
			t.Errorf("the image's %s holds the certificates or the proxy", name)
		}
	}
	if strings.Contains(string(cf), ".invalid") || strings.Contains(string(cf), "SSL_CERT") {
		t.Errorf("the image's config holds the proxy or the certificates: %s", cf)
	}
}

// TestReports looks at report.toml and at the SBOM directory of each output.
func TestReports(t *testing.T) {
	t.Parallel()
	y := open(t)
	for _, out := range []platform.Output{{}, {Store: true}, {OCI: filepath.Join(t.TempDir(), "out")}} {
		dir := t.TempDir()
		o := platform.Options{Image: name(t), Tags: []string{name(t) + ":tag"}, Source: app(t), Output: out, Buildpacks: y.fixtures("sbom"), SBOMDir: filepath.Join(dir, "a", "sbom"), ReportDir: filepath.Join(dir, "b")}
		res, _ := y.build(t, o)
		b, err := os.ReadFile(filepath.Join(dir, "b", "report.toml"))
		if err != nil {
			t.Fatal(err)
		}
		report := string(b)
		want := []string{o.Image, o.Tags[0], res.Digest}
		if res.Where == platform.WhereDocker {
			want[2] = res.ImageID
		}
		for _, w := range want {
			if !strings.Contains(report, w) {
				t.Errorf("%s: the report has no %s:\n%s", res.Where, w, report)
			}
		}
		for _, f := range []string{"launch/sample_sbom/sbom.cdx.json", "launch/sample_sbom/dep/sbom.cdx.json", "build/sample_sbom/sbom.cdx.json", "cache/sample_sbom/dep/sbom.cdx.json", "launch/sample_sbom/dep/sbom.spdx.json"} {
			if _, err := os.Stat(filepath.Join(o.SBOMDir, f)); err != nil {
				t.Errorf("%s: %v", res.Where, err)
			}
		}
	}
}
