package daemon_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A madeView is what these tests look at of a release.
type madeView struct {
	ID, Status string
	Version    int
	Current    bool
	Image      struct{ ID string } `json:"oci_image"`
	Build      *struct{ Number int }
}

func (a *app) made() (all []madeView) {
	a.t.Helper()
	a.api("GET", "/releases", nil).want(200).into(&all)
	slices.SortFunc(all, func(x, y madeView) int { return x.Version - y.Version })
	return all
}

// wantWhole waits until everything that an app was promised is so, and fails the test where it does not come to be: its
// builds have ended, each once and for good; refs, tag and record say the same; its image can be pulled; its logs have
// ended; and nothing is left of what was going on.
func (l *lane) wantWhole(t testing.TB, a *app) {
	t.Helper()
	var builds []buildView
	for _, b := range a.builds() {
		b = a.ended(b.Number)
		if before := l.ended[b.ID]; before != "" && before != b.State {
			t.Errorf("build %d of %s was %s and is %s", b.Number, a.name, before, b.State)
		}
		l.ended[b.ID] = b.State
		if (b.State == "succeeded") != (b.Release != nil) {
			t.Errorf("build %d of %s %s, and its release is %v", b.Number, a.name, b.State, b.Release)
		}
		builds = append(builds, b)
	}
	a.wantNamed(builds)
	l.wantNothingKept(t, a)
	if len(builds) > 0 {
		last := builds[len(builds)-1]
		if log := a.log(last.Number); log == "" && last.Phase != "" {
			t.Errorf("the log of build %d of %s is empty", last.Number, a.name)
		}
	}
}

// wantNamed: the branch is where the newest build of a push that succeeded has it, the tag names the image of the
// current release, and that can be pulled.
func (a *app) wantNamed(builds []buildView) {
	a.t.Helper()
	eventually(a.t, "release commands of "+a.name+" end", func() bool {
		return !slices.ContainsFunc(a.made(), func(r madeView) bool { return r.Status == "pending" })
	})
	branch, digest := "", ""
	count := map[int]int{} // by build
	for _, r := range a.made() {
		if r.Current {
			digest = r.Image.ID
		}
		if r.Build != nil {
			count[r.Build.Number]++
		}
	}
	for _, b := range builds {
		if b.Trigger == "git-push" && b.State == "succeeded" {
			branch = b.Source.Commit
		}
		if count[b.Number] > 1 {
			a.t.Errorf("build %d of %s has %d releases", b.Number, a.name, count[b.Number])
		}
	}
	eventually(a.t, fmt.Sprintf("main of %s is at %q and latest is %q", a.name, branch, digest), func() bool {
		return a.remote("refs/heads/main") == branch && a.tag("latest") == digest
	})
	if digest != "" {
		a.wantPullable(digest)
	}
}

// wantPullable pulls an image by its digest and looks at every byte.
func (a *app) wantPullable(digest string) {
	a.t.Helper()
	m := a.manifest(digest).want(200)
	if sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(m.text))); sum != digest {
		a.t.Errorf("the manifest %s of %s has the digest %s", digest, a.name, sum)
	}
	type blob struct{ Digest string }
	var named struct {
		Config blob
		Layers []blob
	}
	m.into(&named)
	for _, b := range append(named.Layers, named.Config) {
		text := a.ask(a.t, "GET", "/v2/"+a.name+"/blobs/"+b.Digest, nil).want(200).text
		if sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))); sum != b.Digest {
			a.t.Errorf("the blob %s of %s has the digest %s", b.Digest, a.name, sum)
		}
	}
}

// wantNothingKept: no quarantine, no lock, nothing that was kept for a push.
func (l *lane) wantNothingKept(t testing.TB, a *app) {
	t.Helper()
	var left []string
	eventually(t, "what pushes of "+a.name+" left is removed", func() bool {
		left = l.quarantines()
		kept, err := a.command("--git-dir", a.repository(), "for-each-ref", "refs/slipway").Output()
		if err != nil {
			t.Fatal(err)
		}
		locks, _ := filepath.Glob(filepath.Join(a.repository(), "refs", "heads", "*.lock"))
		left = append(append(left, locks...), strings.Fields(string(kept))...)
		return len(left) == 0
	})
}

// A litter is what a process had running when it was killed: the names of containers and of build directories.
type litter struct {
	containers, builds, links []string
}

// litter is asked of a lane whose process is dead.
func (l *lane) litter(t testing.TB) (out litter) {
	t.Helper()
	out.containers, out.builds = names(filepath.Join(l.state(), "oci", "containers")), names(filepath.Join(l.state(), "builds"))
	for _, id := range out.containers {
		if link, err := os.ReadFile(filepath.Join(l.state(), "oci", "containers", id, "link")); err == nil {
			out.links = append(out.links, string(link))
		}
	}
	return out
}

func names(dir string) (out []string) {
	entries, _ := os.ReadDir(dir) // or there is none yet
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// wantSwept waits until nothing of a litter is left, and tells how long that took.
func (l *lane) wantSwept(t testing.TB, was litter) {
	t.Helper()
	began := time.Now()
	var left []string
	for left = l.left(was); len(left) > 0; left = l.left(was) {
		if time.Since(began) > patience {
			t.Fatalf("what the killed service had is still there:\n%s", strings.Join(left, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("swept after %s: %d containers, %d directories of builds", time.Since(began).Round(time.Millisecond), len(was.containers), len(was.builds))
}

// left is what is left of a litter: containers with their processes, control groups, links and mounts, and directories.
func (l *lane) left(was litter) (left []string) {
	add := func(kind, what string) { left = append(left, kind+" "+what) }
	for _, id := range was.containers {
		if dir := filepath.Join(l.state(), "oci", "containers", id); exists(dir) {
			add("container", fmt.Sprintf("%s with %q", dir, names(dir)))
		}
		groups, _ := filepath.Glob("/sys/fs/cgroup/slipway/" + id)
		more, _ := filepath.Glob("/sys/fs/cgroup/*/slipway/" + id)
		for _, g := range append(groups, more...) {
			add("control group", g)
		}
		for _, pid := range processesOf(id) {
			add("process", pid)
		}
	}
	for _, name := range was.builds {
		if dir := filepath.Join(l.state(), "builds", name); exists(dir) {
			add("build", dir)
		}
	}
	for _, link := range was.links {
		if exists("/sys/class/net/" + link) {
			add("network interface", link)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		for _, name := range slices.Concat(was.containers, was.builds) {
			if strings.Contains(line, l.state()) && strings.Contains(line, "/"+name+"/") {
				add("mount", strings.TrimSpace(line))
			}
		}
	}
	return left
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// processesOf are the processes in the control group of a container.
func processesOf(id string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, at := range all {
		if b, err := os.ReadFile(at); err == nil && strings.Contains(string(b), id) {
			pids = append(pids, filepath.Base(filepath.Dir(at)))
		}
	}
	return pids
}
