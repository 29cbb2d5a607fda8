package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"syscall"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// A fault is an error on the wire: its text, and those of its parts by which the other end decides what to do.
type fault struct {
	Text      string                 `json:"text"`
	Phase     string                 `json:"phase,omitempty"` // of a builder.PhaseError
	Exit      *builder.ExitError     `json:"exit,omitempty"`
	Start     *builder.StartError    `json:"start,omitempty"`
	Output    *outputFault           `json:"output,omitempty"`
	API       *builder.APIError      `json:"api,omitempty"`
	NotFound  *builder.NotFoundError `json:"not-found,omitempty"`
	NoGroup   *builder.NoGroupError  `json:"no-group,omitempty"`
	Detect    *builder.DetectError   `json:"detect,omitempty"`
	Canceled  bool                   `json:"canceled,omitempty"`
	Deadline  bool                   `json:"deadline,omitempty"`
	NotExist  bool                   `json:"not-exist,omitempty"`
	DiskFull  bool                   `json:"disk-full,omitempty"`
	Forbidden bool                   `json:"forbidden,omitempty"`
}

// outputFault is a builder.OutputError, whose own error survives as its text.
type outputFault struct {
	Phase     string  `json:"phase"`
	Buildpack cnb.Ref `json:"buildpack"`
	File      string  `json:"file,omitempty"`
	Text      string  `json:"text"`
}

// A remoteError is an error that happened in the other process. Unwrap gives the parts that were typed there.
type remoteError struct {
	text  string
	parts []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.parts }

func encodeError(err error) []byte {
	f := fault{
		Text:      err.Error(),
		Canceled:  errors.Is(err, context.Canceled),
		Deadline:  errors.Is(err, context.DeadlineExceeded),
		NotExist:  errors.Is(err, fs.ErrNotExist),
		DiskFull:  isDiskFull(err),
		Forbidden: errors.Is(err, fs.ErrPermission),
	}
	if e, ok := errors.AsType[*builder.PhaseError](err); ok {
		f.Phase = e.Phase
	}
	if e, ok := errors.AsType[*builder.OutputError](err); ok {
		f.Output = &outputFault{Phase: e.Phase, Buildpack: e.Buildpack, File: e.File, Text: e.Err.Error()}
	}
	f.Exit, _ = errors.AsType[*builder.ExitError](err)
	f.Start, _ = errors.AsType[*builder.StartError](err)
	f.API, _ = errors.AsType[*builder.APIError](err)
	f.NotFound, _ = errors.AsType[*builder.NotFoundError](err)
	f.NoGroup, _ = errors.AsType[*builder.NoGroupError](err)
	f.Detect, _ = errors.AsType[*builder.DetectError](err)
	const most = 8 << 20
	b, jerr := json.Marshal(f)
	if jerr != nil || len(b) > most {
		b, _ = json.Marshal(fault{Text: line(f.Text), Phase: f.Phase})
	}
	return b
}

func decodeError(b []byte) error {
	var f fault
	if err := decode(b, &f); err != nil {
		return &remoteError{text: "the helper reported an error that cannot be read: " + err.Error()}
	}
	e := &remoteError{text: cut(f.Text, 64<<10)}
	add := func(ok bool, part error) {
		if ok {
			e.parts = append(e.parts, part)
		}
	}
	add(f.Exit != nil, f.Exit)
	add(f.Start != nil, f.Start)
	add(f.API != nil, f.API)
	add(f.NotFound != nil, f.NotFound)
	add(f.NoGroup != nil, f.NoGroup)
	add(f.Detect != nil, f.Detect)
	if f.Output != nil {
		o := f.Output
		e.parts = append(e.parts, &builder.OutputError{Phase: o.Phase, Buildpack: o.Buildpack, File: o.File, Err: errors.New(o.Text)})
	}
	add(f.Canceled, context.Canceled)
	add(f.Deadline, context.DeadlineExceeded)
	add(f.NotExist, fs.ErrNotExist)
	add(f.DiskFull, errDiskFull)
	add(f.Forbidden, fs.ErrPermission)
	if f.Phase != "" {
		return &builder.PhaseError{Phase: f.Phase, Err: e}
	}
	return e
}

func cut(s string, most int) string {
	if len(s) > most {
		return s[:most] + " ..."
	}
	return s
}

// errDiskFull is the sentinel that stands for a full disk on both ends.
var errDiskFull error = syscall.ENOSPC

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
