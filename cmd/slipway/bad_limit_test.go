package main

import (
	"archive/tar"
	"io"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func badLimits(t *testing.T, y *yard) {
	memory := buildpack(t, "memory", "", "bash -c 'x=0123456789; while :; do x=$x$x; done'")
	detect := buildpack(t, "memory-detect", "bash -c 'x=0123456789; while :; do x=$x$x; done'", "")
	sleep := buildpack(t, "sleep", "", "sleep 1000")
	bomb := fixture(t, "hostile/fork-bomb")
	inodes := buildpack(t, "inodes", "", `mkdir "$CNB_LAYERS_DIR/dep"; i=0; while :; do i=$((i+1)); mkdir -p "$CNB_LAYERS_DIR/dep/$i"/1/2/3/4/5/6/7/8/9; done`)
	flags := func(dir string, more ...string) []string { return append(with(dir), more...) }
	y.try(t,
		bad{name: "memory", args: flags(memory, "--memory", "64m"), code: 51, says: []string{"test/memory@1.2.3", "out of memory", "64 MiB", "--memory"}},
		bad{name: "memory in detect", args: flags(detect, "--memory", "64m"), code: 21, says: []string{"test/memory-detect@1.2.3", "out of memory", "64 MiB", "--memory"}},
		bad{name: "time in build", args: flags(sleep, "--timeout", "8s"), code: 52, says: []string{"build of buildpack test/sleep@1.2.3", "8s", "--timeout"}},
		bad{name: "time in detect", args: flags(fixture(t, "hostile/detect-hangs"), "--timeout", "8s"), code: 22, says: []string{"detect of buildpack sample/detect-hangs@0.0.1", "8s", "--timeout"}},
		bad{name: "disk", args: flags(fixture(t, "hostile/disk-filler"), "--disk", "200m"), code: 52, says: []string{"sample/disk-filler@0.0.1", "200 MiB", "--disk"}},
		bad{name: "disk by directories", args: flags(inodes, "--disk", "8m"), code: 52, says: []string{"test/inodes@1.2.3", "8 MiB", "--disk"}},
		bad{name: "fork bomb", args: flags(bomb, "--pids", "64", "--timeout", "9s"), code: 52, says: []string{"sample/fork-bomb@0.0.1", "9s"}},
		bad{name: "sparse file", args: with(fixture(t, "hostile/sparse")), code: 62, says: []string{"sample/sparse:dep", "1099511627776 bytes", "limit"}},
	)
	t.Run("disk is full", func(t *testing.T) { fullDisk(t, y) })
}

// fullDisk builds where the disk of the state directory is too small.
func fullDisk(t *testing.T, y *yard) {
	t.Parallel()
	w := y.work(t)
	w.home = filepath.Join(y.smallDisk(t, 64<<20), "home")
	if err := copyTree(w.home, y.template); err != nil {
		t.Fatal(err)
	}
	big := buildpack(t, "big", "", `head -c 104857600 /dev/zero >"$CNB_LAYERS_DIR/big"`)
	code, stdout, stderr := w.build(nil, with(big)...)
	line := errorLine(t, stderr, w.home)
	t.Log(line)
	if code != 51 || !strings.Contains(line, "test/big@1.2.3") || !strings.Contains(line, "disk that holds "+w.home+" is full") {
		t.Errorf("exit code %d, want 51\n%s%s", code, stdout, stderr)
	}
	w.nothingLeft()
	w.good()
}

// harmless is hostile input that a build survives.
func harmless(t *testing.T, y *yard) {
	t.Run("daemon", func(t *testing.T) {
		t.Parallel()
		w := y.work(t)
		if code, stdout, stderr := w.build(nil, with(fixture(t, "hostile/daemon"), buildpack(t, "later", "", "sleep 2"))...); code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		if got := w.files("layers/sample_daemon/dep/"); strings.Join(got, " ") != "layers/sample_daemon/dep/file=early\n" {
			t.Errorf("the layer has %q", got)
		}
		w.nothingLeft()
	})
	t.Run("slices of files outside the app", func(t *testing.T) {
		t.Parallel()
		w := y.work(t)
		if code, stdout, stderr := w.build(nil, with(fixture(t, "hostile/launch-slice-escape"))...); code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		if got := w.files("etc/"); len(got) != 0 {
			t.Errorf("the image has %q", got)
		}
	})
	t.Run("previous image has a garbled label", func(t *testing.T) {
		t.Parallel()
		w := y.work(t)
		previous := y.relabelled(t, func(cf *v1.ConfigFile) { cf.Config.Labels["io.buildpacks.lifecycle.metadata"] = `{"app": [` })
		code, stdout, stderr := w.build(nil, "--previous-image", previous)
		if code != 0 || !strings.Contains(stdout, "Warning: ") || !strings.Contains(stdout, "io.buildpacks.lifecycle.metadata") {
			t.Errorf("exit code %d, want 0 and a warning\n%s%s", code, stdout, stderr)
		}
		for l := range strings.Lines(stdout) {
			if strings.HasPrefix(l, "Warning: ") {
				t.Log(l)
				if m := goisms.FindString(l); m != "" {
					t.Errorf("the warning is not for people (%q): %s", m, l)
				}
			}
		}
		w.nothingLeft()
		w.good()
	})
}

// files is the contents of the image's own layers below prefix, in order.
func (w *work) files(prefix string) (out []string) {
	w.t.Helper()
	img := w.image()
	layers, err := img.Layers()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range layers[1:] { // the first is the run image's
		rc, err := l.Uncompressed()
		if err != nil {
			w.t.Fatal(err)
		}
		tr := tar.NewReader(rc)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				w.t.Fatal(err)
			}
			name := strings.TrimPrefix(h.Name, "/")
			if h.Typeflag != tar.TypeReg || !strings.HasPrefix(name, prefix) {
				continue
			}
			b, err := io.ReadAll(tr)
			if err != nil {
				w.t.Fatal(err)
			}
			out = append(out, name+"="+string(b))
		}
		rc.Close()
	}
	return out
}
