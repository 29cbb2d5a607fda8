package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkStart measures from the launcher's exec to the end of /bin/true, in images of 1 buildpack with 1 layer and
// of 20 with 10 layers each. With another launcher in LAUNCHER it starts both in turn and reports both medians.
//
//	LAUNCHER=/path/to/launcher go test ./cmd/launcher -run '^$' -bench Start
func BenchmarkStart(b *testing.B) {
	launchers := map[string]string{"ours": build(b)}
	if other := os.Getenv("LAUNCHER"); other != "" {
		launchers["other"] = other
	}
	for name, size := range map[string]struct{ buildpacks, layers int }{"small": {1, 1}, "large": {20, 10}} {
		dir := benchImage(b, size.buildpacks, size.layers)
		for _, process := range []string{"direct", "shell"} {
			b.Run(name+"/"+process, func(b *testing.B) {
				took := map[string][]time.Duration{}
				for b.Loop() {
					for who, file := range launchers {
						start := time.Now()
						if err := benchCommand(dir, file, process).Run(); err != nil {
							b.Fatalf("%s: %v", who, err)
						}
						took[who] = append(took[who], time.Since(start))
					}
				}
				for who, all := range took {
					slices.Sort(all)
					b.ReportMetric(all[len(all)/2].Seconds()*1000, who+"-ms")
				}
			})
		}
	}
}

func benchCommand(dir, file, process string) *exec.Cmd {
	return &exec.Cmd{
		Path: file, Args: []string{"/cnb/process/" + process},
		Env: []string{"PATH=/usr/bin:/bin", "CNB_PLATFORM_API=0.12", "CNB_APP_DIR=" + dir + "/app", "CNB_LAYERS_DIR=" + dir + "/layers"},
	}
}

// benchImage makes the directories of an image whose layers all have bin, lib and env files.
func benchImage(b *testing.B, buildpacks, layers int) string {
	b.Helper()
	dir := b.TempDir()
	write := func(name, text string) {
		b.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	var metadata strings.Builder
	for i := range buildpacks {
		fmt.Fprintf(&metadata, "[[buildpacks]]\nid = \"example/bp%d\"\nversion = \"1.0.0\"\napi = \"0.10\"\n", i)
		for k := range layers {
			layer := fmt.Sprintf("layers/example_bp%d/layer%d/", i, k)
			write(layer+"bin/x", "")
			write(layer+"lib/x", "")
			write(layer+fmt.Sprintf("env/V%d.append", k), "x")
			write(layer+fmt.Sprintf("env/V%d.delim", k), ":")
			write(layer+fmt.Sprintf("env.launch/B%d.default", i), "y")
			write(layer+fmt.Sprintf("env.launch/direct/P%d.override", i), "z")
		}
	}
	for _, process := range []string{"direct", "shell"} {
		fmt.Fprintf(&metadata, "[[processes]]\ntype = %q\ncommand = [\"/bin/true\"]\ndirect = %v\nbuildpack-id = \"example/bp0\"\n", process, process == "direct")
	}
	write("app/x", "")
	write("layers/config/metadata.toml", metadata.String())
	return dir
}
