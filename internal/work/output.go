package work

import (
	"sync"

	"github.com/slipway-build/slipway/internal/transcript"
)

// An output is what one buildpack prints, on both its streams: lines of the log, with the buildpack's name. It is an
// agent.BoundedWriter, for the log is bounded. Safe for concurrent use.
type output struct {
	log    *logPipe
	prefix string

	mu    sync.Mutex
	lines transcript.LineWriter
	batch []byte // the lines of one write: a program may print millions
}

func newOutput(log *logPipe, prefix string) *output {
	o := &output{log: log, prefix: prefix}
	o.lines.EmitBytes = func(line []byte) {
		o.batch = append(append(append(o.batch, prefix...), line...), '\n')
	}
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.lines.Write(p)
	o.send()
	return n, err
}

// Flush ends a last line that has no newline.
func (o *output) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.lines.Flush()
	o.send()
	return err
}

func (o *output) send() {
	o.log.add(o.batch)
	o.batch = o.batch[:0]
}

// Full says that of what the buildpack prints from now on only the end comes into the log.
func (o *output) Full() bool { return o.log.full.Load() }

// Skip tells the log of lines that are left out, each with its prefix.
func (o *output) Skip(bytes, lines int64) {
	_ = o.Flush()
	o.log.skip(bytes + lines*int64(len(o.prefix)))
}
