package agent

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent/wire"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// TestNewLayerIsReadOnce counts what this process reads while both ends of an export run in it, connected by memory:
// a new layer's files once, and nothing of the blob.
func TestNewLayerIsReadOnce(t *testing.T) {
	const size = 24 << 20
	d := testDirs(t)
	layer := filepath.Join(d.Host(d.Layers), "vendor_simple", "dep")
	if err := os.MkdirAll(layer, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(d.Host(d.App), 0o755); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	launcher := filepath.Join(d.Root, "launcher")
	for name, b := range map[string][]byte{filepath.Join(layer, "file"): content, launcher: []byte("launcher")} {
		if err := os.WriteFile(name, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	el := cnb.GroupElement{Ref: cnb.Ref{ID: "vendor/simple", Version: "1"}, API: cnb.API{Minor: 10}}
	in := builder.ExportInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: d, Group: cnb.Group{Elements: []cnb.GroupElement{el}}, Launcher: builder.Launcher{Path: launcher},
		Built: &builder.Built{Buildpacks: []builder.BuiltBuildpack{{GroupElement: el, Layers: []builder.BuiltLayer{
			{Name: "dep", Types: cnb.LayerTypes{Launch: true}, Contents: true},
		}}}},
	}
	h := newTestHost(t)
	sink := hostSink{inMemory(t, h), layerstore.NewCompressor(layerstore.Gzip)}
	before := counter("/proc/self/io", "rchar:")
	if _, err := builder.Export(t.Context(), in, sink); err != nil {
		t.Fatal(err)
	}
	if read := counter("/proc/self/io", "rchar:") - before; before == 0 || read < size || read > size+size/20 {
		t.Errorf("%d bytes read for a layer of %d", read, size)
	}
	if len(h.layers) == 0 {
		t.Error("no layer was sent")
	}
}

// inMemory is a line to the host that no system call sees.
func inMemory(t *testing.T, h Host) *wire.Conn {
	t.Helper()
	toHost, fromCollector := io.Pipe()
	toCollector, fromHost := io.Pipe()
	opened := make(chan *wire.Conn, 1)
	go func() {
		c, _, err := wire.Open(context.Background(), toCollector, fromCollector, []byte("{}"), wire.Options{Limits: helperLimits})
		if err != nil {
			t.Error(err)
		}
		opened <- c
	}()
	host, _, err := wire.Open(t.Context(), toHost, fromHost, []byte("{}"), wire.Options{Limits: parentLimits, Handle: hostHandlers(h)})
	if err != nil {
		t.Fatal(err)
	}
	conn := <-opened
	if conn == nil {
		t.FailNow()
	}
	t.Cleanup(func() { host.Close(); conn.Close() })
	return conn
}
