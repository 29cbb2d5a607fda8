package image_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/registry"
)

// TestPushByDigest pushes as a worker to the service's own registry, which lets workers move no tag; the service does.
func TestPushByDigest(t *testing.T) {
	r, err := registry.Open(t.Context(), registry.Options{Dir: t.TempDir(), Authorize: func(_ context.Context, a registry.Access) error {
		switch {
		case a.Token != "worker" && a.Token != "owner":
			return registry.ErrUnauthenticated
		case a.Token == "worker" && a.Tag != "":
			return registry.ErrDenied
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	g := client(t, image.RegistryOptions{Env: []string{`CNB_REGISTRY_AUTH={"` + host + `": "Bearer worker"}`}})
	s := store(t)
	app := compose(t, nil, "app", layer(t, s.Store(), "app", unique(1<<20)))
	digestOf, _ := digests(t, app)
	refs := []image.Ref{ref(t, host+"/apps/web:v1"), ref(t, host+"/apps/web:latest"), ref(t, host+"/apps/other")}
	if _, err := g.Push(t.Context(), refs, app, image.PushOptions{}); err == nil {
		t.Error("a worker moved a tag")
	}
	w, err := g.Push(t.Context(), refs, app, image.PushOptions{ByDigest: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{host + "/apps/web@" + digestOf.String(), host + "/apps/other@" + digestOf.String()}
	if !slices.Equal(w.Names, want) || w.Digest != digestOf {
		t.Errorf("written %+v, want the names %q", w, want)
	}
	for _, repo := range []string{"apps/web", "apps/other"} {
		if tags, err := r.Tags(t.Context(), repo); err != nil || len(tags) > 0 {
			t.Errorf("tags of %s: %q, %v", repo, tags, err)
		}
	}
	if _, err := g.Image(t.Context(), refs[0], v1.Platform{}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("before it is tagged: %v", err)
	}
	if err := r.Tag(t.Context(), "apps/web", "v1", digestOf.String()); err != nil {
		t.Fatal(err)
	}
	got, err := g.Image(t.Context(), refs[0], v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	sameImage(t, got, app)
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	if err := g.Tag(t.Context(), ref(t, host+"/apps/web:v2"), digestOf.String()); err == nil {
		t.Error("a worker moved a tag")
	}
	owner := client(t, image.RegistryOptions{Env: []string{`CNB_REGISTRY_AUTH={"` + host + `": "Bearer owner"}`}})
	for range 2 {
		if err := owner.Tag(t.Context(), ref(t, host+"/apps/web:v2"), digestOf.String()); err != nil {
			t.Error(err)
		}
	}
	if at, err := r.Resolve(t.Context(), "apps/web", "v2"); err != nil || at != digestOf.String() {
		t.Errorf("v2 is %q, %v", at, err)
	}
	if err := owner.Tag(t.Context(), ref(t, host+"/apps/web:v3"), "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("a manifest that is not there: %v", err)
	}
}
