package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	indexhealth "github.com/slipway-build/slipway/internal/health"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/registrar"
	"github.com/slipway-build/slipway/internal/store"
)

// newRegistrar keeps the index of a service of the tests.
func newRegistrar(ctx context.Context, st *store.Store, dir string, fault func(error)) (*registrar.Registrar, error) {
	repos, err := gitserver.OpenRepos(dir, "git")
	if err != nil {
		return nil, err
	}
	client, err := image.NewRegistry(image.RegistryOptions{})
	if err != nil {
		return nil, err
	}
	r := &registrar.Registrar{
		Store: st, Repos: repos, Elsewhere: func(string) string { return "" }, Fault: fault,
		Look: func(ctx context.Context, _ build.Actor, address string) (registrar.Package, error) {
			ref, err := image.ParseRef(address)
			if err != nil {
				return registrar.Package{}, err
			}
			return registrar.Inspect(ctx, client, ref)
		},
	}
	return r, r.Open(ctx)
}

// looked is what the service of the tests has found out about the images of an index.
func looked(context.Context) ([]*indexhealth.Report, error) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	gone := indexhealth.Target{Buildpack: "acme/java", Version: "1.0.0", Address: "r.test/acme/java@sha256:" + strings.Repeat("a", 64)}
	return []*indexhealth.Report{
		{Index: registrar.Name, Checked: at, Live: 3, Counts: map[indexhealth.State]int{indexhealth.OK: 1, indexhealth.Dead: 1}, Results: []indexhealth.Result{
			{Target: gone, State: indexhealth.Dead, Status: 404, Detail: "the registry answers 404 Not Found", Checked: at}, {State: indexhealth.OK, Checked: at},
		}},
		{Index: "official", Live: 9},
	}, nil
}

// startImages starts a registry that has some buildpackages, and tells the script of them.
func startImages(e *testscript.Env) error {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(&bytes.Buffer{}, "", 0))))
	e.Defer(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for variable, version := range map[string]string{"JAVA1": "1.0.0", "JAVA2": "2.0.0"} {
		c := &v1.ConfigFile{OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
		c.Config.Labels = map[string]string{
			"io.buildpacks.buildpackage.metadata": fmt.Sprintf(`{"id":"acme/java","version":%q}`, version),
			"io.buildpacks.buildpack.layers":      fmt.Sprintf(`{"acme/java":{%q:{"api":"0.10","layerDiffID":"sha256:x"}}}`, version),
		}
		img, err := mutate.ConfigFile(empty.Image, c)
		if err != nil {
			return err
		}
		ref, err := name.ParseReference(host + "/acme/java:" + version)
		if err != nil {
			return err
		}
		if err := remote.Write(ref, img); err != nil {
			return err
		}
		digest, err := img.Digest()
		if err != nil {
			return err
		}
		e.Setenv(variable, host+"/acme/java@"+digest.String())
	}
	return nil
}
