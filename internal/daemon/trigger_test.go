package daemon_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// push pushes a commit. Its git is told that it failed, or is not told the end.
func (k *killed) push() { k.pushScript("echo pushed\n") }

// pushDetached pushes and does not wait.
func (k *killed) pushDetached() { k.pushScript("echo detached\n", "-o", "detach") }

func (k *killed) pushScript(script string, options ...string) {
	k.app.commit("build.sh", script, "index.txt", name("text"))
	out, err := k.app.try(slices.Concat([]string{"push", "-f"}, options, []string{"slipway", "main"})...)
	if err == nil && !strings.Contains(out, "main -> main") {
		k.t.Errorf("git push: %s", out)
	}
}

// pushCommand pushes an app that has a release command.
func (k *killed) pushCommand() { k.pushScript(commandScript("echo released")) }

// commandScript is a build.sh whose image has a release command.
func commandScript(command string) string {
	return "trap 'printf \"[[processes]]\\ntype = \\\"release\\\"\\ncommand = [\\\"bash\\\", \\\"-c\\\", \\\"" + command + "\\\"]\\n\" >>\"$CNB_LAYERS_DIR/launch.toml\"' EXIT\n"
}

// build has a source built that is uploaded.
func (k *killed) build() { k.buildScript("echo built\n") }

// slowBuild builds for longer than it takes to tell of it.
func (k *killed) slowBuild() { k.buildScript("echo slow\nsleep 2\n") }

func (k *killed) buildScript(script string) {
	k.app.submitScript(script, true)
}

// submitScript uploads a source and has it built: the answer, if there was one.
func (a *app) submitScript(script string, mayDie bool) (b buildView) {
	a.t.Helper()
	dir := a.t.TempDir()
	if err := writeFiles(dir, map[string]string{"build.sh": script, "index.txt": name("text")}); err != nil {
		a.t.Fatal(err)
	}
	p := a.place()
	a.ask(a.t, "PUT", p.Put, a.archive(dir)).want(200)
	status, text, err := a.poke("POST", "/apps/"+a.name+"/builds", fmt.Sprintf(`{"source_blob":{"url":%q}}`, p.Get))
	if err != nil && mayDie {
		return b
	}
	reply{t: a.t, what: "POST builds", status: status, text: text}.want(201).into(&b)
	return b
}

// cancel cancels a build that runs.
func (k *killed) cancel() {
	b := k.app.submitScript("echo started\nsleep 1000\n", false)
	eventually(k.t, "the build runs", func() bool { return strings.Contains(k.app.logSoFar(b.Number), "started") })
	_, _, _ = k.app.poke("POST", fmt.Sprintf("/apps/%s/builds/%d/cancel", k.app.name, b.Number), "")
}

func (k *killed) rollback() {
	_, _, _ = k.app.poke("POST", "/apps/"+k.app.name+"/releases", fmt.Sprintf(`{"release":%q}`, k.app.made()[0].ID))
}

func (k *killed) wantRollback() {
	all := k.app.made()
	if last := all[len(all)-1]; !last.Current || last.Image != all[0].Image || k.app.tag("latest") != all[0].Image.ID {
		k.t.Errorf("the rollback: %+v of %+v, latest is %s", last, all[0], k.app.tag("latest"))
	}
}

func (k *killed) create() {
	k.name = name("made")
	_, _, _ = k.app.poke("POST", "/apps", fmt.Sprintf(`{"name":%q}`, k.name))
}

// wantApp: the app is there, or not, and all of it.
func (k *killed) wantApp() {
	if r := k.ask(k.t, "POST", "/apps", map[string]any{"name": k.name}); r.status != 422 && r.status != 409 {
		k.t.Errorf("an app was recorded and is not there: %d %s", r.status, r.text)
	}
	other := &app{server: k.server, tree: newTree(k.t), t: k.t, name: k.name}
	other.tree.git("remote", "add", "slipway", k.server.git(k.name))
	other.commit("build.sh", "echo new\n")
	other.push(true, []string{"slipway", "main"}, "Released v1")
	k.wantWhole(k.t, other)
}

func (k *killed) change() {
	k.name = k.newApp(k.t, nil).name
	_, _, _ = k.app.poke("PATCH", "/apps/"+k.name, `{"branch":"live"}`)
}

func (k *killed) wantChanged() {
	other := &app{server: k.server, t: k.t, name: k.name}
	if head, err := os.ReadFile(filepath.Join(other.repository(), "HEAD")); err != nil || string(head) != "ref: refs/heads/live\n" {
		k.t.Errorf("HEAD is %q (%v)", head, err)
	}
}

func (k *killed) remove() {
	other := k.newApp(k.t, nil)
	other.commit("build.sh", "echo to be deleted\n")
	other.push(true, []string{"slipway", "main"}, "Released v1")
	k.name, k.put = other.name, other.repository()
	_, _, _ = k.app.poke("DELETE", "/apps/"+k.name, "")
}

// wantRemoved: nothing of the app is there, and the next one of its name begins with nothing.
func (k *killed) wantRemoved() {
	k.ask(k.t, "GET", "/apps/"+k.name, nil).want(404)
	if exists(k.put) {
		k.t.Errorf("%s is still there", k.put)
	}
	k.ask(k.t, "POST", "/apps", map[string]any{"name": k.name}).want(201)
	if next := (&app{server: k.server, t: k.t, name: k.name}); next.tag("latest") != "" {
		k.t.Error("an app has the image of the one before of its name")
	}
}

func (k *killed) upload() {
	p := k.app.place()
	k.put, k.get = p.Put, p.Get
	_, _, _ = k.app.poke("PUT", p.Put, k.app.archive(k.app.dir))
}

// wantPlace: the upload was not acknowledged, and can be done again.
func (k *killed) wantPlace() {
	k.ask(k.t, "PUT", k.put, k.app.archive(k.app.dir)).want(200)
	var b buildView
	k.app.api("POST", "/builds", fmt.Sprintf(`{"source_blob":{"url":%q}}`, k.get)).want(201).into(&b)
	if b = k.app.ended(b.Number); b.State != "succeeded" {
		k.t.Errorf("the build %s: %+v", b.State, b.Failure)
	}
}

func (k *killed) tidy() { _ = k.process.Process.Signal(syscall.SIGUSR1) }

// poke asks a service that may die before it answers.
func (s *server) poke(method, path, body string) (status int, text string, err error) {
	if !strings.Contains(path, "://") {
		path = s.url + path
	}
	req, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return res.StatusCode, string(all), err
}

// A place is where a source can be put, and what a build calls it then.
type place struct {
	Put string `json:"put_url"`
	Get string `json:"get_url"`
}

func (a *app) place() place {
	a.t.Helper()
	var p struct {
		Blob place `json:"source_blob"`
	}
	a.api("POST", "/sources", nil).want(201).into(&p)
	return p.Blob
}

// archive is a directory as a source that can be put.
func (a *app) archive(dir string) string {
	a.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("tar", "-C", dir, "--exclude=.git", "-c", ".")
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		a.t.Fatal(err)
	}
	return out.String()
}

// logSoFar is what there is of a log.
func (a *app) logSoFar(number int) string {
	a.t.Helper()
	return a.api("GET", fmt.Sprintf("/builds/%d/log", number), nil).want(200).text
}
