package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
)

// plain writes a build as lines, for logs and CI.
type plain struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *plain) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// Event implements platform.UI.
func (p *plain) Event(e platform.Event) {
	switch e.Kind {
	case platform.EventPhaseStart:
		p.line("===> %s", e.Phase)
	case platform.EventWarning:
		p.line("Warning: %s", e.Text)
	case platform.EventNote:
		p.line("%s", e.Text)
	case platform.EventEngine:
		if e.Engine.Kind != builder.EventBuildStart {
			p.line("[%s] %s %s %s", e.Engine.Kind, e.Engine.Buildpack, e.Engine.Layer, e.Engine.Text)
		}
	}
}

// Output implements platform.UI.
func (p *plain) Output(_ platform.Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	l := &lineWriter{p: p, prefix: "[" + string(bp.ID) + "] "}
	return l, l
}

func (p *plain) result(r *platform.Result) {
	p.line("%s %s", r.Image, r.Digest)
}

type lineWriter struct {
	p      *plain
	prefix string
	buf    []byte
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	for {
		line, rest, ok := bytes.Cut(l.buf, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.p.line("%s%s", l.prefix, line)
		l.buf = rest
	}
}
