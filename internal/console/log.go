package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

// Of a long log a page has the first part and the last; what is between is a page away.
const (
	logHead = 192 << 10
	logTail = 256 << 10
)

// A logView is what a page shows of a log.
type logView struct {
	HTML   template.HTML // of the lines, made by line.html alone
	Lines  int
	Cursor string // where what comes later begins
	First  int    // line that tells of an error, 0 for none
	From   string // cursor where the page begins, "" for the beginning
	Next   string // cursor of what is left out in the middle, "" for nothing
	Gap    int    // lines that are left out there
	Size   int64
	Gone   bool // there is no log any more
	Query  string
	Hits   int
	Hit    int // the first line with the query in it
}

// A logPage puts a logView together.
type logPage struct {
	view  logView
	html  bytes.Buffer
	query string
}

func (p *logPage) add(l line) {
	hit := p.query != "" && strings.Contains(strings.ToLower(l.text()), p.query)
	if hit {
		p.view.Hits++
		if p.view.Hit == 0 {
			p.view.Hit = l.number
		}
	}
	if l.wrong && p.view.First == 0 {
		p.view.First = l.number
	}
	p.view.Lines++
	l.html(&p.html, hit)
}

// logOf reads a log from a cursor on, for a page.
func (c *Console) logOf(id build.ID, from cursor, query string) (logView, error) {
	p := &logPage{query: strings.ToLower(query)}
	p.view.Query = query
	if from.offset > 0 {
		p.view.From = from.String()
	}
	info, err := c.Logs.Stat(id)
	if errors.Is(err, build.ErrNotFound) {
		p.view.Gone = true
		return p.view, nil
	}
	if err != nil {
		return p.view, err
	}
	p.view.Size = info.Size
	if from.offset > info.Size {
		from = cursor{}
	}
	paint := newPainter(from)
	end := info.Size
	if end-from.offset > logHead+logTail {
		if err := c.readLog(id, from.offset, from.offset+logHead, func(b []byte) { paint.write(b, p.add) }); err != nil {
			return p.view, err
		}
		p.view.Next = paint.cursor.String()
		if paint, err = c.skip(id, paint.cursor, end-logTail, p); err != nil {
			return p.view, err
		}
	}
	if err := c.readLog(id, paint.offset, end, func(b []byte) { paint.write(b, p.add) }); err != nil {
		return p.view, err
	}
	p.view.Cursor = paint.cursor.String() // a line that is not whole comes again from there
	if l, ok := paint.rest(); ok {
		p.add(l)
	}
	p.view.HTML = template.HTML(p.html.String())
	return p.view, nil
}

// skip goes from a cursor to the first line that begins behind an offset, and leaves a mark on the page.
func (c *Console) skip(id build.ID, from cursor, to int64, p *logPage) (*painter, error) {
	at := from
	at.style = 0
	err := c.readLog(id, from.offset, to+longest, func(b []byte) {
		for at.offset < to || at.lines == from.lines {
			n := bytes.IndexByte(b, '\n') + 1
			if n == 0 {
				at.offset += int64(len(b))
				return
			}
			at.offset, at.lines, b = at.offset+int64(n), at.lines+1, b[n:]
		}
	})
	p.view.Gap = at.lines - from.lines
	fmt.Fprintf(&p.html, "<p class=\"gap\">%s left out</p>\n", plural(p.view.Gap, "line"))
	return newPainter(at), err
}

// readLog reads a part of a log, piece by piece.
func (c *Console) readLog(id build.ID, from, to int64, take func([]byte)) error {
	for from < to {
		page, err := c.Logs.Page(id, from, min(to-from, logs.MaxPage))
		if err != nil {
			return err
		}
		if len(page.Data) == 0 {
			return nil
		}
		take(page.Data)
		from += int64(len(page.Data))
	}
	return nil
}

// logText is the log as a file, without colours.
func (c *Console) logText(ctx context.Context, v *visit) error {
	a, b, err := v.build(ctx)
	if err != nil {
		return err
	}
	info, err := c.Logs.Stat(b.ID)
	if errors.Is(err, build.ErrNotFound) {
		return nowhere("There is no log of this build any more.")
	}
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%d.log"`, a.Name, b.Number))
	v.begun = true
	out := &paced{v: v}
	plain := logs.NewPlain(out)
	err = c.readLog(b.ID, 0, info.Size, func(p []byte) { _, _ = plain.Write(p) })
	if err = errors.Join(err, plain.Close(), out.err); err != nil {
		panic(http.ErrAbortHandler) // what the browser has is not the whole
	}
	return nil
}

// paced writes to a browser that must keep taking; the first error stays.
type paced struct {
	v   *visit
	err error
}

func (p *paced) Write(b []byte) (int, error) {
	if p.err == nil {
		p.v.extend()
		_, p.err = p.v.w.Write(b)
	}
	return len(b), p.err
}

var _ io.Writer = (*paced)(nil)
