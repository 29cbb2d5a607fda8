// Program sample is the buildpack of the command's tests and, copied into a layer, the app that it builds. It
// needs nothing but a kernel, so that base images of tests are almost empty. What it does is in the app's files:
//
//	detect   "no" or "error": what detect answers
//	fail     what build prints before it fails
//	hang     build does not end
//	eat      build takes memory until something stops it
//	launch.toml, build.toml  are what the build leaves
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "detect":
		os.Exit(detect())
	case "build":
		if err := build(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(serve(os.Args[1:]))
	}
}

func detect() int {
	switch b, _ := os.ReadFile("detect"); strings.TrimSpace(string(b)) {
	case "no":
		fmt.Println("the file detect says no")
		return 100
	case "error":
		fmt.Println("the file detect says error")
		return 1
	}
	return 0
}

func build() error {
	fmt.Printf("building with GREETING=%q\n", os.Getenv("GREETING"))
	fmt.Printf("\x1b[32mgreen\x1b[0m \x1b]0;title\a\n")
	bindings, _ := filepath.Glob(filepath.Join(os.Getenv("CNB_PLATFORM_DIR"), "bindings", "*", "type"))
	for _, b := range bindings {
		text, _ := os.ReadFile(b)
		fmt.Printf("binding %s of type %s\n", filepath.Base(filepath.Dir(b)), strings.TrimSpace(string(text)))
	}
	if b, err := os.ReadFile("/extra/note"); err == nil {
		fmt.Printf("volume says %s\n", strings.TrimSpace(string(b)))
	}
	if b, err := os.ReadFile("fail"); err == nil {
		fmt.Print(string(b))
		os.Exit(7)
	}
	if _, err := os.Stat("hang"); err == nil {
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	}
	if _, err := os.Stat("eat"); err == nil {
		var all [][]byte
		for range 1 << 20 {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
		}
		fmt.Println(len(all))
	}
	layers := os.Getenv("CNB_LAYERS_DIR")
	if err := layer(layers); err != nil {
		return err
	}
	if b, err := os.ReadFile("sbom"); err == nil {
		if err := os.WriteFile(filepath.Join(layers, "launch.sbom.cdx.json"), b, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"launch.toml", "build.toml"} {
		if b, err := os.ReadFile(name); err == nil {
			return os.WriteFile(filepath.Join(layers, name), b, 0o644)
		}
	}
	server := filepath.Join(layers, "server", "bin", "server")
	text := fmt.Sprintf("[[processes]]\ntype = \"web\"\ncommand = [%q]\ndefault = true\n[[processes]]\ntype = \"worker\"\ncommand = [%q, \"work\"]\n", server, server)
	return os.WriteFile(filepath.Join(layers, "launch.toml"), []byte(text), 0o644)
}

// layer puts this program into a layer, or keeps that of the previous image.
func layer(layers string) error {
	const types = "[types]\nlaunch = true\n[metadata]\nversion = \"1\"\n"
	file := filepath.Join(layers, "server.toml")
	if old, err := os.ReadFile(file); err == nil && strings.Contains(string(old), "version") {
		fmt.Println("server: reused")
		return os.WriteFile(file, []byte(types), 0o644)
	}
	fmt.Println("server: made")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	bin := filepath.Join(layers, "server", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "server"), self, 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(types), 0o644)
}

// serve is the app: a page, or one piece of work.
func serve(args []string) int {
	if len(args) > 0 {
		fmt.Printf("args %q GREETING=%q\n", args, os.Getenv("GREETING"))
		if args[len(args)-1] == "fail" {
			return 9
		}
		return 0
	}
	ended := make(chan os.Signal, 1) // one is enough
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		fmt.Println("ended in peace")
		os.Exit(0)
	}()
	status := http.StatusOK
	if os.Getenv("BROKEN") != "" {
		status = http.StatusInternalServerError
	}
	fmt.Printf("listening on %s\n", os.Getenv("PORT"))
	err := http.ListenAndServe(":"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintln(w, "hello from the sample")
	}))
	fmt.Println(err)
	return 1
}
