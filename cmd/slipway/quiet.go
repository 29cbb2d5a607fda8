package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// quietView prints the name of the result, and warnings on stderr.
type quietView struct {
	out  io.Writer
	warn func(format string, args ...any)
}

func (q *quietView) hold() (release func()) { return func() {} }

func (q *quietView) close() {}

// Event implements platform.UI.
func (q *quietView) Event(e platform.Event) {
	switch {
	case e.Kind == platform.EventWarning:
		q.warn("%s", transcript.Clean(e.Text, false))
	case e.Engine != nil && e.Engine.Kind == "warning":
		q.warn("%s", transcript.Clean(e.Engine.Text, false))
	}
}

// Output implements platform.UI.
func (q *quietView) Output(platform.Phase, cnb.Ref) (stdout, stderr io.Writer) {
	return io.Discard, io.Discard
}

func (q *quietView) result(r *platform.Result) {
	name := r.Image
	if strings.HasPrefix(r.Where, "oci:") {
		name = r.Where // as the other commands take it
	}
	fmt.Fprintf(q.out, "%s@%s\n", name, r.Digest)
}

// jsonView writes one JSON object a line: {"type":"event"}, {"type":"output"}, {"type":"note"} and at the
// end {"type":"result"}, or {"type":"error"} from app.report.
type jsonView struct {
	mu sync.Mutex
	w  io.Writer
}

func (j *jsonView) write(v any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	enc := json.NewEncoder(j.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

func (j *jsonView) hold() (release func()) {
	j.mu.Lock()
	return j.mu.Unlock
}

func (j *jsonView) close() {}

// Event implements platform.UI.
func (j *jsonView) Event(e platform.Event) {
	j.write(struct {
		Type string `json:"type"`
		platform.Event
	}{"event", e})
}

// jsonOutput is one line of what a buildpack prints.
type jsonOutput struct {
	Type      string         `json:"type"`
	Phase     platform.Phase `json:"phase"`
	Buildpack cnb.Ref        `json:"buildpack"`
	Stream    string         `json:"stream"`
	Text      string         `json:"text"`
}

// Output implements platform.UI.
func (j *jsonView) Output(ph platform.Phase, bp cnb.Ref) (stdout, stderr io.Writer) {
	stream := func(name string) io.Writer {
		return &transcript.LineWriter{Emit: func(line string) { j.write(jsonOutput{"output", ph, bp, name, line}) }}
	}
	return stream("stdout"), stream("stderr")
}

func (j *jsonView) result(r *platform.Result) {
	j.write(struct {
		Type string `json:"type"`
		*platform.Result
	}{"result", r})
}
