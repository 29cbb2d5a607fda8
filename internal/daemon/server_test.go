package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
)

// A server is a running service, and the administrator's token for it.
type server struct {
	*yard
	daemon *daemon.Daemon
	data   string
	url    string
	token  string // "" where an earlier start printed it

	end   context.CancelFunc
	over  chan struct{}
	ended error

	mu     sync.Mutex
	faults []error
}

// host is what a service gets from its process here.
func (y *yard) host(fault func(error)) daemon.Host {
	return daemon.Host{Settings: y.settings(), CAFile: y.ca(), Version: "0.0.0-test", Getenv: func(string) string { return "" }, Fault: fault}
}

// config is that of the tests: on free ports, several builds at once, low limits.
func config(data string, change func(*daemon.Config)) daemon.Config {
	c := daemon.Default(data)
	c.Listen, c.SSH, c.Ops, c.Builder, c.Runtime, c.PullPolicy = "127.0.0.1:0", "127.0.0.1:0", "", builderName, runtime(), "never"
	c.Fetch = daemon.FetchConfig{Allow: []string{"127.0.0.1"}, HTTP: true}
	c.Rates.Token, c.Rates.Address = 0, 0 // tests ask all the time, with one token
	c.Worker = daemon.Worker{Slots: 3, Drain: daemon.Duration(time.Minute)}
	if change != nil {
		change(&c)
	}
	return c
}

func (y *yard) start(data string, change func(*daemon.Config)) (*server, error) {
	ctx, end := context.WithCancel(context.Background())
	s := &server{yard: y, data: data, end: end, over: make(chan struct{})}
	var err error
	if s.daemon, err = daemon.Open(ctx, config(data, change), y.host(s.fault)); err != nil {
		end()
		return nil, err
	}
	if s.token, err = s.daemon.First(ctx); err == nil && raced {
		hook := filepath.Join(data, "git", "run", "hooks", "pre-receive")
		err = errors.Join(os.Remove(hook), os.WriteFile(hook, []byte("#!"+y.binary+"\n"), 0o700))
	}
	if err != nil {
		end()
		return nil, errors.Join(err, s.daemon.Close())
	}
	s.url = s.daemon.URL()
	go func() {
		defer close(s.over)
		s.ended = errors.Join(s.daemon.Run(ctx), s.daemon.Close())
	}()
	return s, nil
}

// stop stops the service gently and returns when nothing of it runs.
func (s *server) stop() error {
	s.end()
	<-s.over
	return s.ended
}

func (s *server) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, err)
}

// faulty is what went wrong on the service's side.
func (s *server) faulty() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.faults...); err != nil {
		return fmt.Errorf("faults of the service: %w", err)
	}
	return nil
}

// host is where the service listens, which is also its registry's name.
func (s *server) address() string { return strings.TrimPrefix(s.url, "http://") }

// git is the URL of an app's repository with the token in it, as people write it.
func (s *server) git(app string) string {
	return "http://x:" + s.token + "@" + s.address() + "/" + app + ".git"
}

// A reply is an answered request.
type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	text   string
}

// ask asks the API with the administrator's token; body is a value for JSON, a text that is sent as it is, or nil.
func (s *server) ask(t testing.TB, method, path string, body any, headers ...string) reply {
	t.Helper()
	text, raw := body.(string)
	if body != nil && !raw {
		text = string(must(json.Marshal(body))(t))
	}
	if !strings.Contains(path, "://") {
		path = s.url + path
	}
	req := must(http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(text)))(t)
	req.Header.Set("Authorization", "Bearer "+s.token)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	res := must(http.DefaultClient.Do(req))(t)
	defer res.Body.Close()
	all := must(io.ReadAll(res.Body))(t)
	return reply{t, method + " " + path, res.StatusCode, res.Header, string(all)}
}

func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d, want %d: %.2000s", r.what, r.status, status, r.text)
	}
	return r
}

func (r reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.text), v); err != nil {
		r.t.Fatalf("%s: %v: %.2000s", r.what, err, r.text)
	}
}

// A buildView is what these tests look at of a build.
type buildView struct {
	ID     string
	Number int
	State  string
	Source struct {
		Commit, URL, Checksum, Dir string
		Description                string `json:"version_description"`
	} `json:"source_blob"`
	Trigger string
	Phase   string
	Failure *struct {
		Blame, Code, Phase, Buildpack, Reason, Next string
	}
	Result *struct {
		Repository, Digest string
		Reused             int
	}
	Release      *struct{ Version int }
	CancelReason string `json:"cancel_reason"`
	Stream       string `json:"output_stream_url"`
}

// An app of one test, with a working tree to push from.
type app struct {
	*server
	*tree
	t    testing.TB
	name string
}

// newApp makes an app; more are its settings.
func (s *server) newApp(t testing.TB, more map[string]any) *app {
	t.Helper()
	in := map[string]any{"name": name("app")}
	maps.Copy(in, more)
	s.ask(t, "POST", "/apps", in).want(201)
	d := newTree(t)
	a := &app{server: s, tree: d, t: t, name: in["name"].(string)}
	d.git("remote", "add", "slipway", s.git(a.name))
	return a
}

// api asks below the app.
func (a *app) api(method, path string, body any) reply {
	a.t.Helper()
	return a.ask(a.t, method, "/apps/"+a.name+path, body)
}

// builds are all builds of the app, the first one first.
func (a *app) builds() (all []buildView) {
	a.t.Helper()
	a.api("GET", "/builds", nil).want(200).into(&all)
	slices.SortFunc(all, func(x, y buildView) int { return x.Number - y.Number })
	return all
}

func (a *app) build(number int) (b buildView) {
	a.t.Helper()
	a.api("GET", fmt.Sprintf("/builds/%d", number), nil).want(200).into(&b)
	return b
}

// last is the newest build.
func (a *app) last() buildView {
	a.t.Helper()
	all := a.builds()
	if len(all) == 0 {
		a.t.Fatal("the app has no build")
	}
	return a.build(all[len(all)-1].Number)
}

// ended waits for a build to end.
func (a *app) ended(number int) (b buildView) {
	a.t.Helper()
	eventually(a.t, fmt.Sprintf("build %d ends", number), func() bool {
		b = a.build(number)
		return b.State != "queued" && b.State != "running"
	})
	return b
}

func (a *app) log(number int) string {
	a.t.Helper()
	return a.api("GET", fmt.Sprintf("/builds/%d/log?follow=true", number), nil).want(200).text
}

// tag is the digest that the app's repository has for a tag, "" for none.
func (a *app) tag(tag string) string {
	a.t.Helper()
	r := a.manifest(tag)
	if r.status == http.StatusNotFound {
		return ""
	}
	return r.want(200).header.Get("Docker-Content-Digest")
}

func (a *app) manifest(reference string) reply {
	a.t.Helper()
	return a.ask(a.t, "GET", "/v2/"+a.name+"/manifests/"+reference, nil, "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
}

// letGo ends the waiting of a build whose tree has a gate: see gate.
func (a *app) letGo(id string) {
	a.t.Helper()
	eventually(a.t, "a build waits at "+id, func() bool {
		found, _ := filepath.Glob(filepath.Join(a.state(), "builds", "*", "root", "workspace", id))
		for _, at := range found {
			if err := os.WriteFile(filepath.Join(filepath.Dir(at), "open"), nil, 0o644); err != nil {
				return false
			}
		}
		return len(found) > 0
	})
}

// gate makes a build.sh that says so and waits until letGo.
func gate() (id, script string) {
	id = name("gate")
	return id, "touch " + id + "\necho waiting at " + id + "\nwhile [ ! -e open ]; do sleep 0.05; done\n"
}
