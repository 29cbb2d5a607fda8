package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// watched is a body that tells when it was read to its end.
type watched struct {
	io.ReadCloser
	end func()
}

func (b watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.end()
	}
	return n, err
}

// BenchmarkPush100MB pushes 100 MB that no compression makes smaller. It reports the time from the end of the upload, as
// the service sees it, to the first line on the client's terminal.
func BenchmarkPush100MB(b *testing.B) {
	var first time.Duration
	for b.Loop() {
		b.StopTimer()
		w, d := newWorld(b, Limits{}), newTree(b)
		d.random("large", 100<<20)
		var uploaded atomic.Int64
		w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			req.Body = watched{req.Body, func() { uploaded.Store(time.Now().UnixNano()) }}
			w.handler.ServeHTTP(rw, req)
		})
		w.builds(func(_ context.Context, p *Push, _ Update) error {
			_, err := fmt.Fprintln(p.Out, "-----> Building")
			return err
		})
		b.StartTimer()
		g := d.start(nil, "push", w.url(token), "main")
		g.until("-----> Building")
		first += time.Since(time.Unix(0, uploaded.Load()))
		if out, err := g.end(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	b.ReportMetric(first.Seconds()/float64(b.N), "s-to-first-line/op")
	b.SetBytes(100 << 20)
}
