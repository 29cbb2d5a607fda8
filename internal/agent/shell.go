package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent/wire"
)

// A Terminal is where a person sits who enters a build container.
type Terminal struct {
	// In are the keys, of a terminal that passes each on as it is. Shell closes it when the shell has ended, by which a
	// Read that waits must return.
	In  io.ReadCloser
	Out io.Writer
	// Type is the terminal's ("xterm"). The shell knows it; programs in it are not told, as buildpacks are not.
	Type string
	Size Size
	// Resize carries new sizes. It may be nil.
	Resize <-chan Size
}

// Size is a terminal's size in characters.
type Size struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// sizeBytes is a Size on the wire: rows and columns, 2 bytes each.
const sizeBytes = 4

// shellRequest asks for a shell at an executable's place. The caller's stream 0 is what is typed, its stream 1 the sizes
// of the terminal from then on; the answer's stream 0 is what is shown. When the shell has ended the callee ends its
// stream, then the caller ends its own, then comes the answer, which is empty.
type shellRequest struct {
	runRequest
	Where string `json:"where"` // for the prompt
	Type  string `json:"type,omitempty"`
	Size  Size   `json:"size"`
}

// Shell runs a shell in the container, with a pseudo terminal there, as a person would find things who were cmd: its
// environment, user and directory. In the shell a function named like cmd's phase runs cmd; $1, $2, ... are its
// arguments. where says in the prompt where one is. It returns when the shell has ended, which is no error however it
// did, and what it started is killed as with Run. When ctx ends the shell is killed and the error is ctx's cause.
func (a *Agent) Shell(ctx context.Context, cmd builder.Cmd, where string, t Terminal) error {
	body, err := encode(shellRequest{newRunRequest(cmd), where, t.Type, t.Size})
	if err != nil {
		return err
	}
	call, err := a.conn.Start("shell", body)
	if err != nil {
		return a.runError(cmd, err)
	}
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		defer close(over)
		defer t.In.Close()
		out, show := call.Reader(0), t.Out
		if _, err := io.Copy(show, out); err != nil {
			_, _ = io.Copy(io.Discard, out) // nobody looks any more
		}
	})
	wg.Go(func() {
		w := call.Writer(0)
		defer w.Close()
		_, _ = io.Copy(w, t.In) // either side's end is the shell's, which Wait tells
	})
	wg.Go(func() { sendSizes(call, t.Resize, over) })
	_, err = call.Wait(ctx)
	wg.Wait()
	if err != nil {
		return fmt.Errorf("shell at %s of buildpack %s: %w", cmd.Phase, cmd.Buildpack, a.runError(cmd, err))
	}
	return nil
}

func sendSizes(call *wire.Call, sizes <-chan Size, over <-chan struct{}) {
	w := call.Writer(1)
	defer w.Close()
	for {
		select {
		case <-over:
			return
		case s, ok := <-sizes:
			if !ok {
				sizes = nil
				continue
			}
			b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(make([]byte, 0, sizeBytes), s.Rows), s.Columns)
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
}
