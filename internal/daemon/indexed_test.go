package daemon_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/platform"
)

// basic is the Authorization of a token at a registry.
func basic(token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+token))
}

// packaged packages a buildpack that says hello, and pushes it to the service's own registry as somebody.
func (s *server) packaged(t testing.TB, token, ns, version string) string {
	t.Helper()
	dir := t.TempDir()
	if err := writeFiles(dir, map[string]string{
		"buildpack.toml": fmt.Sprintf("api = \"0.12\"\n[buildpack]\nid = %q\nversion = %q\ndescription = \"says hello\"\n[[targets]]\nos = \"linux\"\n", ns+"/hello", version),
		"bin/detect":     "#!/bin/sh\nexit 0\n",
		"bin/build":      "#!/bin/sh\necho \"hello of the index, " + version + "\"\nprintf '[[processes]]\\ntype = \"web\"\\ncommand = [\"cat\"]\\ndefault = true\\n' >\"$CNB_LAYERS_DIR/launch.toml\"\n",
	}); err != nil {
		t.Fatal(err)
	}
	settings := s.settings()
	settings.State, settings.Registry.Auth = t.TempDir(), map[string]string{s.address(): basic(token)}
	m := must(platform.Open(t.Context(), settings))(t)
	defer m.Close()
	name := s.address() + "/" + ns + "/hello"
	done, err := platform.PackageBuildpack(t.Context(), m, platform.PackageOptions{Name: name + ":" + version, Path: dir, Output: platform.Output{Publish: true}})
	if err != nil {
		t.Fatal(err)
	}
	return name + "@" + done.Digest.String()
}

// as is the service for another user.
func (s *server) as(t testing.TB, user string) *server {
	t.Helper()
	var made struct{ Token string }
	s.ask(t, "POST", "/users", map[string]any{"name": user}).want(201).into(&made)
	return &server{yard: s.yard, daemon: s.daemon, data: s.data, url: s.url, token: made.Token}
}

// TestIndex is a buildpack's way: a user has a namespace, pushes a package to the service's registry, registers it, and
// an app of somebody else is built with it; git, the registry API and the classic one tell of it without a token.
func TestIndex(t *testing.T) {
	t.Parallel()
	s := own(t, func(c *daemon.Config) { c.PullPolicy = "if-not-present" })
	ns := name("ns")
	bob := s.as(t, name("bob"))
	bob.ask(t, "PUT", "/registry/namespaces/"+ns, map[string]any{}).want(200)
	one, two := s.packaged(t, bob.token, ns, "1.0.0"), s.packaged(t, bob.token, ns, "1.1.0")
	for _, image := range []string{one, two} {
		bob.ask(t, "POST", "/registry/buildpacks", map[string]any{"image": image}).want(201)
	}
	a := s.newApp(t, map[string]any{"buildpacks": []string{"urn:cnb:registry:" + ns + "/hello@^1.0"}})
	a.commit("build.sh", "")
	a.push(true, []string{"slipway", "main"}, "hello of the index, 1.1.0", "Released v1")
	bob.ask(t, "PATCH", "/registry/buildpacks/"+ns+"/hello/1.1.0", map[string]any{"yanked": true, "reason": "too loud"}).want(200)
	a.commit("build.sh", "# again\n")
	a.push(true, []string{"slipway", "main"}, "hello of the index, 1.0.0", "Released v2")
	a.api("PATCH", "", map[string]any{"buildpacks": []string{ns + "/hello@1.1.0"}}).want(200)
	a.commit("build.sh", "# and again\n")
	a.push(true, []string{"slipway", "main"}, "is yanked in index own", "hello of the index, 1.1.0")

	c := &tree{t, filepath.Join(t.TempDir(), "index")}
	a.tree.git("clone", "-q", s.url+"/registry-index.git", c.dir)
	if text := string(must(os.ReadFile(filepath.Join(c.dir, "he/ll", ns+"_hello")))(t)); !strings.Contains(text, `"version":"1.1.0","yanked":true,"addr":"`+two) {
		t.Error(text)
	}
	if log := c.git("log", "-1", "--format=%s %b", "--", "he/ll/"+ns+"_hello"); !strings.Contains(log, "YANK "+ns+"/hello@1.1.0 too loud") {
		t.Error(log)
	}
	bare := &server{yard: s.yard, url: s.url, token: ""}
	if r := bare.ask(t, "GET", "/buildpacks/"+ns+"%2Fhello/revisions", nil).want(200); !strings.Contains(r.text, `"release":"1.1.0","status":"yanked"`) {
		t.Error(r.text)
	}
	if r := bare.ask(t, "GET", "/buildpacks?in[namespace][]="+ns, nil).want(200); !strings.Contains(r.text, `"description":"says hello"`) {
		t.Error(r.text)
	}
	// An app's repository in the service's registry is read by its own builds alone.
	app := s.address() + "/" + a.name + "@sha256:" + strings.Repeat("a", 64)
	if r := bob.ask(t, "POST", "/registry/buildpacks", map[string]any{"image": app}).want(422); !strings.Contains(r.text, "is an app's repository") {
		t.Error(r.text)
	}
	// SSH and HTTP serve one repository; who may not publish cannot push.
	reader := s.as(t, name("carl"))
	c.git("remote", "add", "theirs", "http://x:"+reader.token+"@"+s.address()+"/registry-index.git")
	c.commit("he/ll/"+ns+"_hello", string(must(os.ReadFile(filepath.Join(c.dir, "he/ll", ns+"_hello")))(t))+strings.ReplaceAll(entryOf(ns, "2.0.0", one), "\n", "")+"\n")
	c.push(false, []string{"theirs", "main"}, "the namespace "+ns+" is not yours")
}

// TestIndexLocked: pushes whose source has a slipway.lock are built with what it names, whatever is registered and yanked
// after it was made, until it is another one; one that does not admit what project.toml asks for is the app's fault.
func TestIndexLocked(t *testing.T) {
	t.Parallel()
	s := own(t, func(c *daemon.Config) { c.PullPolicy = "if-not-present" })
	ns := name("ns")
	s.ask(t, "PUT", "/registry/namespaces/"+ns, map[string]any{}).want(200)
	publish := func(version string) (image string) {
		image = s.packaged(t, s.token, ns, version)
		s.ask(t, "POST", "/registry/buildpacks", map[string]any{"image": image}).want(201)
		return image
	}
	asks := func(want string) string {
		return "[_]\nschema-version = \"0.2\"\n[[io.buildpacks.group]]\nuri = \"urn:cnb:registry:" + ns + "/hello@" + want + "\"\n"
	}
	lock := func(version, image string) string {
		return fmt.Sprintf("version = 1\n[[buildpack]]\nid = \"%s/hello\"\nwant = \"^1\"\nversion = %q\nimage = %q\nindex = \"own\"\n", ns, version, image)
	}
	one := publish("1.0.0")
	a := s.newApp(t, nil)
	a.commit("build.sh", "", "project.toml", asks("^1"), "slipway.lock", lock("1.0.0", one))
	a.push(true, []string{"slipway", "main"}, "hello of the index, 1.0.0", "Released v1")
	first := a.tag("latest")
	two := publish("1.1.0")
	s.ask(t, "PATCH", "/registry/buildpacks/"+ns+"/hello/1.0.0", map[string]any{"yanked": true, "reason": "too old"}).want(200)
	a.tree.git("commit", "-q", "--allow-empty", "-m", "the same again")
	a.push(true, []string{"slipway", "main"}, "hello of the index, 1.0.0", "Released v2")
	if again := a.tag("latest"); again != first {
		t.Errorf("with the lock the image was %s, and is %s", first, again)
	}
	a.commit("slipway.lock", lock("1.1.0", two))
	a.push(true, []string{"slipway", "main"}, "hello of the index, 1.1.0", "Released v3")
	a.commit("project.toml", asks("^2"))
	a.push(false, []string{"slipway", "main"}, "slipway.lock:")
	if b := a.last(); b.Failure == nil || b.Failure.Blame != "app" {
		t.Errorf("a lock that is stale: %+v", b)
	}
}

// TestIndexHealth: the service looks for the images of its own index and of the synced ones, and tells who has a token.
func TestIndexHealth(t *testing.T) {
	t.Parallel()
	s := own(t, func(c *daemon.Config) { c.PullPolicy = "if-not-present" })
	ns := name("ns")
	s.ask(t, "PUT", "/registry/namespaces/"+ns, map[string]any{}).want(200)
	var images []string
	for _, version := range []string{"1.0.0", "1.1.0"} {
		images = append(images, s.packaged(t, s.token, ns, version))
		s.ask(t, "POST", "/registry/buildpacks", map[string]any{"image": images[len(images)-1]}).want(201)
	}
	type report struct {
		Index         string
		Live, Checked int
		CheckedAt     *time.Time `json:"checked_at"`
		Counts        map[string]int
		Results       []struct{ Buildpack, Version, Address, State, Detail string }
	}
	last := func() (r report) {
		t.Helper()
		var all []report
		s.ask(t, "GET", "/registry/health", nil).want(200).into(&all)
		if len(all) == 0 || all[0].Index != "own" {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	if r := last(); r.Live != 2 || r.Checked != 0 || r.CheckedAt != nil {
		t.Errorf("before it has looked: %+v", r)
	}
	look := func(older time.Duration) {
		t.Helper()
		if err := s.daemon.CheckHealth(t.Context(), older); err != nil {
			t.Fatal(err)
		}
	}
	look(time.Hour)
	if r := last(); r.Checked != 2 || r.Counts["ok"] != 2 || len(r.Results) != 0 || r.CheckedAt == nil {
		t.Errorf("all is well: %+v", r)
	}
	_, digest, _ := strings.Cut(images[0], "@")
	s.ask(t, "DELETE", "/v2/"+ns+"/hello/manifests/"+digest, nil, "Authorization: "+basic(s.token)).want(202)
	look(time.Hour)
	if r := last(); r.Counts["ok"] != 2 {
		t.Errorf("it was looked at just now: %+v", r)
	}
	look(0)
	if r := last(); r.Counts["ok"] != 1 || r.Counts["dead"] != 1 || len(r.Results) != 1 || r.Results[0].Version != "1.0.0" || r.Results[0].Address != images[0] || !strings.Contains(r.Results[0].Detail, "404") {
		t.Errorf("one is gone: %+v", r)
	}
	(&server{yard: s.yard, url: s.url, token: ""}).ask(t, "GET", "/registry/health", nil).want(401)
}

// entryOf is a line of the index.
func entryOf(ns, version, image string) string {
	b, err := json.Marshal(struct {
		NS      string `json:"ns"`
		Name    string `json:"name"`
		Version string `json:"version"`
		Yanked  bool   `json:"yanked"`
		Addr    string `json:"addr"`
	}{ns, "hello", version, false, image})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// registers has the service die while a buildpack is registered.
func (k *killed) registers() {
	k.name = name("ns")
	k.ask(k.t, "PUT", "/registry/namespaces/"+k.name, map[string]any{}).want(200)
	k.put = k.packaged(k.t, k.token, k.name, "1.0.0")
	_, _, _ = k.app.poke("POST", "/registry/buildpacks", fmt.Sprintf(`{"image":%q}`, k.put))
}

// pushes has it die while a push to the index is decided about.
func (k *killed) pushes() {
	k.name = name("ns")
	k.ask(k.t, "PUT", "/registry/namespaces/"+k.name, map[string]any{}).want(200)
	k.put = k.packaged(k.t, k.token, k.name, "1.0.0")
	c := k.indexClone()
	c.commit("he/ll/"+k.name+"_hello", entryOf(k.name, "1.0.0", k.put)+"\n")
	c.push(false, []string{"origin", "main"})
}

func (k *killed) indexClone() *tree {
	c := &tree{k.t, filepath.Join(k.t.TempDir(), "index")}
	k.app.tree.git("clone", "-q", k.server.git("registry-index"), c.dir)
	return c
}

// wantRegistered: the index is whole, and takes what was or was not registered, once.
func (k *killed) wantRegistered() {
	address := k.put[strings.Index(k.put, "@"):]
	r := k.ask(k.t, "POST", "/registry/buildpacks", map[string]any{"image": k.address() + "/" + k.name + "/hello" + address})
	if r.status != 200 && r.status != 201 && r.status != 409 { // another port is another address
		k.t.Errorf("registered again: %d %s", r.status, r.text)
	}
	c := k.indexClone()
	c.git("fsck", "--strict")
	if text := string(must(os.ReadFile(filepath.Join(c.dir, "he/ll", k.name+"_hello")))(k.t)); strings.Count(text, "\n") != 1 {
		k.t.Error(text)
	}
}
