package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// These benchmarks set an export by both real processes, from files to blobs in a layer store, beside what the machine
// can do with the same files. The layers come from the page cache in all of them. Run them alone, and as root for
// reads/byte: the collector's counters are nobody else's to read.
//
//	go test ./internal/agent -run '^$' -bench Export -benchtime 3x
//
// -short has an eighth of the files.
//
// %-of-memory: how fast, beside our encoder with all cores on the same tars in memory.
// x-tar-gzip: how long, beside `tar c | gzip -1 | cat` of the same files.
// cpu-...: the same in time of processors, which other programs on the machine disturb less.
// MiB-peak: the most resident memory of both processes, added up.
// reads/byte: what the collector read, beside what the files hold.

// BenchmarkExportLayers is 2 GiB in 16 new layers.
func BenchmarkExportLayers(b *testing.B) {
	y := newExportYard(b)
	for n := range 16 {
		y.layer(b, fmt.Sprintf("layer-%02d", n), 128<<20, 64<<10)
	}
	y.run(b, "%-of-memory", y.memory)
}

// BenchmarkExportDominant is 2 GiB of which one layer has nearly all.
func BenchmarkExportDominant(b *testing.B) {
	y := newExportYard(b)
	y.layer(b, "large", 2000<<20, 64<<10)
	y.layer(b, "small", 48<<20, 64<<10)
	y.run(b, "%-of-memory", y.memory)
}

// BenchmarkExportMillion is a layer of a million small files.
func BenchmarkExportMillion(b *testing.B) {
	y := newExportYard(b)
	y.layer(b, "many", 1_000_000<<10, 1<<10)
	y.run(b, "x-tar-gzip", y.tarGzip)
}

// BenchmarkExportHuge is a layer of one file of 10 GiB, a hole from end to end.
func BenchmarkExportHuge(b *testing.B) {
	y := newExportYard(b)
	f, err := os.Create(filepath.Join(y.layerDir(b, "hole"), "file"))
	if err != nil {
		b.Fatal(err)
	}
	if y.bytes = 10 << 30; testing.Short() {
		y.bytes /= 8
	}
	if err := errors.Join(f.Truncate(y.bytes), f.Close()); err != nil {
		b.Fatal(err)
	}
	y.run(b, "", nil)
}

// exportYard is the directory of a build after its buildpack.
type exportYard struct {
	dirs   builder.Dirs
	layers []builder.BuiltLayer
	bytes  int64
	text   []byte
	random *rand.Rand
	sink   string // directories of stores
}

const yardBuildpack = "bench/export"

func newExportYard(b *testing.B) *exportYard {
	y := &exportYard{random: rand.New(rand.NewPCG(1, 2)), sink: b.TempDir()}
	y.dirs = builder.Dirs{
		Root: filepath.Join(b.TempDir(), "root"), App: "/workspace", Layers: "/layers", Platform: "/platform", Scratch: "/slipway",
		UID: os.Getuid(), GID: os.Getgid(),
	}
	if err := errors.Join(
		os.MkdirAll(y.dirs.Host(y.dirs.App), 0o755), os.MkdirAll(y.dirs.Host(y.dirs.Layers), 0o755),
		os.WriteFile(filepath.Join(y.dirs.Root, "launcher"), []byte("launcher"), 0o755),
	); err != nil {
		b.Fatal(err)
	}
	y.text = sourceText(y.random, 16<<20)
	return y
}

// sourceText is size bytes that compress about as source code does.
func sourceText(r *rand.Rand, size int) []byte {
	words := make([]string, 4000)
	for i := range words {
		w := make([]byte, 2+r.IntN(9))
		for j := range w {
			w[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(w)
	}
	b := make([]byte, 0, size+16)
	for len(b) < size {
		f := r.Float64()
		b = append(append(b, words[int(f*f*f*float64(len(words)))]...), " (.,;\n"[r.IntN(6)])
	}
	return b[:size]
}

func (y *exportYard) layerDir(b *testing.B, name string) string {
	dir := filepath.Join(y.dirs.Host(y.dirs.Layers), cnb.ID(yardBuildpack).Dir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	y.layers = append(y.layers, builder.BuiltLayer{Name: cnb.LayerName(name), Types: cnb.LayerTypes{Launch: true}, Contents: true})
	return dir
}

// layer makes a layer of size bytes in files of about each bytes, a hundred to a directory.
func (y *exportYard) layer(b *testing.B, name string, size, each int) {
	dir := y.layerDir(b, name)
	if testing.Short() {
		size /= 8
	}
	for n := 0; size > 0; n++ {
		at := filepath.Join(dir, fmt.Sprintf("d%03d", n/10000), fmt.Sprintf("d%02d", n/100%100))
		if n%100 == 0 {
			if err := os.MkdirAll(at, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		want := min(size, each/2+y.random.IntN(each))
		from := y.random.IntN(len(y.text) - want)
		if err := os.WriteFile(filepath.Join(at, fmt.Sprintf("file-%02d.js", n%100)), y.text[from:from+want], 0o644); err != nil {
			b.Fatal(err)
		}
		size -= want
		y.bytes += int64(want)
	}
}

// A cost is what something took: on the clock, and of all processors.
type cost struct{ clock, cpu time.Duration }

func (c *cost) add(d cost) { c.clock, c.cpu = c.clock+d.clock, c.cpu+d.cpu }

// run times exports, and with each of them the yardstick, whose unit says how the two are compared.
func (y *exportYard) run(b *testing.B, unit string, yardstick func(b *testing.B) cost) {
	b.SetBytes(y.bytes)
	var ours, theirs cost
	var peak, read int64
	for b.Loop() {
		e := y.export(b)
		ours.add(e.cost)
		peak, read = max(peak, e.Peak), max(read, e.Read)
		if yardstick != nil {
			b.StopTimer()
			theirs.add(yardstick(b))
			b.StartTimer()
		}
	}
	switch unit {
	case "%-of-memory":
		b.ReportMetric(100*theirs.clock.Seconds()/ours.clock.Seconds(), unit)
		b.ReportMetric(100*theirs.cpu.Seconds()/ours.cpu.Seconds(), "cpu-"+unit)
	case "x-tar-gzip":
		b.ReportMetric(ours.clock.Seconds()/theirs.clock.Seconds(), unit)
		b.ReportMetric(ours.cpu.Seconds()/theirs.cpu.Seconds(), "cpu-"+unit)
	}
	b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
	if read > 0 {
		b.ReportMetric(float64(read)/float64(y.bytes), "reads/byte")
	}
}

// memory is our encoder on the layers' tars in memory, with all cores.
func (y *exportYard) memory(b *testing.B) (c cost) {
	for _, l := range y.layers {
		dir := filepath.Join(y.dirs.Host(y.dirs.Layers), cnb.ID(yardBuildpack).Dir())
		tar, err := exec.Command("tar", "-cf", "-", "-C", dir, string(l.Name)).Output()
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		began, cpu := time.Now(), processors(b)
		z := layerstore.NewEncoder(io.Discard)
		if _, err := z.Write(tar); err != nil {
			b.Fatal(err)
		}
		if err := z.Close(); err != nil {
			b.Fatal(err)
		}
		c.add(cost{time.Since(began), processors(b) - cpu})
	}
	return c
}

// processors is the time that this process had of them.
func processors(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (y *exportYard) tarGzip(b *testing.B) cost {
	cmd := exec.Command("/bin/sh", "-c", `tar c -C "$1" . | gzip -1 | cat > "$2"`, "sh", y.dirs.Host(y.dirs.Layers), filepath.Join(y.sink, "tar.gz"))
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return cost{time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

// An exportResult is what a process of exportAlone says of itself.
type exportResult struct {
	cost
	Took time.Duration
	Peak int64 // bytes, of both processes
	Read int64 // bytes that the collector read; 0 where that is not ours to see
}

// export runs exportAlone in a process of its own, whose memory holds nothing of the benchmark's.
func (y *exportYard) export(b *testing.B) exportResult {
	store, err := os.MkdirTemp(y.sink, "store")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(store)
	job, err := json.Marshal(exportJob{Dirs: y.dirs, Layers: y.layers, Store: store})
	if err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, "export")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(job)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	var res exportResult
	if err := json.Unmarshal(out, &res); err != nil {
		b.Fatal(err)
	}
	res.cost = cost{res.Took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	return res
}

type exportJob struct {
	Dirs   builder.Dirs
	Layers []builder.BuiltLayer
	Store  string
}

// exportAlone is the parent's half of an export: it starts a collector and keeps what that sends in a store.
func exportAlone(in io.Reader, out io.Writer) error {
	var job exportJob
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return err
	}
	store, err := layerstore.Open(job.Store)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "collector")
	cmd.Stderr = os.Stderr
	w, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	r, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c, err := ConnectCollector(context.Background(), r, w, &testHost{store: store})
	if err != nil {
		return err
	}
	el := cnb.GroupElement{Ref: cnb.Ref{ID: yardBuildpack, Version: "1"}, API: cnb.API{Minor: 10}}
	began := time.Now()
	_, err = c.Export(context.Background(), builder.ExportInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: job.Dirs, Group: cnb.Group{Elements: []cnb.GroupElement{el}},
		Built:    &builder.Built{Buildpacks: []builder.BuiltBuildpack{{GroupElement: el, Layers: job.Layers}}},
		Launcher: builder.Launcher{Path: filepath.Join(job.Dirs.Root, "launcher")},
	}, layerstore.Gzip)
	res := exportResult{Took: time.Since(began)}
	if err != nil {
		return err
	}
	res.Peak = counter("/proc/self/status", "VmHWM:")<<10 + counter(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "VmHWM:")<<10
	res.Read = counter(fmt.Sprintf("/proc/%d/io", cmd.Process.Pid), "rchar:")
	if err := errors.Join(c.Close(), cmd.Wait()); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(res)
}

// counter is one number of a file in /proc, 0 where it cannot be read.
func counter(path, name string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 1 && fields[0] == name {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return 0
}
