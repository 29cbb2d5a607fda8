package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"reflect"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// greeting is what the slipway process and the collector say of themselves.
type greeting struct {
	Role string `json:"role"`
}

// A Hello is what the agent found when it started. Every part of it comes from the builder image and is capped in
// size and number by both ends.
type Hello struct {
	UID       int      `json:"uid"`
	GID       int      `json:"gid"`
	Env       []string `json:"env"`        // the image's environment as the engine set it, NAME=value
	OSRelease []byte   `json:"os-release"` // /etc/os-release
	// Files is what stands in /cnb, by base name: order.toml run.toml stack.toml system.toml lifecycle.toml, and
	// "build-config/env/NAME" for each variable of the operator. What is not there has no entry.
	Files map[string][]byte `json:"files"`
	// Buildpacks is every /cnb/buildpacks/*/*/buildpack.toml, sorted by path.
	Buildpacks []BuildpackFile `json:"buildpacks"`
	// Warnings tells what was left out and why, one line each.
	Warnings []string `json:"warnings,omitempty"`
}

// A BuildpackFile is one buildpack.toml as it stands in a builder, undecoded, with the facts a decoder cannot see.
type BuildpackFile struct {
	Path      string `json:"path"` // the buildpack's directory as its own executables see it
	TOML      []byte `json:"toml"`
	HasDetect bool   `json:"has-detect,omitempty"`
	HasBuild  bool   `json:"has-build,omitempty"`
	Windows   bool   `json:"windows,omitempty"` // only bin/build.bat or bin/build.exe is there
}

// runRequest is builder.Cmd on the wire.
type runRequest struct {
	Phase     string   `json:"phase"`
	Buildpack cnb.Ref  `json:"buildpack"`
	Path      string   `json:"path"`
	Args      []string `json:"args,omitempty"`
	Env       []string `json:"env,omitempty"`
	Dir       string   `json:"dir,omitempty"`
	Merge     bool     `json:"merge,omitempty"` // both outputs into one pipe, so that lines keep their order
}

func newRunRequest(c builder.Cmd) runRequest {
	return runRequest{
		Phase: c.Phase, Buildpack: c.Buildpack, Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir,
		Merge: sameWriter(c.Stdout, c.Stderr),
	}
}

func sameWriter(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Kind() == reflect.Pointer && a == b
}

func (r runRequest) cmd() builder.Cmd {
	return builder.Cmd{Phase: r.Phase, Buildpack: r.Buildpack, Path: r.Path, Args: r.Args, Env: r.Env, Dir: r.Dir}
}

// runResult is how an executable ended. Not started: Reason.
type runResult struct {
	Code           int           `json:"code"`
	Signal         string        `json:"signal,omitempty"`
	OutOfMemory    bool          `json:"out-of-memory,omitempty"`
	OutOfProcesses bool          `json:"out-of-processes,omitempty"`
	Duration       time.Duration `json:"duration"`
	Reason         string        `json:"reason,omitempty"`
	Rest           [2]*rest      `json:"rest"` // of each output, where the other end had enough of it
}

// err says it in the builder's terms. What was asked for comes from cmd, never from the agent.
func (r runResult) err(cmd builder.Cmd) error {
	switch {
	case r.Reason != "":
		return &builder.StartError{Phase: cmd.Phase, Buildpack: cmd.Buildpack, Path: cmd.Path, Reason: line(r.Reason)}
	case r.Code != 0 || r.Signal != "":
		return &builder.ExitError{Phase: cmd.Phase, Buildpack: cmd.Buildpack, Code: r.Code, Signal: line(r.Signal), OutOfMemory: r.OutOfMemory, OutOfProcesses: r.OutOfProcesses}
	}
	return nil
}

// line makes text of a helper fit for one line of a message.
func line(s string) string {
	s = string(bytes.ToValidUTF8([]byte(s), []byte("?")))
	b := []rune(s)
	for i, r := range b {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			b[i] = ' '
		}
	}
	return string(b[:min(len(b), 2000)])
}

// maxTokens caps the values in one message of a helper: small in bytes may be large once decoded.
const maxTokens = 500_000

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// decode reads one JSON message. It counts before it allocates.
func decode(b []byte, v any) error {
	if err := countJSON(b, maxTokens); err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// countJSON refuses a text with more than limit values or with nesting that no message of ours has.
func countJSON(b []byte, limit int) error {
	tokens, depth, quoted := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			tokens, depth = tokens+1, depth+1
		case c == '}' || c == ']':
			depth--
		case c == ',':
			tokens++
		}
		if depth > 100 {
			return fmt.Errorf("message is nested deeper than 100 levels")
		}
	}
	if tokens > limit {
		return fmt.Errorf("message has more than %d values", limit)
	}
	return nil
}

// decodeHello reads a greeting and cuts what a hostile agent could make too large for those who read it.
func decodeHello(b []byte, h *Hello) error {
	if err := countJSON(b, 20_000); err != nil {
		return err
	}
	if err := decode(b, h); err != nil {
		return err
	}
	switch {
	case len(h.Env) > maxEnv, len(h.Buildpacks) > maxBuildpacks, len(h.Files) > len(cnbFiles)+maxEnvFiles, len(h.OSRelease) > maxOSRelease:
		return fmt.Errorf("more entries than an agent sends")
	case h.UID < 0 || h.GID < 0:
		return fmt.Errorf("user %d:%d", h.UID, h.GID)
	}
	h.Warnings = h.Warnings[:min(len(h.Warnings), 100)]
	for i := range h.Warnings {
		h.Warnings[i] = line(h.Warnings[i])
	}
	return nil
}

// BuildConfig is the operator's variables as files of <build-config>/env: name with its suffix to value.
func (h Hello) BuildConfig() map[string]string {
	out := map[string]string{}
	for name, b := range h.Files {
		if dir, file := path.Split(name); dir == configEnvDir+"/" {
			out[file] = string(b)
		}
	}
	return out
}
