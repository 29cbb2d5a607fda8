package registrar_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/index"
)

// seed gives the index as many buildpacks and versions as the public one has.
func (w *world) seed(buildpacks, versions int) {
	w.t.Helper()
	var in strings.Builder
	fmt.Fprint(&in, "commit refs/heads/main\ncommitter x <x@y> 1700000000 +0000\ndata 1\nx\nfrom refs/heads/main^0\n")
	for i := range buildpacks {
		n := index.Name{NS: "many", Name: fmt.Sprintf("buildpack-%03d", i)}
		var text strings.Builder
		for v := i; v < versions; v += buildpacks {
			text.WriteString(entry(n.String(), fmt.Sprintf("1.%d.0", v), fmt.Sprintf("docker.io/many/buildpack@sha256:%064x", v)) + "\n")
		}
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", n.Path(), text.Len(), text.String())
	}
	cmd := exec.CommandContext(w.t.Context(), "git", "--git-dir", filepath.Join(w.dir, "git", string(build.IndexID)+".git"), "fast-import", "--quiet")
	cmd.Stdin = strings.NewReader(in.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	if err := w.Open(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if x := w.Index(); x.Versions != versions || x.Head.Buildpacks != buildpacks {
		w.t.Fatalf("%+v", x.Head)
	}
}

// BenchmarkRegister is one registration: look at the image, commit, durable. In an index of the size of the public one it
// takes as long as in a small one.
func BenchmarkRegister(b *testing.B) {
	for _, size := range []struct{ buildpacks, versions int }{{1, 1}, {386, 15_381}} {
		b.Run(fmt.Sprintf("versions=%d", size.versions), func(b *testing.B) {
			w := newWorld(b)
			w.seed(size.buildpacks, size.versions)
			n := 0
			for b.Loop() {
				b.StopTimer()
				n++
				image := w.put(labelled("acme/java", fmt.Sprintf("1.%d.0", n), func(_ map[string]string, c *v1.ConfigFile) { c.Author = fmt.Sprint(n) }))
				b.StartTimer()
				w.registers(w.alice, image)
			}
		})
	}
}
