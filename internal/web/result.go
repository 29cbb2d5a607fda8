package web

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

// A buildOutcome is a build with its log in lines, as clients ask for it that follow no stream: at most the last
// logs.MaxPage bytes of it.
type buildOutcome struct {
	Build    buildStatus  `json:"build"`
	ExitCode *int         `json:"exit_code"` // null while the build goes on
	Lines    []streamLine `json:"lines"`
}

type buildStatus struct {
	ID     build.ID `json:"id"`
	Status string   `json:"status"`
	Stream string   `json:"output_stream_url"`
}

type streamLine struct {
	Stream string `json:"stream"`
	Line   string `json:"line"`
}

func (s *server) buildResult(ctx context.Context, c *call) (v buildOutcome, err error) {
	b, err := s.find(ctx, c)
	if err != nil {
		return v, err
	}
	v = buildOutcome{Build: buildStatus{b.ID, b.State.Status(), s.streamURL(c.Request, "builds", b.ID)}, Lines: []streamLine{}}
	if b.State.Terminal() {
		code := 0
		if b.State != build.Succeeded {
			code = 1
		}
		v.ExitCode = &code
	}
	info, err := s.Logs.Stat(b.ID)
	if errors.Is(err, build.ErrNotFound) {
		return v, nil // it is not kept any more
	}
	if err != nil {
		return v, err
	}
	page, err := s.Logs.Page(b.ID, max(info.Size-logs.MaxPage, 0), logs.MaxPage)
	if err != nil {
		return v, err
	}
	var out bytes.Buffer
	plain := logs.NewPlain(&out)
	_, err = plain.Write(page.Data)
	if err := errors.Join(err, plain.Close()); err != nil {
		return v, err
	}
	for line := range strings.Lines(strings.ToValidUTF8(out.String(), "\uFFFD")) {
		v.Lines = append(v.Lines, streamLine{"STDOUT", line})
	}
	return v, nil
}
