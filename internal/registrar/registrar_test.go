package registrar_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/registrar"
)

// TestRegister: what is registered can be cloned and resolved, stands in a commit of its own, and stays what it is.
func TestRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := w.pack("acme/java", "1.0.0")
	done := must(w.Register(t.Context(), w.alice.Actor, one, "the first\none"))(t)
	if !done.Changed || done.Buildpack != "acme/java" || done.Version != "1.0.0" || done.Address != one || done.Yanked {
		t.Errorf("%+v", done)
	}
	two := w.registers(w.alice, w.pack("acme/java", "2.0.0"))
	again := w.registers(w.alice, one)
	if again.Changed || again.Commit != two.Commit || again.Address != one {
		t.Errorf("the same once more: %+v, the last commit is %s", again, two.Commit)
	}
	c := w.clone(w.bob)
	if c.read("ja/va/acme_java") != entry("acme/java", "1.0.0", one)+"\n"+entry("acme/java", "2.0.0", two.Address)+"\n" {
		t.Error(c.read("ja/va/acme_java"))
	}
	if log := c.run("log", "--format=%an|%s|%b", "--reverse"); !strings.Contains(log, "alice|ADD acme/java@1.0.0|the first one") || !strings.HasSuffix(log, "alice|ADD acme/java@2.0.0|") {
		t.Error(log)
	}
	c.run("fsck", "--strict")
	b, ok, err := w.Index().Get(index.Name{NS: "acme", Name: "java"})
	if !ok || err != nil || len(b.Versions) != 2 || w.Index().Revision != two.Commit {
		t.Error(b, ok, err)
	}
	images := must(w.Store.BuildpackImages(t.Context(), "acme/java"))(t)
	if f := images[0].Facts; len(images) != 2 || f.Description != "Builds [31m things" || f.Homepage != "https://acme.test/java" || f.API != "0.10" || f.Targets[0].Distros[0].Version != "12" || f.Platforms[0] != "linux/amd64" {
		t.Errorf("%+v", images)
	}
	// Another start reads the same.
	next := &registrar.Registrar{Store: w.Store, Repos: w.Repos, Fault: w.Fault}
	if err := next.Open(t.Context()); err != nil || next.Index().Revision != two.Commit || next.Index().Versions != 2 {
		t.Errorf("%v %+v", err, next.Index().Head)
	}
}

// TestRegisterRefuses: each refusal is one line, and leaves the index as it was.
func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.pack("acme/java", "1.0.0")
	w.registers(w.alice, good)
	before := w.Index().Revision
	changed := func(f func(labels map[string]string, c *v1.ConfigFile)) string {
		return w.put(labelled("acme/java", "3.0.0", f))
	}
	reader := w.with(w.alice.User, []build.Verb{build.VerbRead, build.VerbManage}, "")
	oneApp := w.with(w.alice.User, build.Verbs(), build.NewID())
	for _, tc := range []struct {
		by    who
		image string
		is    error
		want  string
	}{
		{w.alice, w.host + "/acme/pack:latest", nil, "by their digest alone"},
		{w.alice, w.host + "/acme/pack@sha256:abc", nil, "after '@' stands"},
		{w.alice, "oci:/etc", nil, "by their digest alone"},
		{w.alice, "-x", nil, "begins with '-'"},
		{w.alice, w.host + "/acme/pack@sha256:" + strings.Repeat("a", 64), nil, "read image"},
		{w.alice, w.host + "/acme/none" + good[strings.Index(good, "@"):], nil, "read image"},
		{w.alice, "127.0.0.1:1/a/b@sha256:" + strings.Repeat("a", 64), nil, "read image"},
		{w.alice, changed(func(l map[string]string, c *v1.ConfigFile) { clear(l) }), nil, "it is no buildpackage"},
		{w.alice, changed(func(l map[string]string, c *v1.ConfigFile) { l["io.buildpacks.buildpackage.metadata"] = "{" }), nil, "its label io.buildpacks.buildpackage.metadata"},
		{w.alice, changed(func(l map[string]string, c *v1.ConfigFile) { l["io.buildpacks.buildpack.layers"] = "{}" }), nil, "which is not in it"},
		{w.alice, changed(func(l map[string]string, c *v1.ConfigFile) { c.OS = "windows" }), nil, "builds run on linux"},
		{w.alice, w.pack("Acme/java", "1.0.0"), nil, "only lower case"},
		{w.alice, w.pack("acme/..java", "1.0.0"), nil, "two dots"},
		{w.alice, w.pack("acme", "1.0.0"), nil, "want NAMESPACE/NAME"},
		{w.alice, w.pack("acme/java", "1.0"), nil, "is no semantic version"},
		{w.alice, w.put(labelled("acme/java", "1.0.0", func(l map[string]string, c *v1.ConfigFile) { c.Author = "another" })), build.ErrConflict, "is there already as " + good},
		{w.bob, w.pack("acme/go", "1.0.0"), build.ErrForbidden, "the namespace acme is not yours"},
		{w.bob, w.pack("public/go", "1.0.0"), build.ErrForbidden, "that of buildpacks in the index official"},
		{reader, w.pack("acme/go", "1.0.0"), build.ErrForbidden, "a token for all apps with the scope deploy"},
		{oneApp, w.pack("acme/go", "1.0.0"), build.ErrForbidden, "a token for all apps with the scope deploy"},
	} {
		_, err := w.Register(t.Context(), tc.by.Actor, tc.image, "")
		_, bad := errors.AsType[*build.InvalidError](err)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") || tc.is != nil && !errors.Is(err, tc.is) || bad != (tc.is == nil) {
			t.Errorf("%s: %v, want %q", tc.image, err, tc.want)
		}
	}
	if w.Index().Revision != before {
		t.Error("a refusal has changed the index")
	}
	if all := must(w.Store.Namespaces(t.Context()))(t); len(all) != 1 {
		t.Errorf("a refusal has given a namespace: %v", all)
	}
	w.registers(w.root, w.pack("public/go", "1.0.0")) // administrators may
}

// TestPlatforms: an index of images counts when all of them are of one buildpack.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for want, ids := range map[string][2]string{"": {"acme/java", "acme/java"}, "for linux/amd64 it is buildpack acme/java@1.0.0, and for linux/arm64 acme/go@1.0.0": {"acme/java", "acme/go"}} {
		var all v1.ImageIndex = empty.Index
		for i, arch := range []string{"amd64", "arm64"} {
			img := labelled(ids[i], "1.0.0", func(_ map[string]string, c *v1.ConfigFile) { c.Architecture = arch })
			all = mutate.AppendManifests(all, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		}
		if err := remote.WriteIndex(must(name.ParseReference(w.host+"/acme/pack:all"))(t), all); err != nil {
			t.Fatal(err)
		}
		_, err := w.Register(t.Context(), w.alice.Actor, w.host+"/acme/pack@"+must(all.Digest())(t).String(), "")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if f := must(w.Store.BuildpackImages(t.Context(), "acme/java"))(t)[0].Facts; strings.Join(f.Platforms, " ") != "linux/amd64 linux/arm64" {
		t.Errorf("%+v", f)
	}
}

// TestYank: it needs the owner, and what is yanked is found by its exact version alone.
func TestYank(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := index.Name{NS: "acme", Name: "java"}
	w.registers(w.alice, w.pack("acme/java", "1.0.0"))
	two := w.registers(w.alice, w.pack("acme/java", "2.0.0"))
	if _, err := w.Yank(t.Context(), w.bob.Actor, n, "2.0.0", true, ""); !errors.Is(err, build.ErrForbidden) {
		t.Error(err)
	}
	for _, gone := range []struct {
		n       index.Name
		version string
	}{{n, "9.9.9"}, {index.Name{NS: "acme", Name: "none"}, "1.0.0"}} {
		if _, err := w.Yank(t.Context(), w.alice.Actor, gone.n, gone.version, true, ""); !errors.Is(err, build.ErrNotFound) {
			t.Error(err)
		}
	}
	done := must(w.Yank(t.Context(), w.alice.Actor, n, "2.0.0", true, "it loses data"))(t)
	if !done.Changed || !done.Yanked || done.Address != two.Address {
		t.Errorf("%+v", done)
	}
	if again := must(w.Yank(t.Context(), w.alice.Actor, n, "2.0.0", true, ""))(t); again.Changed || again.Commit != done.Commit {
		t.Errorf("%+v", again)
	}
	if again := w.registers(w.alice, two.Address); again.Changed || !again.Yanked {
		t.Errorf("registering has taken a yank back: %+v", again)
	}
	set := must(index.OpenSet(t.TempDir()))(t)
	set.Keep(registrar.Name, func() (*index.Index, error) { return w.Index(), nil })
	if r := must(set.Find(t.Context(), "urn:cnb:registry:acme/java", ""))(t); r.Version != "1.0.0" || r.Index != "own" {
		t.Errorf("%+v", r)
	}
	if r := must(set.Find(t.Context(), "urn:cnb:registry:acme/java@2.0.0", ""))(t); !r.Yanked {
		t.Errorf("%+v", r)
	}
	must(w.Yank(t.Context(), w.root.Actor, n, "2.0.0", false, ""))(t)
	if r := must(set.Find(t.Context(), "acme/java", ""))(t); r.Version != "2.0.0" {
		t.Errorf("%+v", r)
	}
	if log := w.clone(w.bob).run("log", "--format=%an %s %b", "-2"); !strings.Contains(log, "root UNYANK acme/java@2.0.0") || !strings.Contains(log, "alice YANK acme/java@2.0.0 it loses data") {
		t.Error(log)
	}
}

// TestNamespaces: whose they are, and who may hand them on.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tc := range []struct {
		by   who
		ns   string
		to   who
		want error
	}{
		{w.alice, "acme", w.bob, build.ErrForbidden}, // which is nobody's
		{w.alice, "acme", w.alice, nil},
		{w.bob, "acme", w.bob, build.ErrForbidden},
		{w.alice, "public", w.alice, build.ErrForbidden},
		{w.root, "public", w.alice, nil},
		{w.alice, "acme", w.bob, nil},
		{w.alice, "acme", w.alice, build.ErrForbidden},
	} {
		if n, err := w.Give(t.Context(), tc.by.Actor, tc.ns, tc.to.User); !errors.Is(err, tc.want) || err == nil && n.Owner != tc.to.User.ID {
			t.Errorf("%s gives %s to %s: %+v %v", tc.by.User.Name, tc.ns, tc.to.User.Name, n, err)
		}
	}
	if _, err := w.Give(t.Context(), w.root.Actor, "../x", w.bob.User); err == nil {
		t.Error("a namespace that is no name")
	}
	w.registers(w.bob, w.pack("acme/java", "1.0.0"))
	w.registers(w.alice, w.pack("public/java", "1.0.0"))
	closed := newWorld(t, func(r *registrar.Registrar) { r.AdminsOnly = true })
	if _, err := closed.Register(t.Context(), closed.alice.Actor, closed.pack("acme/java", "1.0.0"), ""); !errors.Is(err, build.ErrForbidden) || !strings.Contains(err.Error(), "an administrator gives namespaces") {
		t.Error(err)
	}
}

// TestManyAtOnce: registrations and pushes at once are all kept.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 12
	var images [n]string
	for i := range n {
		images[i] = w.pack("acme/java", fmt.Sprintf("1.%d.0", i))
	}
	pushed := w.pack("bob/go", "1.0.0")
	var all sync.WaitGroup
	for _, image := range images {
		all.Go(func() {
			if _, err := w.Register(context.Background(), w.alice.Actor, image, ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() {
		for {
			c := w.clone(w.bob)
			c.append("2/bob_go", entry("bob/go", "1.0.0", pushed))
			out, err := c.git(c.dir, "push", "origin", "main")
			if err == nil {
				return
			}
			if !strings.Contains(out, "fetch first") && !strings.Contains(out, "failed to update ref") && !strings.Contains(out, "cannot lock ref") {
				t.Error(out)
				return
			}
		}
	})
	all.Wait()
	if x := w.Index(); x.Versions != n+1 {
		t.Errorf("%d versions", x.Versions)
	}
	c := w.clone(w.bob)
	if got := strings.Count(c.read("ja/va/acme_java"), "\n"); got != n {
		t.Errorf("%d lines", got)
	}
	if got := c.run("rev-list", "--count", "HEAD"); got != fmt.Sprint(n+2) {
		t.Errorf("%s commits", got)
	}
}
