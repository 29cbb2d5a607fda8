package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/client"
)

// TestDocker pushes and pulls with the Docker Engine, which is needed; it trusts registries of this machine.
func TestDocker(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	engine := must(client.New(client.FromEnv))(t)
	defer engine.Close()
	ctx := t.Context()
	one, two := s.host+"/alice/web:one", s.host+"/alice/worker/main:two"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		for _, ref := range []string{one, two} {
			_, _ = engine.ImageRemove(ctx, ref, client.ImageRemoveOptions{Force: true})
		}
	})
	img := image(t, 3)
	config := must(img.ConfigName())(t)
	for _, ref := range []string{one, two} {
		var tar bytes.Buffer
		if err := tarball.Write(must(name.NewTag(ref))(t), img, &tar); err != nil {
			t.Fatal(err)
		}
		loaded := must(engine.ImageLoad(ctx, &tar, client.ImageLoadWithQuiet(true)))(t)
		var said bytes.Buffer
		if _, err := said.ReadFrom(loaded); err != nil || loaded.Close() != nil {
			t.Fatal(err)
		}
		// The second shares its layers with the first, and the engine asks to mount them.
		if err := push(ctx, engine, ref, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if err := push(ctx, engine, one, "bob"); err == nil {
		t.Error("bob pushed to alice's repository")
	}
	for _, ref := range []string{one, two} {
		if _, err := engine.ImageRemove(ctx, ref, client.ImageRemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pull(ctx, engine, one, "bob"); err == nil {
		t.Error("bob pulled alice's image")
	}
	if err := pull(ctx, engine, one, "alice"); err != nil {
		t.Fatal(err)
	}
	got := must(engine.ImageInspect(ctx, one))(t)
	if d := must(s.Resolve(ctx, "alice/web", "one"))(t); got.ID != config.String() && got.ID != d {
		t.Errorf("pulled %s, want the config %s of the manifest %s", got.ID, config, d)
	}
	if tags, err := s.Tags(ctx, "alice/worker/main"); err != nil || strings.Join(tags, " ") != "two" {
		t.Errorf("tags %q, %v", tags, err)
	}
	for _, repo := range []string{"alice/web", "alice/worker/main"} {
		if has, err := s.Has(ctx, repo, config.String()); err != nil || has {
			t.Errorf("a config is a manifest in %s: %v, %v", repo, has, err)
		}
	}
}

func registryAuth(user string) string {
	text, err := json.Marshal(map[string]string{"username": user, "password": user + "-password"})
	if err != nil {
		panic(err)
	}
	return base64.URLEncoding.EncodeToString(text)
}

func push(ctx context.Context, engine *client.Client, ref, user string) error {
	resp, err := engine.ImagePush(ctx, ref, client.ImagePushOptions{RegistryAuth: registryAuth(user)})
	if err != nil {
		return err
	}
	return resp.Wait(ctx)
}

func pull(ctx context.Context, engine *client.Client, ref, user string) error {
	resp, err := engine.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: registryAuth(user)})
	if err != nil {
		return err
	}
	return resp.Wait(ctx)
}
