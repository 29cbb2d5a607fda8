package agent

import (
	"context"
	"fmt"
	"io"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent/wire"
)

// A Host is what the slipway process does for its collector while a call of it is under way. All methods are called
// from several goroutines at once, except Emit.
type Host interface {
	// Run runs one buildpack executable in the build container, and returns when all it started is gone.
	// Its output is the Host's business: cmd has no writers.
	Run(ctx context.Context, cmd builder.Cmd) error
	// Blob is the file that holds the layer diffID, plain or compressed, at a path where the collector can open it.
	// A layer that is not there is an error that wraps fs.ErrNotExist: a cache miss.
	Blob(ctx context.Context, diffID string) (path string, err error)
	// Emit receives the progress of a phase. It must not wait for the collector.
	Emit(e builder.Event)
	// Layer keeps a new layer, which arrives compressed. It must read to the end, where l.DiffID is known.
	Layer(ctx context.Context, l *LayerStream) (builder.LayerResult, error)
	// Known finds a layer that the host has already, so that its bytes need not be sent.
	Known(diffID string) (builder.LayerResult, bool)
}

// A Dropper is a Host that looks again at a layer which could not be restored. What is damaged it forgets, so that an
// export that makes the layer again does not find it there.
type Dropper interface {
	Drop(ctx context.Context, diffID string) error
}

// A LayerStream is a new layer on its way from the collector, as a layerstore.Encoder writes it.
type LayerStream struct {
	ID       string // names the layer in messages: builder.Layer.ID
	Previous string // diffID that it had in the previous image or cache; "" for none
	r        io.Reader
	trailer  io.Reader
	diffID   string
	bytes    int64
}

// maxLayer is more than any image can hold; without it a broken collector could fill the disk.
const maxLayer = 64 << 30

// Read gives the compressed bytes. io.EOF means that they are complete; any other error that the layer is lost.
func (l *LayerStream) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.bytes += int64(n); l.bytes > maxLayer {
		return 0, fmt.Errorf("layer %s from the collector: larger than %d bytes", l.ID, int64(maxLayer))
	}
	if n == 0 && err == io.EOF && l.diffID == "" {
		if l.diffID, err = readDiffID(l.trailer); err != nil {
			return 0, fmt.Errorf("layer %s from the collector: %w", l.ID, err)
		}
		return 0, io.EOF
	}
	return n, err
}

// DiffID is the digest of the uncompressed tar as the collector computed it. It is valid after Read gave io.EOF.
func (l *LayerStream) DiffID() string { return l.diffID }

func readDiffID(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 256))
	if err != nil {
		return "", fmt.Errorf("it ended early: %w", err)
	}
	if !isDiffID(string(b)) {
		return "", fmt.Errorf("it ended early")
	}
	return string(b), nil
}

// isDiffID reports whether s is "sha256:" and 64 lower-case hexadecimal digits.
func isDiffID(s string) bool {
	const prefix = "sha256:"
	if len(s) != len(prefix)+64 || s[:len(prefix)] != prefix {
		return false
	}
	for _, c := range []byte(s[len(prefix):]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// A Collector is the line to a collector. Safe for concurrent use; the phases of one build follow each other.
type Collector struct {
	conn *wire.Conn
	host Host
	// explain says why the process behind the line ended; nil where it is not ours.
	explain func(error) error
	release func() error
}

// ConnectCollector greets the collector behind r (its standard output) and w (its standard input). ctx bounds this
// exchange only: a cancelled build still has its directory to remove. Close the Collector in any case.
func ConnectCollector(ctx context.Context, r io.Reader, w io.WriteCloser, host Host) (*Collector, error) {
	c := &Collector{host: host, explain: lost}
	mine, err := encode(greeting{Role: "slipway"})
	if err != nil {
		return nil, err
	}
	opts := wire.Options{Limits: parentLimits, Handle: hostHandlers(host), Encode: encodeError, Decode: decodeError}
	var theirs []byte
	if c.conn, theirs, err = wire.Open(ctx, r, w, mine, opts); err != nil {
		return nil, fmt.Errorf("connect to the collector: %w", lost(err))
	}
	var g greeting
	if err := decode(theirs, &g); err != nil || g.Role != roleCollector {
		_ = c.conn.Close()
		return nil, fmt.Errorf("connect to the collector: a helper that calls itself %q answered", line(g.Role))
	}
	return c, nil
}

// Done is closed when the connection has ended for any reason.
func (c *Collector) Done() <-chan struct{} { return c.conn.Done() }

// Close ends the connection and with it the collector.
func (c *Collector) Close() error {
	err := c.conn.Close()
	if c.release != nil {
		return c.release()
	}
	return err
}

// call makes one call; v receives the answer and may be nil.
func (c *Collector) call(ctx context.Context, method string, req, v any) error {
	body, err := encode(req)
	if err != nil {
		return err
	}
	reply, err := c.conn.Call(ctx, method, body)
	if err != nil {
		return c.fault(ctx, method, err)
	}
	if v == nil {
		return nil
	}
	if err := decode(reply, v); err != nil {
		return fmt.Errorf("answer of the collector to %s: %w", method, err)
	}
	return nil
}

// fault tells an error that the collector reports from the loss of the collector.
func (c *Collector) fault(ctx context.Context, method string, err error) error {
	select {
	case <-c.conn.Done():
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%s: the collector is gone: %w", method, c.explain(c.conn.Err()))
	default:
		return err
	}
}
