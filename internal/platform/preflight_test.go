package platform_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestPreflight: a build one of whose buildpacks is not to be had fails with its name and the reason before a layer of
// another is fetched and before a container is made; a registry that wants credentials gets those that there are.
func TestPreflight(t *testing.T) {
	t.Parallel()
	y := open(t)
	open, closed := registry(t, ""), registry(t, "secret")
	user := "Basic " + base64.StdEncoding.EncodeToString([]byte("robot:secret"))
	m, err := machine(t.TempDir(), y.tools(), image.RegistryOptions{Auth: map[string]string{closed: user}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	dir := script(t, "test/kept", "echo it was let in")
	write(t, dir, 0o644, "buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/kept\"\nversion = \"1.0.0\"\n")
	make := func(m *platform.Machine, name string) platform.Packaged {
		t.Helper()
		done, err := platform.PackageBuildpack(t.Context(), m, platform.PackageOptions{Name: name, Path: dir, Output: platform.Output{Publish: true}})
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	good := make(m, open+"/good:1")
	kept := make(m, closed+"/kept:1")
	source := t.TempDir()
	row := func(name, addr string) string {
		return fmt.Sprintf(`{"ns":"test","name":%q,"version":"1.0.0","yanked":false,"addr":%q}`+"\n", name, addr)
	}
	write(t, source, 0o644, "ke/pt/test_kept", row("kept", closed+"/kept@"+kept.Digest.String()))
	stranger, err := machine(t.TempDir(), y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Close() })
	for _, one := range []*platform.Machine{m, stranger} {
		write(t, one.State, 0o644, platform.IndexDir+"/registries.toml", "[[registries]]\nname = 'ours'\nurl = '"+source+"'\n")
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	first := "docker://" + open + "/good@" + good.Digest.String()
	for _, tt := range []struct{ arg, want string }{
		{"urn:cnb:registry:test/kept", "registry " + closed + " wants credentials: log in with `docker login " + closed + "`"},
		{"docker://" + closed + "/kept:1", "registry " + closed + " wants credentials"},
		{"docker://" + open + "/none:1", "has no such image"},
		{"urn:cnb:registry:test/none", "no buildpack test/none in index ours"},
		{"docker://127.0.0.1:1/x:1", "is not reachable: "},
		{"docker://" + silent.Addr().String() + "/x:1", "is not reachable: it took the connection and said nothing for 4s"},
	} {
		r := &record{}
		_, err := y.try(t, stranger, platform.Options{Image: name(t), Source: app(t), Builder: y.oci("builder"), Output: platform.Output{Store: true}, Buildpacks: []string{first, tt.arg}}, r)
		if err == nil || !strings.HasPrefix(err.Error(), "buildpack "+tt.arg+": ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", tt.arg, err, tt.want)
		}
	}
	img, err := (&image.Resolver{Registry: stranger.Registry}).Resolve(t.Context(), open+"/good:1")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil || stranger.Store.Has(manifest.Layers[0].Digest, -1) {
		t.Errorf("a layer of the first was fetched (%v)", err)
	}
	r := &record{}
	_, err = y.try(t, m, platform.Options{Image: name(t), Source: app(t), Builder: y.oci("builder"), RunImage: y.oci("run"), Output: platform.Output{Store: true}, Buildpacks: []string{"urn:cnb:registry:test/kept@1"}}, r)
	if err != nil || len(r.lacks("it was let in")) > 0 {
		t.Errorf("with credentials: %v\n%s", err, r)
	}
}
