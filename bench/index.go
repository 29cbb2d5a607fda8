package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/index"
)

// million is how many versions the large index has.
const million = 1_000_000

// indexed measures the public index of buildpacks, or one of its size where -index names none.
func indexed(ctx context.Context, y *yard) ([]figure, error) {
	at := y.index
	if at == "" {
		at = filepath.Join(y.dir, "index.tar")
		if err := writeIndex(at, 15_000); err != nil {
			return nil, err
		}
	}
	figures, err := y.indexFigures(ctx, at, 0.15, 100)
	if err != nil {
		return nil, err
	}
	cold, err := y.coldResolve(ctx, at)
	if err != nil {
		return nil, err
	}
	theirs, err := y.packResolve(ctx, at, cold)
	return slices.Concat(figures, cold.figures, theirs), err
}

// indexedMillion measures a million generated versions.
func indexedMillion(ctx context.Context, y *yard) ([]figure, error) {
	at := filepath.Join(y.dir, "million.tar")
	if err := writeIndex(at, million); err != nil {
		return nil, err
	}
	figures, err := y.indexFigures(ctx, at, 5, 1000)
	return figures, errors.Join(err, os.Remove(at))
}

// indexFigures loads an index round by round, then resolves and searches in its read model, warm.
func (y *yard) indexFigures(ctx context.Context, at string, load, resolve float64) ([]figure, error) {
	var times []time.Duration
	var tree *index.Tree
	for range y.rounds {
		tree = nil
		began := time.Now()
		var err error
		if tree, err = index.ReadPath(ctx, at); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	model := filepath.Join(y.dir, "model")
	if err := index.WriteModel(model, index.Head{Name: "bench"}, tree); err != nil {
		return nil, err
	}
	x, err := index.Open(model)
	if err != nil {
		return nil, err
	}
	figures := []figure{{what: fmt.Sprintf("load of %d versions from a tar", tree.Versions), Value: median(times).Seconds(), Unit: "s", AtMost: load}}
	var resolved, searched []time.Duration
	for warm := range 2 {
		for name := range x.Names() {
			n, err := index.ParseName(name)
			if err != nil {
				return nil, err
			}
			began := time.Now()
			b, _, err := x.Get(n)
			if err != nil {
				return nil, err
			}
			_, _ = b.Choose("^1") // many have no such release
			if took := time.Since(began); warm == 1 {
				resolved = append(resolved, took)
			}
		}
	}
	for range 20 {
		for _, text := range []string{"node", "go", "java", "paketo", "build pack", "spring boot", "zz"} {
			began := time.Now()
			x.Search(text)
			searched = append(searched, time.Since(began))
		}
	}
	figures = append(figures, spread("resolve, warm", resolved, time.Microsecond, resolve)...)
	return append(figures, spread("search", searched, time.Millisecond, 5)...), x.Close()
}

// cold is what a process takes from its exec to its answer.
type cold struct {
	name, version string // of a buildpack
	times         []time.Duration
	figures       []figure
}

// coldResolve asks `slipway registry resolve` for a buildpack, again and again, of an index that was read before.
func (y *yard) coldResolve(ctx context.Context, at string) (c cold, err error) {
	tree, err := index.ReadPath(ctx, at)
	if err != nil {
		return c, err
	}
	b := tree.Buildpacks[len(tree.Buildpacks)/2]
	c.name, c.version = b.Name.String(), b.Versions[len(b.Versions)-1].Version
	if err := y.command(ctx, y.slipway, "registry", "add", "bench", at); err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, y.command(ctx, y.slipway, "registry", "remove", "bench")) }()
	cmd := exec.CommandContext(ctx, y.slipway, "registry", "sync", "bench")
	cmd.Env = y.environ
	if err := cmd.Run(); err != nil {
		return c, fmt.Errorf("slipway registry sync: %w", err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return c, errors.New("slipway registry sync: the memory that it took is not known")
	}
	for range 20 * y.rounds {
		began := time.Now()
		if err := y.command(ctx, y.slipway, "registry", "resolve", "--index", "bench", c.name+"@"+c.version); err != nil {
			return c, err
		}
		c.times = append(c.times, time.Since(began))
	}
	c.figures = append(c.figures, figure{what: "memory of the process that loads it", Value: float64(usage.Maxrss) / 1024, Unit: "MiB", AtMost: 64})
	c.figures = append(c.figures, figure{what: "resolve, from exec to answer, p50", Value: median(c.times).Seconds() * 1000, Unit: "ms", AtMost: 45})
	return c, nil
}

// writeIndex writes the tar of an index with so many versions, forty a buildpack.
func writeIndex(at string, versions int) (err error) {
	f, err := os.Create(at)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	for i := range versions / 40 {
		n, err := index.ParseName(fmt.Sprintf("vendor-%d/pack-%d", i%60, i))
		if err != nil {
			return errors.Join(err, f.Close())
		}
		var text bytes.Buffer
		for v := range 40 {
			fmt.Fprintf(&text, `{"ns":%q,"name":%q,"version":"%d.%d.%d","yanked":%t,"addr":"registry.example/%s@sha256:%064x"}`+"\n", n.NS, n.Name, v/10, v%10, i%7, v == 13, n, i*40+v)
		}
		err = w.WriteHeader(&tar.Header{Name: n.Path(), Size: int64(text.Len()), Mode: 0o644, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = text.WriteTo(w)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Close(), f.Close())
}

// packResolve has pack look for the same buildpack in a git repository of the same index on this machine: it ends where
// the image is to be fetched, which is none of the index's. Without pack there are no figures.
func (y *yard) packResolve(ctx context.Context, at string, ours cold) ([]figure, error) {
	if y.pack == "" {
		return nil, nil
	}
	tree, err := index.ReadPath(ctx, at)
	if err != nil {
		return nil, err
	}
	repo := filepath.Join(y.dir, "index-repository")
	for _, b := range tree.Buildpacks {
		var text bytes.Buffer
		for _, v := range b.Versions {
			// Nobody listens there: pack says so as soon as it has resolved.
			_, digest, _ := strings.Cut(v.Address, "@")
			fmt.Fprintf(&text, `{"ns":%q,"name":%q,"version":%q,"yanked":%t,"addr":"127.0.0.1:1/%s@%s"}`+"\n", b.Name.NS, b.Name.Name, v.Version, v.Yanked, strings.ToLower(b.Name.String()), digest)
		}
		file := filepath.Join(repo, b.Name.Path())
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text.Bytes(), 0o644)); err != nil {
			return nil, err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch", "main"}, {"add", "--all"},
		{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "--message", "index"},
	} {
		if err := y.command(ctx, "git", append([]string{"-C", repo}, args...)...); err != nil {
			return nil, err
		}
	}
	if err := y.command(ctx, y.pack, "config", "registries", "add", "bench", "file://"+repo, "--type", "git"); err != nil {
		return nil, err
	}
	var times []time.Duration
	for range y.rounds + 1 {
		began := time.Now()
		err := y.command(ctx, y.pack, "buildpack", "pull", "urn:cnb:registry:"+ours.name+"@"+ours.version, "--buildpack-registry", "bench")
		if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
			return nil, fmt.Errorf("pack did not come to fetch the image: %w", err)
		}
		times = append(times, time.Since(began))
	}
	theirs := median(times[1:]) // the first clones
	return []figure{
		{what: "pack resolves it from a local git repository, p50", Value: theirs.Seconds() * 1000, Unit: "ms"},
		{what: "ours, from exec to answer, as a multiple of pack's", Value: median(ours.times).Seconds() / theirs.Seconds(), Unit: "x"},
	}, nil
}
