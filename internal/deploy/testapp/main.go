//go:build linux

// Command testapp is an app that tests deploy: a web process that does what its image's files and its environment say. It
// is static and needs no other file.
package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// said is the content of a file of the image, or of a variable of the environment, which goes before.
func said(name string) string {
	if v := os.Getenv(strings.ToUpper(name)); v != "" {
		return v
	}
	b, err := os.ReadFile("/said/" + name)
	if err != nil {
		b, _ = os.ReadFile(name + ".txt") // where it was built
	}
	return strings.TrimSpace(string(b))
}

func main() {
	fmt.Printf("testapp %s begins\n", said("version"))
	switch said("mode") {
	case "crash":
		fmt.Print("\x1b[2J\x1b]0;owned\a<script>alert(1)</script>\r\n", strings.Repeat("x", 5000), "\nno \x1b[31msuch table\n")
		os.Exit(7)
	case "mute":
		time.Sleep(time.Hour)
	case "sick":
		http.HandleFunc("/up", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	default:
		http.HandleFunc("/up", func(http.ResponseWriter, *http.Request) {})
	}
	http.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "v%s %s", said("version"), os.Getenv("KEY"))
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) { time.Sleep(time.Second); fmt.Fprint(w, "slow") })
	http.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		b, _ := os.ReadFile("/proc/self/status")
		w.Write(b)
	})
	http.HandleFunc("/say", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.URL.Query().Get("what")) })
	http.HandleFunc("/flood", func(http.ResponseWriter, *http.Request) {
		for range 64 {
			os.Stdout.Write(bytes.Repeat([]byte("flood\x00\x1b["), 8<<10))
		}
		fmt.Println("\nthe flood is over")
	})
	http.HandleFunc("/eat", func(http.ResponseWriter, *http.Request) {
		for all := [][]byte{}; ; {
			all = append(all, bytes.Repeat([]byte("x"), 1<<20))
		}
	})
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	s := &http.Server{Addr: ":" + os.Getenv("PORT")}
	go func() {
		<-ended
		fmt.Println("asked to end")
		s.SetKeepAlivesEnabled(false)
		time.Sleep(50 * time.Millisecond)
		s.Close()
	}()
	fmt.Println(s.ListenAndServe())
}
