package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/registrar"
)

// withIndex gives a house an index, and a registry to register images of; pack puts one there.
func withIndex(t *testing.T, change ...func(*Options)) (h *house, pack func(id, version string) string) {
	t.Helper()
	images := httptest.NewServer(registry.New(registry.Logger(log.New(&bytes.Buffer{}, "", 0))))
	t.Cleanup(images.Close)
	host := strings.TrimPrefix(images.URL, "http://")
	client := must(image.NewRegistry(image.RegistryOptions{}))(t)
	h = newHouse(t, append(change, func(o *Options) {
		o.Registrar = &registrar.Registrar{
			Store: o.Store, Repos: must(gitserver.OpenRepos(filepath.Join(t.TempDir(), "git"), "git"))(t),
			Elsewhere: func(string) string { return "" }, Fault: func(err error) { t.Error(err) },
			Look: func(ctx context.Context, _ build.Actor, address string) (registrar.Package, error) {
				return registrar.Inspect(ctx, client, must(image.ParseRef(address))(t))
			},
		}
		if err := o.Registrar.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	})...)
	return h, func(id, version string) string {
		c := &v1.ConfigFile{OS: "linux", Architecture: "arm64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
		c.Config.Labels = map[string]string{
			"io.buildpacks.buildpackage.metadata": fmt.Sprintf(`{"id":%q,"version":%q,"description":"compiles %s","homepage":"https://acme.test/","keywords":["jvm"],"licenses":[{"type":"MIT"}],"stacks":[{"id":"io.stack"}]}`, id, version, id),
			"io.buildpacks.buildpack.layers":      fmt.Sprintf(`{%q:{%q:{"api":"0.12","layerDiffID":"sha256:x","targets":[{"os":"linux","arch":"arm64"}]}}}`, id, version),
		}
		img := must(mutate.ConfigFile(empty.Image, c))(t)
		if err := remote.Write(must(name.ParseReference(host+"/acme/x:latest"))(t), img); err != nil {
			t.Fatal(err)
		}
		return host + "/acme/x@" + must(img.Digest())(t).String()
	}
}

func (h *house) register(token, image string) reply {
	h.t.Helper()
	return h.do("POST", "/registry/buildpacks", token, fmt.Sprintf(`{"image":%q,"reason":"because"}`, image))
}

// TestRegistryAPI: what is registered is found as the public registry's clients ask, without a token.
func TestRegistryAPI(t *testing.T) {
	h, pack := withIndex(t)
	one := pack("acme/java", "1.2.3")
	h.register(h.alice, one).want(201).is("buildpack", "acme/java", "version", "1.2.3", "image", one, "changed", true, "yanked", false)
	h.register(h.alice, one).want(200).is("changed", false)
	h.register(h.alice, pack("acme/java", "2.0.0-rc.1")).want(201)
	h.register(h.alice, pack("acme/go", "3.0.0")).want(201)
	row := h.do("GET", "/api/v1/buildpacks/acme/java/1.2.3", "", "").want(200).is("namespace", "acme", "name", "java", "version", "1.2.3", "addr", one, "yanked", false,
		"description", "compiles acme/java", "homepage", "https://acme.test/", "licenses", "[MIT]", "stacks", "[io.stack]", "keywords", "[jvm]", "platforms", "[linux/arm64]", "api", "0.12",
		"version_major", "1", "version_minor", "2", "version_patch", "3")
	if _, err := build.ParseID(row.str("id")); err != nil || row.str("created_at") == "" || !strings.Contains(row.text, `"targets":[{"os":"linux","arch":"arm64"`) {
		t.Error(row.text)
	}
	both := h.do("GET", "/api/v1/buildpacks/acme/java", "", "").want(200).is("latest.version", "1.2.3")
	if !strings.Contains(both.text, `{"version":"2.0.0-rc.1","yanked":false,"_link":"`+h.url+`/api/v1/buildpacks/acme/java/2.0.0-rc.1"}`) {
		t.Error(both.text)
	}
	type found []struct {
		Latest struct{ Namespace, Name, Version string }
	}
	for text, want := range map[string]string{"java": "acme/java", "acme": "acme/go acme/java", "compiles+java": "acme/java", "jvm": "acme/go acme/java", "JAVA": "acme/java", "nothing": "", "&language=go": "acme/go", "&target=linux/arm64": "acme/go acme/java", "java&target=linux/amd64": ""} {
		var all found
		h.do("GET", "/api/v1/search?matches="+text, "", "").want(200).into(&all)
		var names []string
		for _, b := range all {
			names = append(names, b.Latest.Namespace+"/"+b.Latest.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s finds %s, want %s", text, got, want)
		}
	}
	page := h.do("GET", "/api/v1/search?matches=acme&per_page=1&page=2", "", "").want(200)
	if page.header.Get("Total-Count") != "2" || page.header.Get("Link") != "" || !strings.Contains(page.text, "acme/java") {
		t.Error(page.header, page.text)
	}
	if first := h.do("GET", "/api/v1/search?matches=acme&per_page=1", "", "").want(200); first.header.Get("Link") != "<"+h.url+"/api/v1/search?matches=acme&page=2&per_page=1>; rel=\"next\"" {
		t.Error(first.header.Get("Link"))
	}
	for path, want := range map[string]string{
		"/api/v1/search": "Missing search string 'matches'", "/api/v1/search?matches=": "Missing search string 'matches'", "/api/v1/search?matches=x&page=0": "page: want a number",
		"/api/v1/buildpacks/acme/none": "Unknown buildpack", "/api/v1/buildpacks/acme/..": "", "/api/v1/buildpacks/acme/java/9.9.9": "Unknown buildpack", "/api/v1/buildpacks/a%2Fb/c": "Unknown buildpack",
	} {
		got := h.do("GET", path, "", "")
		var e struct{ Error string }
		if err := json.Unmarshal([]byte(got.text), &e); err != nil || got.status < 400 || got.status >= 500 || !strings.HasPrefix(e.Error, want) {
			t.Errorf("%s: %d %s", path, got.status, got.text)
		}
	}
	h.do("PATCH", "/registry/buildpacks/acme/java/1.2.3", h.bob, `{"yanked":true}`).refused(403, "forbidden", "the namespace acme is not yours")
	h.do("PATCH", "/registry/buildpacks/acme/java/1.2.3", h.alice, `{}`).refused(422, "invalid_params", "say whether")
	h.do("PATCH", "/registry/buildpacks/acme/java/1.2.3", h.alice, `{"yanked":true,"reason":"it loses data"}`).want(200).is("yanked", true, "changed", true)
	h.do("GET", "/api/v1/buildpacks/acme/java", "", "").want(200).is("latest.version", "2.0.0-rc.1")
	h.do("GET", "/api/v1/buildpacks/acme/java/1.2.3", "", "").want(200).is("yanked", true)
	h.register(h.alice, "").refused(422, "invalid_params", "say which")
	h.register(h.bob, pack("acme/ruby", "1.0.0")).refused(403, "forbidden", "the namespace acme is not yours")
	h.do("PUT", "/registry/namespaces/acme", h.alice, `{"owner":"bob"}`).want(200).is("name", "acme", "owner.email", "bob")
	h.register(h.bob, pack("acme/ruby", "1.0.0")).want(201)
	if got := h.do("GET", "/registry/namespaces", h.alice, "").want(200); !strings.Contains(got.text, `"name":"acme"`) {
		t.Error(got.text)
	}
	h.do("POST", "/apps", h.alice, `{"name":"registry-index"}`).refused(422, "invalid_params", "the service's own index")
}

// TestPrivateIndex: a token reads it, nobody else.
func TestPrivateIndex(t *testing.T) {
	h, pack := withIndex(t, func(o *Options) { o.PrivateIndex = true })
	h.register(h.alice, pack("acme/java", "1.2.3")).want(201)
	for _, path := range []string{"/api/v1/search?matches=java", "/api/v1/buildpacks/acme/java", "/api/v1/buildpacks/acme/java/1.2.3"} {
		if got := h.do("GET", path, "", "").want(401); !strings.Contains(got.text, `"error":`) {
			t.Error(got.text)
		}
		h.do("GET", path, h.bob, "").want(200)
	}
}
