package platform_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// damagePlaces is 100 where somebody wants to know for sure.
var damagePlaces = flag.Int("damage.places", 2, "random places of each kind of file in the store that TestDamagedStore damages")

// damageSeed repeats a run.
var damageSeed = flag.Uint64("damage.seed", rand.Uint64(), "seed of TestDamagedStore")

// damaged are the kinds of files in a machine's store, as patterns of their paths. Blobs are told apart by what they
// begin with.
func damaged() map[string]string {
	return map[string]string{
		"layer": "images/blobs/sha256/*", "manifest": "images/blobs/sha256/*", "config": "images/blobs/sha256/*",
		"memo": "images/memo/*", "cache record": "images/caches/*.json", "index": "images/*.json",
		"unpacked layer": "images/trees/*/root/layers/*/*/*", "manifest of an unpacked layer": "images/trees/*/manifest",
		"root image": "rootfs/images/*",
	}
}

// kindOf is the kind of a blob.
func kindOf(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("{")) && bytes.Contains(b, []byte(`"schemaVersion"`)):
		return "manifest"
	case bytes.HasPrefix(b, []byte("{")):
		return "config"
	}
	return "layer"
}

// victims are the files of the kind. A link that an earlier damage left is none: writing to it would write to what it
// leads to.
func victims(state, kind string) (all []string, err error) {
	files, err := filepath.Glob(filepath.Join(state, damaged()[kind]))
	for _, f := range files {
		if st, err := os.Lstat(f); err != nil || !st.Mode().IsRegular() {
			continue
		}
		b, err := os.ReadFile(f)
		if err == nil && (!strings.Contains(f, "/blobs/") || kindOf(b) == kind) {
			all = append(all, f)
		}
	}
	return all, err
}

// damage does something to a file of the kind; it returns what. "" is that there is no such file. Links lead to bait.
func damage(rnd *rand.Rand, state, kind, bait string) (string, error) {
	all, err := victims(state, kind)
	if err != nil || len(all) == 0 {
		return "", err
	}
	at := all[rnd.IntN(len(all))]
	b, err := os.ReadFile(at)
	if err != nil {
		return "", err
	}
	n := 0
	if len(b) > 0 {
		n = rnd.IntN(len(b))
	}
	ways := map[string]func() error{
		"a flipped bit": func() error {
			if len(b) > 0 {
				b[n] ^= 1 << rnd.IntN(8)
			}
			return os.WriteFile(at, b, 0o644)
		},
		"truncated":       func() error { return os.Truncate(at, int64(n)) },
		"half written":    func() error { return os.WriteFile(at, append(b[:n:n], make([]byte, len(b)-n)...), 0o644) },
		"missing":         func() error { return os.Remove(at) },
		"more at its end": func() error { return os.WriteFile(at, append(b, b[n:]...), 0o644) },
		"a directory":     func() error { return errors.Join(os.Remove(at), os.MkdirAll(filepath.Join(at, "x"), 0o755)) },
		"a link":          func() error { return errors.Join(os.Remove(at), os.Symlink(bait, at)) },
		"of another": func() error {
			other, err := os.ReadFile(all[rnd.IntN(len(all))])
			return errors.Join(err, os.WriteFile(at, other, 0o644))
		},
	}
	way := slices.Sorted(maps.Keys(ways))[rnd.IntN(len(ways))]
	return fmt.Sprintf("%s %s at %d of %d: %s", kind, strings.TrimPrefix(at, state), n, len(b), way), ways[way]()
}

// A ruin is the machine whose store is damaged, with what is built on it.
type ruin struct {
	y       *yard
	m       *platform.Machine
	o       platform.Options
	outputs []platform.Options // with what is theirs alone
	want    string             // digest
}

func newRuin(t *testing.T, y *yard) *ruin {
	t.Helper()
	m, err := machine(t.TempDir(), y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &ruin{y: y, m: m,
		o: platform.Options{
			Builder: y.oci("builder"), RunImage: y.oci("run"), Source: app(t, "do", ""),
			Buildpacks: append(y.fixtures("layer-types", "sbom", "slices"), script(t, "test/keeps", keeps)),
		},
		outputs: []platform.Options{
			{Image: name(t), Output: platform.Output{Store: true}},
			{Image: name(t), Output: platform.Output{OCI: filepath.Join(t.TempDir(), "layout")}},
			{Image: registry(t, "") + "/" + name(t), Output: platform.Output{Publish: true}},
			{Image: name(t)},
		},
	}
}

// build succeeds with the image of the first one, to the last byte. after is what was damaged.
func (u *ruin) build(t *testing.T, out platform.Options, after []string) {
	t.Helper()
	o, r := u.o, &record{}
	o.Image, o.Output = out.Image, out.Output
	res, err := u.y.try(t, u.m, o, r)
	if err != nil {
		t.Fatalf("seed %d: after %q: %v\n%s", *damageSeed, after, err, r)
	}
	if u.want == "" {
		u.want = res.Digest
	}
	if res.Digest != u.want {
		t.Fatalf("seed %d: after %q: %s, want %s\n%s", *damageSeed, after, res.Digest, u.want, r)
	}
	arg := o.Image
	switch {
	case out.Output.OCI != "":
		arg = "oci:" + out.Output.OCI
	case out.Output == platform.Output{}:
		return // Docker has read what was sent
	}
	find := image.Resolver{Images: u.m.Images, Registry: u.m.Registry}
	img, err := find.Resolve(t.Context(), arg)
	if err != nil {
		t.Fatalf("seed %d: after %q: %v", *damageSeed, after, err)
	}
	if checkBytes(t, img); t.Failed() {
		t.Fatalf("seed %d: after %q\n%s", *damageSeed, after, r)
	}
}

// TestDamagedStore damages the store through the file system, at random, between builds to every output: each build
// succeeds and gives the first one's image. Builder and run image lie elsewhere. TestStackDamagedTrees does the same to
// unpacked layers, more often.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	u := newRuin(t, open(t))
	for _, out := range u.outputs {
		u.build(t, out, nil)
	}
	bait := platform.BaitFile(t)
	rnd := rand.New(rand.NewPCG(*damageSeed, 1))
	kinds, done := slices.Sorted(maps.Keys(damaged())), map[string]int{}
	if !mounts() {
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return strings.Contains(k, "unpacked layer") })
	}
	if u.m.Roots == nil {
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "root image" })
	}
	builds := 0
	for ; slices.ContainsFunc(kinds, func(k string) bool { return done[k] < *damagePlaces }) && builds < 10**damagePlaces; builds++ {
		var after []string
		for _, kind := range kinds {
			if rnd.IntN(2) == 0 {
				continue
			}
			what, err := damage(rnd, u.m.State, kind, bait)
			if err != nil {
				t.Fatal(what, err)
			}
			if what != "" {
				done[kind]++
				after = append(after, what)
			}
		}
		u.build(t, u.outputs[rnd.IntN(len(u.outputs))], after)
	}
	t.Logf("seed %d: %d builds, damaged %v", *damageSeed, builds, done)
	for _, kind := range kinds {
		if done[kind] < *damagePlaces {
			t.Errorf("%s: damaged %d", kind, done[kind])
		}
	}
	for again := range 2 {
		if c, err := u.m.Store.Check(t.Context()); err != nil || again > 0 && len(c.Bad) > 0 {
			t.Errorf("checked: %q, %v", c.Bad, err)
		}
	}
	checkNoTraces(t, u.m.State)
}
