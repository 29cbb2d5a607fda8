package site

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Main is the command static-server: it serves -root on port until SIGTERM, and gives the exit code.
func Main(args []string, port string, stderr io.Writer) int {
	flags := flag.NewFlagSet("static-server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("root", ".", "the directory to serve")
	spa := flags.Bool("spa", false, "answer unknown paths with index.html")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if port == "" {
		port = "8080"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		fmt.Fprintf(stderr, "static-server: PORT is %q, which is not a port number\n", port)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l, err := net.Listen("tcp", ":"+port)
	if err == nil {
		fmt.Fprintf(stderr, "static-server: serving %s on port %d\n", *dir, l.Addr().(*net.TCPAddr).Port)
		err = Serve(ctx, l, *dir, Options{SPA: *spa})
	}
	if err != nil {
		fmt.Fprintf(stderr, "static-server: %v\n", err)
		return 1
	}
	return 0
}

// Serve answers on l until ctx ends, then lets requests under way finish for up to ten seconds. It closes l.
func Serve(ctx context.Context, l net.Listener, dir string, opt Options) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer root.Close()
	server := &http.Server{
		Handler:           New(root, opt),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	done := make(chan error, 1) // the goroutine ends even when nobody reads it
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = server.Shutdown(ctx)
	<-done
	return err
}

// types are the content types of the web, the same on every image.
func types() map[string]string {
	return map[string]string{
		".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8",
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
		".json": "application/json", ".map": "application/json", ".webmanifest": "application/manifest+json",
		".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".csv": "text/csv; charset=utf-8",
		".xml": "text/xml; charset=utf-8", ".rss": "application/rss+xml", ".atom": "application/atom+xml",
		".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
		".webp": "image/webp", ".avif": "image/avif", ".ico": "image/x-icon", ".bmp": "image/bmp",
		".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf",
		".mp4": "video/mp4", ".webm": "video/webm", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".wav": "audio/wav",
		".pdf": "application/pdf", ".zip": "application/zip", ".gz": "application/gzip", ".wasm": "application/wasm",
	}
}
