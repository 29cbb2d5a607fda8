package gitserver

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mainRef = RefName("refs/heads/main")

// names lists what is in an archive, and reads it to its end.
func names(t *testing.T, p *Push, commit Hash) ([]string, error) {
	a, err := p.Archive(t.Context(), commit)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	var all []string
	for r := tar.NewReader(a); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, a)
			return all, err
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeXGlobalHeader {
			if h.Mode&0o022 != 0 {
				t.Errorf("%s has mode %o in the archive, and not that of a checkout", h.Name, h.Mode)
			}
			all = append(all, h.Name)
		}
	}
}

func TestPush(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	d.commit(".gitattributes", "dir/x export-ignore\n")
	second := d.commit("dir/x", "x")
	w.builds(func(_ context.Context, p *Push, u Update) error {
		got, err := names(t, p, u.New)
		if err != nil {
			return err
		}
		if diff := cmp.Diff([]string{".gitattributes", "a", "dir/", "dir/x"}, got); diff != "" {
			t.Errorf("archive (-want +got):\n%s", diff)
		}
		if now, err := p.Current(t.Context(), u.Ref); err != nil || now != Zero {
			t.Errorf("while it is built the ref is at %s, %v", now, err)
		}
		if diff := cmp.Diff([]string{"no-cache", "a=b c"}, p.Options); diff != "" {
			t.Errorf("options (-want +got):\n%s", diff)
		}
		fmt.Fprint(p.Out, "-----> Building\n       ===> DETECTING\n")
		return nil
	})
	d.wantPush(true, []string{"-o", "no-cache", "-o", "a=b c", w.url(token), "HEAD:main"},
		"remote: -----> Building\nremote:        ===> DETECTING\n", "* [new branch]      HEAD -> main")
	must(t, w.waitMoved())
	if got := w.at(mainRef); got != second {
		t.Errorf("main is at %s, want %s", got, second)
	}

	clone := t.TempDir()
	d.git("clone", "-q", w.url("reader"), filepath.Join(clone, "c"))
	if b, err := os.ReadFile(filepath.Join(clone, "c", "dir", "x")); err != nil || string(b) != "x" {
		t.Errorf("cloned %q, %v", b, err)
	}
	w.builds(nil)
	third := d.commit("a", "two\n")
	d.wantPush(true, []string{w.url(token), "main"}, "main -> main")
	must(t, w.waitMoved())
	if got := w.at(mainRef); got != third {
		t.Errorf("main is at %s, want %s", got, third)
	}
	c := &tree{t, filepath.Join(clone, "c")}
	c.git("pull", "-q", "--ff-only")
	if c.head() != third {
		t.Error("a pull does not bring what was pushed")
	}
}

func TestRefusal(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	w.builds(func(_ context.Context, p *Push, u Update) error {
		fmt.Fprintln(p.Out, "-----> Building")
		return &Refusal{Reason: "build 7 failed", Lines: []string{"build, example/node@1: no package.json", "Log: http://slipway/builds/7"}}
	})
	d.wantPush(false, []string{w.url(token), "main"},
		"remote: -----> Building\n", "remote:  !     build, example/node@1: no package.json\n", "remote:  !     Log: http://slipway/builds/7\n",
		"! [remote rejected] main -> main (build 7 failed)")
	if out := d.git("ls-remote", w.url(token)); out != "" {
		t.Errorf("a refused push left refs: %s", out)
	}
	w.wantClean()
	left, err := filepath.Glob(filepath.Join(w.dir, "*.git/objects/pack/*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("a refused push left objects: %v", left)
	}
	w.builds(nil)
	d.wantPush(true, []string{w.url(token), "main"}, "main -> main")
	must(t, w.waitMoved())
}

// TestHookGone: a git that finds a hook of a process that was killed takes nothing.
func TestHookGone(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	w.handler.Fault = func(error) {}
	must(t, os.WriteFile(w.repos.hook(), []byte("#!/proc/2147483647/exe\n"), 0o700))
	d.wantPush(false, []string{w.url(token), "main"}, "(internal error)")
	if at := w.at(mainRef); at != Zero {
		t.Errorf("main is at %s", at)
	}
}

// TestOurFault tells the client that it is ours, and nothing of what went wrong.
func TestOurFault(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	var told error
	w.handler.Fault = func(err error) { told = err }
	w.builds(func(context.Context, *Push, Update) error { return errors.New("password hunter2") })
	out := d.wantPush(false, []string{w.url(token), "main"}, "not in your app", "(internal error)")
	if strings.Contains(out, "hunter2") {
		t.Errorf("the client sees an error of ours:\n%s", out)
	}
	if told == nil || !strings.Contains(told.Error(), "hunter2") {
		t.Errorf("Fault was told %v", told)
	}
}

func TestRefs(t *testing.T) {
	w, d := newWorld(t, Limits{Refs: 5}), newTree(t)
	url := w.url(token)
	builds := 0
	w.builds(func(context.Context, *Push, Update) error { builds++; return nil })
	d.git("tag", "v1")
	d.git("tag", "-a", "-m", "m", "v2")
	d.wantPush(true, []string{url, "main", "v1"}, "main -> main", "v1 -> v1", "remote: -----> Tag v1 is stored; tags are not built.")
	d.wantPush(true, []string{url, "v2"}, "v2 -> v2")
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
	d.git("branch", "topic")
	d.wantPush(false, []string{url, "topic"}, "topic is not the deploy branch", "git push <remote> topic:main", "(only main is deployed)")
	d.commit("a", "two\n")
	d.wantPush(false, []string{url, "main", "topic"}, "main neither")
	if w.at("refs/heads/topic") != Zero {
		t.Error("a refused branch is there")
	}
	d.wantPush(false, []string{url, ":main"}, "cannot be deleted", "(the deploy branch stays)")
	d.wantPush(true, []string{url, ":v1"}, "Tag v1 is deleted.", "[deleted]")
	d.wantPush(false, []string{url, "main:refs/notes/x"}, "neither a branch nor a tag")
	d.wantPush(false, []string{url, "main:refs/slipway/x"}, "for the service's own use", "(the name cannot be taken)")
	d.wantPush(false, []string{url, "main:refs/heads/a\u202eb"}, `\u202e`, "(the name cannot be taken)")
	d.wantPush(false, []string{url, "main:a", "main:b", "main:c", "main:d", "main:e", "main:f"}, "(too many refs)", "at most 5")
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
}

func TestForcePush(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	d.commit("a", "two\n")
	d.wantPush(true, []string{w.url(token), "main"})
	d.git("reset", "-q", "--hard", "HEAD~1")
	other := d.commit("a", "other\n")
	d.wantPush(false, []string{w.url(token), "main"}, "non-fast-forward")
	d.wantPush(true, []string{"--force", w.url(token), "main"}, "forced update")
	if got := w.at(mainRef); got != other {
		t.Errorf("main is at %s, want %s", got, other)
	}
}

// TestShallow pushes from a clone without history, and then from one with it.
func TestShallow(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	for i := range 4 {
		d.commit("a", fmt.Sprint(i))
	}
	shallow := &tree{t, filepath.Join(t.TempDir(), "s")}
	d.git("clone", "-q", "--depth=2", "file://"+d.dir, shallow.dir)
	tip := shallow.commit("b", "b")
	w.builds(func(_ context.Context, p *Push, u Update) error {
		got, err := names(t, p, u.New)
		if !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("archive has %v", got)
		}
		return err
	})
	shallow.wantPush(true, []string{w.url(token), "main"}, "main -> main")
	must(t, w.waitMoved())
	if got := w.at(mainRef); got != tip {
		t.Errorf("main is at %s, want %s", got, tip)
	}
	w.builds(nil)
	d.git("pull", "-q", "--ff-only", shallow.dir, "main")
	next := d.commit("c", "c")
	d.wantPush(true, []string{w.url(token), "main"}, "main -> main")
	must(t, w.waitMoved())
	if got := w.at(mainRef); got != next {
		t.Errorf("main is at %s, want %s", got, next)
	}
	w.wantSound()
}

// wantSound fails the test when an object that is needed is not there.
func (w *world) wantSound() {
	w.t.Helper()
	if out, err := w.repos.run(w.t.Context(), w.repos.path(w.app.ID), "fsck", "--strict", "--connectivity-only"); err != nil {
		w.t.Errorf("the repository is damaged: %v %s", err, out)
	}
}

// TestSubject holds that what a commit says comes whole to who asks, and no more than that, whatever it says.
func TestSubject(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	got := ""
	w.builds(func(ctx context.Context, p *Push, u Update) (err error) {
		got, err = p.Subject(ctx, u.New)
		return err
	})
	for _, c := range [][2]string{
		{"Größe, 大きさ\n\nAnd why.", "Größe, 大きさ"}, {"", ""}, {"%H %n \x1b[31m-n", "%H %n \x1b[31m-n"}, {strings.Repeat("a", 1<<20), strings.Repeat("a", 298) + ".."},
	} {
		message := filepath.Join(t.TempDir(), "message")
		must(t, os.WriteFile(message, []byte(c[0]), 0o600))
		d.git("commit", "-q", "--allow-empty", "--allow-empty-message", "--cleanup=verbatim", "-F", message)
		d.wantPush(true, []string{w.url(token), "HEAD:main"}, "HEAD -> main")
		must(t, w.waitMoved())
		if got != c[1] {
			t.Errorf("%.40q: %.400q", c[0], got)
		}
	}
}
